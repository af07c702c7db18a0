"""From arguments to a manifest, and every way to get it wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2pcompute.client.arguments import In, InOut, Out
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.signature import parameters_of
from p2pcompute.client.task import Task, make_task
from p2pcompute.compute.compiler import CompiledSource, EntrySignature, ParameterSignature
from p2pcompute.errors import UsageError
from p2pcompute.wire.manifest import Role, decode_manifest

SOURCE = """
// __global__ void saxpy(wrong) in a comment
__device__ float helper(float x) { return x; }
extern "C" __global__ void __launch_bounds__(256)
saxpy(int n, float a, const float* __restrict__ x, float *y /* in and out */)
{ int i = threadIdx.x; if (i < n) y[i] = helper(a) * x[i]; }
"""
KERNEL = Kernel(SOURCE, "saxpy", "saxpy.cu")
SIGNATURE = EntrySignature(
    "saxpy",
    "saxpy",
    (
        ParameterSignature("u32", 4, 4),
        ParameterSignature("f32", 4, 4),
        ParameterSignature("u64", 8, 8),
        ParameterSignature("u64", 8, 8),
    ),
)
COMPILED = CompiledSource(".version 8.4", "toolchain", "", (SIGNATURE,))


def build(kernel: Kernel = KERNEL, grid: Any = 4, block: Any = 256, **named: Any) -> Task:
    return make_task(kernel, COMPILED, (), named, grid=grid, block=block, shared_bytes=0, device_ms_max=1000, name="t")


def good() -> dict[str, Any]:
    return {"n": 8, "a": 0.5, "x": In(np.ones(8, np.float32)), "y": InOut(np.ones(8, np.float32))}


def test_names_and_types_are_read_from_the_source() -> None:
    parameters = parameters_of(SOURCE, "saxpy")
    assert parameters is not None
    assert [(p.name, p.pointer, p.dtype) for p in parameters] == [
        ("n", False, "i32"),
        ("a", False, "f32"),
        ("x", True, "f32"),
        ("y", True, "f32"),
    ]
    assert parameters_of(SOURCE, "absent") is None


def test_a_task_names_its_blobs_and_packs_its_scalars() -> None:
    task = build(**good())
    manifest = decode_manifest(task.manifest)
    assert [(b.name, b.role) for b in manifest.buffers] == [("x", Role.IN), ("y", Role.INOUT)]
    assert [a.value or a.buffer for a in manifest.launches[0].arguments] == [
        np.int32(8).tobytes(), np.float32(0.5).tobytes(), "x", "y",
    ]  # fmt: skip
    assert manifest.launches[0].grid == (4, 1, 1)
    assert len(task.blobs) == 4


def test_arguments_may_come_by_position() -> None:
    values = tuple(good().values())
    task = make_task(KERNEL, COMPILED, values, {}, grid=1, block=1, shared_bytes=0, device_ms_max=1, name="t")
    assert len(decode_manifest(task.manifest).buffers) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": In(np.ones(8))}, "argument x has dtype f64; the kernel wants f32"),
        ({"x": In(np.ones(0, np.float32))}, "argument x is empty"),
        ({"x": 3}, "parameter x of saxpy is a pointer"),
        ({"n": In(np.ones(8, np.int32))}, "parameter n of saxpy is no pointer"),
        ({"n": 2**40}, "does not fit i32"),
        ({"n": 1.5}, "is a float"),
        ({"n": np.int64(3)}, "argument n is int64"),
        ({"z": 1}, "has no parameter 'z'"),
        ({"x": In(np.ones(8, np.complex64))}, "dtype complex64"),
        ({"y": Out(np.broadcast_to(np.float32(0), (8,)))}, "read-only"),
    ],
)
def test_a_wrong_argument_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(**{**good(), **change})


def test_a_missing_argument_is_named() -> None:
    arguments = good()
    del arguments["a"]
    with pytest.raises(UsageError, match="misses a"):
        build(**arguments)


def test_an_unknown_entry_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="its kernels are: saxpy"):
        build(Kernel(SOURCE, "sxpy", "saxpy.cu"), **good())


@pytest.mark.parametrize("grid", [0, (1, 2, 3, 4), (), "x", (1, -1), 1.5])
def test_a_bad_grid_is_refused(grid: Any) -> None:
    with pytest.raises(UsageError, match="grid"):
        build(grid=grid, **good())


def test_a_block_of_too_many_threads_is_refused() -> None:
    with pytest.raises(UsageError, match="threads"):
        build(block=(32, 32, 2), **good())


PTX_WITH_VARIABLES = """.version 8.4
.target sm_75
.address_size 64
.const .align 4 .b8 weights[16];
.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
ret;
}
"""


def with_constants(**constants: np.ndarray) -> Task:
    compiled = CompiledSource(PTX_WITH_VARIABLES, "toolchain", "", (SIGNATURE,))
    sizes: dict[str, Any] = {"grid": 1, "block": 1, "shared_bytes": 0, "device_ms_max": 1}
    return make_task(KERNEL, compiled, (), good(), name="t", constants=constants, **sizes)


def test_variables_are_set_from_buffers_of_their_own() -> None:
    manifest = decode_manifest(with_constants(weights=np.arange(4, dtype=np.int32)).manifest)
    assert manifest.constants == (("weights", "constant weights"),)
    assert [b.name for b in manifest.inputs] == ["x", "y", "constant weights"]


@pytest.mark.parametrize(
    ("constants", "sentence"),
    [
        ({"weight": np.zeros(1, np.int32)}, "the PTX has no variable 'weight'"),
        ({"weights": np.zeros(5, np.int32)}, "variable weights has 16 bytes, buffer constant weights 20"),
        ({"weights": np.zeros(0, np.int32)}, "argument constant weights is empty"),
    ],
)
def test_variables_that_do_not_fit_are_told(constants: dict[str, np.ndarray], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        with_constants(**constants)
