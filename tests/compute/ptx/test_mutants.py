"""Damaged kernels neither crash the process that runs them nor touch a page beside their buffers."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.compute.ptx.mutants import SMALL_COUNT

PROCESSES = 2
NIGHTLY_TOTAL = 100_000
NIGHTLY_PARTS = 100
"""A process each, so that what one leaves behind does not add up."""


def start(first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.compute.ptx.mutants", str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def survives(process: subprocess.Popen[str]) -> None:
    out, errors = process.communicate()
    assert process.returncode == 0, f"mutant {out.split()[-1:]}: {errors[-2000:]}"


def test_damaged_kernels() -> None:
    """Small ones, which are the first numbers, many to a process."""
    share = SMALL_COUNT // PROCESSES
    for process in [start(part * share, share) for part in range(PROCESSES)]:
        survives(process)


@pytest.mark.nightly
def test_very_many_damaged_kernels() -> None:
    """As many processes at a time as there are processors: 80 minutes of one processor."""
    share = NIGHTLY_TOTAL // NIGHTLY_PARTS
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda first: survives(start(first, share)), range(0, NIGHTLY_TOTAL, share)):
            pass
