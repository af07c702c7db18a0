"""Structures as parameters, read at computed places."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.interpret import Kind
from p2pcompute.errors import PtxError
from tests.compute.ptx.interpret.checking import both, checked, nvrtc
from tests.compute.ptx.running import HEADER, kernel, launch

rng = np.random.default_rng(3)
WEIGHTS = rng.random(1200, np.float32)


def test_an_array_inside_of_a_parameter_is_indexed_by_each_thread() -> None:
    at = rng.integers(0, 1200, 64, np.int32)
    y = np.zeros(64, np.float32)
    assert launch(kernel("parameters", "weighted", (64, 1, 1)), (1, 1, 1), WEIGHTS.tobytes(), at, y).trap is None
    assert np.array_equal(y, WEIGHTS[at])
    both(nvrtc("parameters"), "weighted", (1, 1, 1), (64, 1, 1), WEIGHTS.tobytes(), at, np.zeros(64, np.float32))


@pytest.mark.parametrize("index", [4808, -1, 2**30, -(2**31)])
def test_an_index_beyond_the_parameters_traps(index: int) -> None:
    """The next parameters are in reach: the block of all of them is one piece of memory, as on a GPU."""
    at, y = np.zeros(64, np.int32), np.zeros(64, np.float32)
    at[7] = index
    result = launch(kernel("parameters", "weighted", (64, 1, 1)), (1, 1, 1), WEIGHTS.tobytes(), at, y)
    assert result.trap is not None
    assert (result.trap.kind, result.trap.thread) == (ptx.TrapKind.OUT_OF_BOUNDS, (7, 0, 0))
    found = checked(nvrtc("parameters"), "weighted", (1, 1, 1), (64, 1, 1), WEIGHTS.tobytes(), at, y).findings
    assert [finding.kind for finding in found] == [Kind.OUT_OF_BOUNDS]


def test_fields_of_several_types() -> None:
    made = np.zeros(1, np.dtype([("n", "i4"), ("c", "f4", 9), ("d", "f8", 3)], align=True))
    made["n"], made["c"], made["d"] = 3, rng.random(9), rng.random(3)
    at = rng.integers(0, 9, 32, np.int32)
    both(nvrtc("parameters"), "mixed", (1, 1, 1), (32, 1, 1), made.tobytes(), at, np.zeros(32))


def test_managed_variables_are_global_ones() -> None:
    y = np.zeros(32, np.int32)
    both(nvrtc("parameters"), "managed", (1, 1, 1), (32, 1, 1), y)
    assert launch(kernel("parameters", "managed", (32, 1, 1)), (1, 1, 1), y).trap is None
    assert np.array_equal(y, np.tile([1, 2, 3, 4], 8))


def test_parameters_are_bounded_as_cuda_bounds_them() -> None:
    text = f"{HEADER}.visible .entry k(.param .align 4 .b8 s[%d], .param .b32 n) {{ ret; }}\n"
    assert ptx.parse(text % 32_760).entries["k"].parameter_bytes == 32_764
    with pytest.raises(PtxError, match="line 4: the parameters of 'k' exceed 32764 bytes"):
        ptx.parse(text % 32_764)


def test_a_generic_address_of_a_parameter_is_refused() -> None:
    with pytest.raises(PtxError, match="line 5: the generic address of parameter 's' is not supported"):
        ptx.parse(f"{HEADER}.visible .entry k(.param .b64 s) {{\n.reg .b64 %d; cvta.param.u64 %d, s; ret; }}\n")
