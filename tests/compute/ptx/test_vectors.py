"""Conformance vectors: the engine gives the bits they ask for, and so does the interpreter; the files hold all that an
engine needs.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import interpret
from p2pcompute.compute.ptx.memory import aligned_zeros
from tests.compute.ptx import vectors
from tests.compute.ptx.running import run
from tests.compute.ptx.vector import Bytes, Vector, write

OTHERS = list(vectors.other_vectors())


def buffers(vector: Vector) -> list[Bytes]:
    made = [aligned_zeros(len(data)) for data in vector.before]
    for place, data in zip(made, vector.before, strict=True):
        place[:] = data
    return made


@pytest.mark.parametrize("vector", OTHERS, ids=[vector.name for vector in OTHERS])
def test_the_engine_does_what_a_vector_says(vector: Vector) -> None:
    got = buffers(vector)
    run(ptx.compile_entry(ptx.parse(vector.ptx_text), "k", vector.block), vector.grid, *got)
    assert vector.wrong(got) == []


@pytest.mark.parametrize("vector", OTHERS, ids=[vector.name for vector in OTHERS])
def test_the_interpreter_does_what_a_vector_says(vector: Vector) -> None:
    got = buffers(vector)
    module, memory = ptx.parse(vector.ptx_text), ptx.Memory(got)
    notes = [interpret.BufferNote(f"buffer {n}", is_written=True) for n in range(len(got))]
    parameters = b"".join(memory.address(n).to_bytes(8, "little") for n in range(len(got)))
    launch = interpret.CheckedLaunch("k", vector.grid, vector.block, parameters)
    result = interpret.check(module, memory, notes, [launch])
    assert vector.wrong(got) == []
    assert result.findings == ()


def test_a_wrong_bit_is_seen_unless_masked() -> None:
    vector = next(vectors.arithmetic_vectors())
    right = [data.copy() for data in vector.after]
    assert vector.wrong(right) == []
    masked = int(np.flatnonzero(vector.mask[-1] == 0)[0])
    right[-1][masked] ^= 1
    assert vector.wrong(right) == []
    right[-1][0] ^= 1
    assert len(vector.wrong(right)) == 1


def test_a_file_is_all_that_an_engine_needs(tmp_path: Path) -> None:
    write(tmp_path, [*islice(vectors.arithmetic_vectors(), 2), *OTHERS[:1]])
    for group in json.loads((tmp_path / "index.json").read_text()):
        with np.load(tmp_path / f"{group['name']}.npz", allow_pickle=False) as data:
            each = {k: [data[f"{k}{n}"].copy() for n in range(group["buffers"])] for k in ("before", "after", "mask")}
        module = ptx.parse((tmp_path / f"{group['name']}.ptx").read_text())
        run(ptx.compile_entry(module, group["entry"], tuple(group["block"])), tuple(group["grid"]), *each["before"])
        for got, after, mask in zip(each["before"], each["after"], each["mask"], strict=True):
            assert not np.any((got ^ after) & mask)
