"""NVIDIA's assembler, where it is installed, takes what the conformance vectors and the library's kernels hand to it.

The CPU engine reads more than it does; what a GPU could not be given must not stand in the vectors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from tests.compute.ptx import vectors
from tests.compute.ptx.vector import Vector
from tests.gpu import compiling, tasks

PTXAS = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
ARCHITECTURES = ("sm_75", "sm_90")
TESTS = Path(__file__).parents[2]
SOURCES = (TESTS / "gpu/cases.cu", TESTS / "compute/math_float.cu", TESTS / "compute/math_double.cu")
pytestmark = pytest.mark.skipif(PTXAS is None, reason="there is no ptxas on this machine")


def refused(folder: Path, texts: dict[str, str], architecture: str) -> list[str]:
    """What the assembler says of the texts that it does not take."""
    found = []
    for name, text in texts.items():
        path = folder / f"{name.replace('/', '-')}.ptx"
        path.write_text(text, encoding="ascii")
        command = [PTXAS, f"-arch={architecture}", "-O0", "-o", os.devnull, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            found.append(f"{name}: {done.stderr[:300]}")
    return found


def all_vectors() -> chain[Vector]:
    return chain(vectors.arithmetic_vectors(), vectors.other_vectors())


def test_every_vector_assembles(tmp_path: Path) -> None:
    texts = {vector.name: vector.ptx_text for vector in all_vectors()}
    assert refused(tmp_path, texts, ARCHITECTURES[-1]) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_assembles(tmp_path: Path, architecture: str) -> None:
    texts = {name: tasks.load(name).ptx_text for name in tasks.names()}
    texts |= {path.name: compiling.canonical(path.name, path.read_text(encoding="utf-8")) for path in SOURCES}
    assert refused(tmp_path, texts, architecture) == []


def test_what_it_does_not_take_is_seen(tmp_path: Path) -> None:
    text = next(vectors.arithmetic_vectors()).ptx_text.replace("\tret;", "\tcvt.sat.u32.u32 %r1, %r1;\n\tret;", 1)
    assert len(refused(tmp_path, {"wrong": text}, ARCHITECTURES[0])) == 1
