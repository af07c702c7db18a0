"""Damaged kernels neither crash the process that runs them nor touch a page beside their buffers."""

from __future__ import annotations

import subprocess
import sys

import pytest

NIGHTLY_TOTAL = 100_000
NIGHTLY_PARTS = 20


def survives(first: int, count: int) -> None:
    command = [sys.executable, "-m", "tests.compute.ptx.mutants", str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    culprit = done.stdout.rpartition("\r")[2] if done.returncode == 0 else done.stdout.split("\r")[-2:]
    assert done.returncode == 0, f"mutant {culprit}: {done.stderr[-2000:]}"


def test_damaged_kernels() -> None:
    survives(0, 200)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(NIGHTLY_PARTS))
def test_very_many_damaged_kernels(part: int) -> None:
    count = NIGHTLY_TOTAL // NIGHTLY_PARTS
    survives(part * count, count)
