"""How the tests run kernels under the checker, and on checker and engine side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.interpret import BufferNote, CheckedLaunch, CheckResult, Kind, check
from tests.compute.ptx.running import HEADER, module

Array = NDArray[Any]
Index = tuple[int, int, int]


def copied(argument: Any) -> Any:
    """An array of its own, aligned as buffers must be."""
    if not (isinstance(argument, np.ndarray) and argument.ndim):
        return argument
    whole = np.zeros(argument.nbytes + 64, np.uint8)
    start = -whole.ctypes.data % 64
    mine = whole[start : start + argument.nbytes].view(argument.dtype).reshape(argument.shape)
    mine[...] = argument
    return mine


def arrays_of(arguments: Sequence[Any]) -> list[Array]:
    return [a for a in arguments if isinstance(a, np.ndarray) and a.ndim]


def packed(entry: ptx.Entry, memory: ptx.Memory, arguments: Sequence[Any]) -> bytes:
    """Arrays stand for the next buffer's address; everything else is a numpy scalar or bytes."""
    addresses = iter(range(len(memory)))
    values = [
        np.uint64(memory.address(next(addresses))).tobytes()
        if isinstance(argument, np.ndarray) and argument.ndim
        else argument
        if isinstance(argument, bytes)
        else np.asarray(argument).tobytes()
        for argument in arguments
    ]
    return ptx.pack_parameters(entry, values)


def checked(
    source: ptx.Module,
    entry: str,
    grid: Index,
    block: Index,
    *arguments: Any,
    shared: int = 0,
    empty: Sequence[int] = (),
    steps_max: int = 5_000_000,
) -> CheckResult:
    """Run one launch under the checker, arrays in place; `empty` numbers the buffers that start without a value."""
    arrays = arrays_of(arguments)
    memory = ptx.Memory(arrays)
    notes = [BufferNote(f"b{n}", n not in empty, array.itemsize) for n, array in enumerate(arrays)]
    launch = CheckedLaunch(entry, grid, block, packed(source.entries[entry], memory, arguments), shared)
    return check(source, memory, notes, [launch], steps_max=steps_max)


@cache
def _compiled(text: str, entry: str, block: Index) -> ptx.CompiledKernel:
    return ptx.compile_entry(ptx.parse(text), entry, block)


def both(source: ptx.Module, entry: str, grid: Index, block: Index, *arguments: Any, shared: int = 0) -> CheckResult:
    """Run one launch on the engine and under the checker: every array must end up with the same bits."""
    mine, theirs = [copied(a) for a in arguments], [copied(a) for a in arguments]
    result = checked(source, entry, grid, block, *mine, shared=shared)
    compiled = _compiled(ptx.canonicalise(source), entry, block)
    memory = ptx.Memory(arrays_of(theirs))
    parameters = packed(compiled.entry, memory, theirs)
    outcome = compiled.launch(memory, parameters, grid, shared, threads=1, abort=ptx.Abort())
    assert outcome.status is ptx.Status.OK, outcome.trap
    assert result.is_complete
    for number, (got, expected) in enumerate(zip(arrays_of(mine), arrays_of(theirs), strict=True)):
        np.testing.assert_array_equal(got.view(np.uint8), expected.view(np.uint8), f"{entry}, buffer {number}")
    return result


def nvrtc(name: str) -> ptx.Module:
    """A file of tests/compute/ptx/data."""
    return module(name)


def body(text: str, parameters: int = 1, registers: str = "", extra: str = "") -> ptx.Module:
    """A kernel `k` of u64 parameters loaded to %in0.., with %tid.x in %t and %ctaid.x in %c."""
    declared = ", ".join(f".param .u64 p{n}" for n in range(parameters))
    loads = "\n".join(f"ld.param.u64 %in{n}, [p{n}];" for n in range(parameters))
    inputs = f".reg .b64 %in<{max(parameters, 1)}>;\n.reg .b32 %t, %c;"
    head = f"{HEADER}{extra}.visible .entry k({declared}) {{\n{inputs}\n{registers}\n{loads}\n"
    return ptx.parse(f"{head}mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x;\n{text}\nret;\n}}\n")


def kinds(result: CheckResult) -> Mapping[Kind, int]:
    """How many different places of each kind were reported."""
    found: dict[Kind, int] = {}
    for finding in result.findings:
        found[finding.kind] = found.get(finding.kind, 0) + 1
    return found
