"""From arguments to a manifest, and every way to get it wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2pcompute.client.arguments import In, InOut, Out, Temp, Value, structure_bytes
from p2pcompute.client.calls import Call
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
    return make_task(kernel, COMPILED, [Call(named, grid, block)], device_ms_max=1000, name="t")


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
    task = make_task(KERNEL, COMPILED, [Call({}, 1, 1, position=values)], device_ms_max=1, name="t")
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
    return make_task(KERNEL, compiled, [Call(good(), 1, 1)], device_ms_max=1, name="t", constants=constants)


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


# Several launches ----------------------------------------------------------------------------------------------------


def of_calls(*calls: Call, compiled: CompiledSource = COMPILED) -> Task:
    return make_task(KERNEL, compiled, calls, device_ms_max=1000, name="t")


def call(**change: Value) -> Call:
    return Call({**good(), **change}, grid=1, block=8)


def test_what_several_calls_are_given_is_one_buffer() -> None:
    x, y = In(np.ones(8, np.float32)), InOut(np.ones(8, np.float32))
    task = of_calls(call(x=x, y=y), call(x=x, y=y, a=2.0))
    manifest = decode_manifest(task.manifest)
    assert [(b.name, b.role) for b in manifest.buffers] == [("x", Role.IN), ("y", Role.INOUT)]
    assert [a.buffer for launch in manifest.launches for a in launch.arguments if a.buffer] == ["x", "y"] * 2
    assert len(task.outputs) == 1


def test_buffers_of_one_name_are_numbered() -> None:
    back, forth = InOut(np.ones(8, np.float32)), Temp.like(np.ones(8, np.float32))
    manifest = decode_manifest(of_calls(call(x=back, y=forth), call(x=forth, y=back), call()).manifest)
    assert [(b.name, b.role) for b in manifest.buffers] == [
        ("x", Role.INOUT),
        ("y", Role.TEMP),
        ("x.2", Role.IN),
        ("y.2", Role.INOUT),
    ]
    assert [[a.buffer for a in launch.arguments if a.buffer] for launch in manifest.launches] == [
        ["x", "y"], ["y", "x"], ["x.2", "y.2"],
    ]  # fmt: skip


def test_temporary_memory_starts_from_nothing_and_is_no_output() -> None:
    task = of_calls(call(y=Temp((2, 4), np.float32)), call())
    manifest = decode_manifest(task.manifest)
    assert [(b.name, b.shape, b.role, b.root) for b in manifest.buffers if b.role is Role.TEMP] == [
        ("y", (2, 4), Role.TEMP, b"")
    ]
    assert [name for name, *_ in task.outputs] == ["y.2"]


def test_a_call_repeats() -> None:
    repeated = Call(good(), grid=1, block=8, repeats=50, shared_bytes=64)
    (launch,) = decode_manifest(of_calls(repeated).manifest).launches
    assert (launch.repeats, launch.shared_bytes) == (50, 64)


def test_a_call_repeats_until_an_argument_is_zero() -> None:
    flag = Temp(8, np.float32)
    until = Call({**good(), "y": flag}, 1, 8, repeats=9, until=flag)
    launch = decode_manifest(of_calls(until, call()).manifest).launches[0]
    assert (launch.repeats, launch.until) == (9, "y")


@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        ([Call(good(), 1, 8, until=Temp(1, np.int32))], "until something is zero that is none of its arguments"),
        ([Call({**good(), "y": Temp(-1, np.float32)}, 1, 8)], "no memory of shape -1"),
        ([Call({**good(), "y": Temp(8, "colour")}, 1, 8)], "no memory of shape 8 and type colour"),
        ([Call(good(), 1, 8, repeats=0)], "launch 0: repeats must be 1 to"),
        ([Call(good(), 1, 8)] * 1025, "a task needs 1 to 1024 launches"),
        ([], "a task needs"),
        ([Call(good(), 1, 8, entry="absent")], "has no kernel 'absent'"),
        ([Call({**good(), "y": Temp(8, np.float32)}, 1, 8)], "at least one output"),
    ],
)
def test_wrong_calls_are_refused(calls: list[Call], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        of_calls(*calls)


def test_one_buffer_for_parameters_of_two_types_is_refused() -> None:
    integers = Kernel(SOURCE.replace("float *y", "int *y"), "saxpy", "saxpy.cu")
    both = InOut(np.ones(8, np.float32))
    with pytest.raises(UsageError, match="argument y has dtype f32; the kernel wants i32"):
        build(integers, **{**good(), "x": both, "y": both})


# Structures and null pointers ----------------------------------------------------------------------------------------

STRUCTURED = SOURCE.replace("float a", "struct Scale a")
PAIR = np.dtype([("factor", np.float32), ("shift", np.float64)], align=True)
PAIRS = CompiledSource(
    ".version 8.4",
    "toolchain",
    "",
    (
        EntrySignature(
            "saxpy", "saxpy", (SIGNATURE.parameters[0], ParameterSignature("b8", 16, 8), *SIGNATURE.parameters[2:])
        ),
    ),
)


BYTES = np.float32(2).tobytes() + bytes(4) + np.float64(3).tobytes()


def dirty() -> np.void:
    """2 and 3, with something between them that nobody meant."""
    found: np.void = np.frombuffer(BYTES[:4] + b"junk" + BYTES[8:], PAIR)[0]
    return found


@pytest.mark.parametrize("value", [dirty(), BYTES])
def test_a_structure_is_given_as_its_bytes_and_nothing_between(value: Value) -> None:
    task = make_task(Kernel(STRUCTURED, "saxpy"), PAIRS, [call(a=value)], device_ms_max=1, name="t")
    assert decode_manifest(task.manifest).launches[0].arguments[1].value == BYTES


def test_structures_in_structures_are_cleaned_too() -> None:
    kind = np.dtype([("pair", PAIR), ("last", np.uint8)], align=True)
    outer = np.frombuffer(BYTES[:4] + b"junk" + BYTES[8:] + b"\1moresun", kind)[0]
    assert structure_bytes(outer, 24, "it") == BYTES + b"\1" + bytes(7)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (bytes(12), "argument a has 12 bytes; the kernel's structure takes 16"),
        (2.0, "parameter a of saxpy is a structure of 16 bytes"),
        (None, "parameter a of saxpy is no pointer"),
    ],
)
def test_a_wrong_structure_is_refused(value: Value, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_task(Kernel(STRUCTURED, "saxpy"), PAIRS, [call(a=value)], device_ms_max=1, name="t")


def test_none_is_a_null_pointer() -> None:
    manifest = decode_manifest(build(**{**good(), "x": None}).manifest)
    assert manifest.launches[0].arguments[2].value == bytes(8)
    assert [b.name for b in manifest.buffers] == ["y"]
