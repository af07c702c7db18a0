"""PoCL and numba beside the CPU engine: each in a process of its own, run round by round with ours.

Their own processes because each brings its own LLVM, and because only a whole process's processor time counts the
threads that a peer may start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.bench import ptx_cases
from tests.bench.registry import MissingPeerError

INSTALL: Final = {
    "pocl": "apt-get install pocl-opencl-icd ocl-icd-libopencl1",
    "numba": "pip install -c constraints.txt -e '.[bench]'",
}
TWINS: Final = (
    *("saxpy", "reduce", "scan", "histogram", "spmv", "heat3d", "nbody", "mandelbrot", "sha256", "smith_waterman"),
    *("sgemm", "kmeans"),
)
"""Kernels with a twin in ptx_opencl/ and in ptx_numba.py."""
ONE_THREAD: Final = {"POCL_MAX_PTHREAD_COUNT": "1", "NUMBA_NUM_THREADS": "1"}
END_S_MAX: Final = 30.0


class Rival:
    """One peer's process."""

    def __init__(self, name: str, process: subprocess.Popen[str], directory: Path) -> None:
        self.name = name
        self._process = process
        self._directory = directory

    def answer(self) -> dict[str, Any]:
        """Raises AssertionError when the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, **command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def open(self, case: ptx_cases.Case, expected: ptx_cases.Outputs) -> None:
        """Compile the twin and run it once. Raises AssertionError unless its outputs agree with `expected`: the
        arguments after one run of the C++ twin."""
        path = self._directory / f"{self.name}.npz"
        self._ask(open=case.name, to=str(path))
        with np.load(path) as outputs:
            theirs = {number: outputs[str(number)] for number in case.outputs}
        wrong = ptx_cases.differing(case, theirs, expected)
        assert not wrong, f"{case.name}: argument {wrong[0]} of {self.name} differs from the C++ twin's"

    def clock(self, name: str) -> Callable[[], float]:
        """A function that runs an opened twin and gives its processor time in seconds."""
        return lambda: float(self._ask(run=name)["seconds"])


@contextmanager
def running(name: str) -> Iterator[Rival]:
    """A peer's process. Raises MissingPeerError when it is not installed."""
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.ptx_peers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ptx_cases.HERE.parent.parent,
            env={**os.environ, **ONE_THREAD, "POCL_CACHE_DIR": directory},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            rival = Rival(name, process, Path(directory))
            missing = rival.answer().get("missing")
            if missing is not None:
                raise MissingPeerError(f"The benchmark 'ptx' compares with {name} ({missing}); type: {INSTALL[name]}")
            yield rival
        finally:
            process.stdin.close()
            process.wait(END_S_MAX)
            process.stdout.close()


@contextmanager
def all_running() -> Iterator[list[Rival]]:
    """Every peer. Raises MissingPeerError when one is not installed."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(name)) for name in INSTALL]
