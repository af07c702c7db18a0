"""NVIDIA's checker on the very PTX that the engine loads: no access out of bounds, no race in shared memory."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.gpu.client import Place, Worker
from tests.gpu.conftest import Note

SANITIZERS = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer")
KERNELS = ("kernels_cu/saxpy", "kernels_cu/sgemm", "ptx_kernels/jacobi2d")
FOUND = 9
TIMEOUT_S = 40


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(worker: Worker, place: Place, note: Note, tool: str) -> None:
    if not place.is_real:
        pytest.skip("a fake device has no sanitizer")
    sanitizer = next((path for name in SANITIZERS if (path := shutil.which(name))), None)
    if sanitizer is None:
        note("compute_sanitizer", "not on this machine")
        pytest.skip("compute-sanitizer is not on this machine")
    worker.kill()
    command = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), sys.executable, "-m", "tests.gpu.plain"]
    done = subprocess.run([*command, *KERNELS], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    note(f"compute_sanitizer_{tool}", done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
