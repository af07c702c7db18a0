"""`python -m tests.bench.ptx_peers pocl|numba`: the twins of one peer, each run when told to.

Driven by tests/bench/ptx_rivals.py over standard input and output, one JSON object per line: {"open": NAME, "to": PATH}
compiles NAME, runs it once on data of its own and writes the outputs to PATH (.npz, by argument number); {"run": NAME}
runs it twice and answers the processor time of the second run, of the whole process, so that threads do not flatter
a peer.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.bench import ptx_cases

Opened = tuple[Callable[[], object], Callable[[int], NDArray[Any]]]
"""Runs the twin; gives what an argument holds now."""


def pocl() -> Callable[[ptx_cases.Case], Opened]:
    """Raises OpenClError where it is not installed."""
    from tests.bench.opencl import Pocl

    device = Pocl()

    def opened(case: ptx_cases.Case) -> Opened:
        source = (ptx_cases.HERE / "ptx_opencl" / f"{case.name}.cl").read_bytes()
        return device.kernel(source, case.name, case.grid, case.block, case.fresh())

    return opened


def numba() -> Callable[[ptx_cases.Case], Opened]:
    """Raises ImportError where it is not installed."""
    from tests.bench import ptx_numba

    def opened(case: ptx_cases.Case) -> Opened:
        twin, arguments = getattr(ptx_numba, case.name), case.fresh()
        return lambda: twin(*arguments), lambda number: arguments[number]

    return opened


PEERS: Final = {"pocl": pocl, "numba": numba}


def say(event: dict[str, object]) -> None:
    print(json.dumps(event), flush=True)


def main(peer: str) -> None:
    """Until standard input ends."""
    try:
        opened = PEERS[peer]()
    except Exception as error:
        say({"missing": str(error)})
        return
    say({"ready": True})
    runs: dict[str, Callable[[], object]] = {}
    gc.disable()
    for line in sys.stdin:
        command = json.loads(line)
        if "open" in command:
            (case,) = ptx_cases.read([command["open"]])
            run, read = opened(case)
            run()
            outputs: dict[str, Any] = {str(number): read(number) for number in case.outputs}
            np.savez(command["to"], **outputs)
            runs[case.name] = run
            say({"opened": case.name})
        else:
            run = runs[command["run"]]
            run()  # as tests.bench.timing.thread_seconds
            begin = time.process_time()
            run()
            say({"seconds": time.process_time() - begin})


if __name__ == "__main__":
    main(sys.argv[1])
