"""How the tests run PTX: kernels made by NVRTC from data/*.cu, and one-instruction templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx

DATA = Path(__file__).parent / "data"
HEADER = ".version 8.4\n.target sm_75\n.address_size 64\n"
Array = NDArray[Any]


@cache
def module(name: str) -> ptx.Module:
    return ptx.parse((DATA / f"{name}.ptx").read_text())


@cache
def kernel(name: str, entry: str, block: tuple[int, int, int]) -> ptx.CompiledKernel:
    return ptx.compile_entry(module(name), entry, block)


def pack(compiled: ptx.CompiledKernel, memory: ptx.Memory, arguments: Sequence[Any]) -> bytes:
    """Arrays stand for the next buffer's address; everything else is a numpy scalar or bytes."""
    values: list[bytes] = []
    buffer = 0
    for argument in arguments:
        if isinstance(argument, np.ndarray) and argument.ndim:
            values.append(np.uint64(memory.address(buffer)).tobytes())
            buffer += 1
        else:
            values.append(argument if isinstance(argument, bytes) else np.asarray(argument).tobytes())
    return ptx.pack_parameters(compiled.entry, values)


def launch(
    compiled: ptx.CompiledKernel, grid: tuple[int, int, int], *arguments: Any, shared: int = 0, threads: int = 2
) -> ptx.LaunchResult:
    memory = ptx.Memory([a for a in arguments if isinstance(a, np.ndarray) and a.ndim])
    return compiled.launch(memory, pack(compiled, memory, arguments), grid, shared, threads=threads, abort=ptx.Abort())


def run(
    compiled: ptx.CompiledKernel, grid: tuple[int, int, int], *arguments: Any, shared: int = 0, threads: int = 2
) -> None:
    result = launch(compiled, grid, *arguments, shared=shared, threads=threads)
    assert result.status is ptx.Status.OK, result.trap


def body_kernel(body: str, parameters: int, registers: str, block: int = 32, extra: str = "") -> ptx.CompiledKernel:
    """A kernel `k` of u64 parameters loaded to %in0.., with %tid.x in %t."""
    declared = ", ".join(f".param .u64 p{n}" for n in range(parameters))
    loads = "\n".join(f"ld.param.u64 %in{n}, [p{n}];" for n in range(parameters))
    inputs = f".reg .b64 %in<{max(parameters, 1)}>;\n.reg .b32 %t;"
    text = f"{HEADER}{extra}.visible .entry k({declared}) {{\n{inputs}\n{registers}\n"
    return ptx.compile_entry(ptx.parse(f"{text}{loads}\nmov.u32 %t, %tid.x;\n{body}\nret;\n}}\n"), "k", (block, 1, 1))


@cache
def instruction(spelling: str, result: str, sources: tuple[str, ...], threads: int) -> ptx.CompiledKernel:
    """One instruction on element `tid` of one buffer per source, to the last buffer. Predicates travel as u32."""
    lines, registers = [], []
    for n, kind in enumerate((*sources, result)):
        carrier = "u32" if kind == "pred" else kind
        size = int(carrier[1:]) // 8
        width = 16 if size == 1 else size * 8
        registers.append(f".reg .b64 %a{n}; .reg .{'f' if kind[0] == 'f' and size > 2 else 'b'}{width} %v{n};")
        lines += [f"mul.wide.u32 %a{n}, %t, {size};", f"add.s64 %a{n}, %in{n}, %a{n};"]
        if n < len(sources):
            lines.append(f"ld.global.{carrier if carrier != 'f16' else 'b16'} %v{n}, [%a{n}];")
        if kind == "pred":
            registers.append(f".reg .pred %q{n};")
            if n < len(sources):
                lines.append(f"setp.ne.u32 %q{n}, %v{n}, 0;")
    names = [f"%q{n}" if kind == "pred" else f"%v{n}" for n, kind in enumerate((*sources, result))]
    lines.append(f"{spelling} {', '.join([names[-1], *names[:-1]])};")
    last = len(sources)
    if result == "pred":
        lines.append(f"selp.u32 %v{last}, 1, 0, %q{last};")
    carrier = "u32" if result == "pred" else "b16" if result == "f16" else result
    lines.append(f"st.global.{carrier} [%a{last}], %v{last};")
    return body_kernel("\n".join(lines), len(sources) + 1, "\n".join(registers), threads)


def dtype(name: str) -> np.dtype[Any]:
    if name == "pred":
        return np.dtype(np.uint32)
    return np.dtype({"u": "u", "s": "i", "b": "u", "f": "f"}[name[0]] + str(int(name[1:]) // 8))


def apply(spelling: str, result: str, sources: Sequence[tuple[str, Array]]) -> Array:
    """Run one instruction over arrays of equal length, at most 1,024."""
    count = len(sources[0][1])
    arrays = [np.ascontiguousarray(values, dtype(name)) for name, values in sources]
    out = np.zeros(count, dtype(result))
    run(instruction(spelling, result, tuple(name for name, _ in sources), count), (1, 1, 1), *arrays, out)
    return out
