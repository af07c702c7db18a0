"""From a compiled kernel and its arguments to a manifest and blobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from p2pcompute.client.arguments import Array, In, InOut, Out, Value, dtype_name, scalar_bytes
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.signature import TEXTURE_OBJECT, SourceParameter, parameters_of
from p2pcompute.client.textures import TextureArgument
from p2pcompute.compute import binding, ptx
from p2pcompute.compute.compiler import CompiledSource, EntrySignature
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Argument, Buffer, Comparison, Launch, Manifest, Role, Source, encode_manifest

SCALAR_OF_PTX: Final = {
    "u8": "u8", "s8": "i8", "b8": "u8", "u16": "u16", "s16": "i16", "b16": "u16", "u32": "u32", "s32": "i32",
    "b32": "u32", "u64": "u64", "s64": "i64", "b64": "u64", "f32": "f32", "f64": "f64",
}  # fmt: skip
"""What a PTX parameter type is, when the source does not say: PTX writes int as u32."""

CONSTANT: Final = "constant "
"""How the names of buffers begin that variables are set from: no parameter of C++ has such a name."""
Dim = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Task:
    """Ready to submit: `manifest` bytes, the `blobs` it names, its canonical PTX among them, and where outputs go
    (name, dtype, shape, array)."""

    manifest: bytes
    ptx: bytes
    blobs: tuple[bytes | memoryview, ...]
    outputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...], Array], ...]


def dims(value: Dim, what: str) -> tuple[int, int, int]:
    """1 to 3 positive numbers, filled up with ones. Raises UsageError."""
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not 1 <= len(numbers) <= 3 or any(not isinstance(n, int | np.integer) or n < 1 for n in numbers):
        raise UsageError(f"{what} must be one to three positive integers, not {value!r}")
    x, y, z = (*map(int, numbers), 1, 1)[:3]
    return x, y, z


def find_entry(compiled: CompiledSource, kernel: Kernel) -> EntrySignature:
    """The entry the user means, by its name in the source or in the PTX. Raises UsageError with what there is."""
    for entry in compiled.entries:
        if kernel.entry in (entry.name, entry.source_name):
            return entry
    instances = [e for e in compiled.entries if e.source_name.partition("<")[0] == kernel.entry]
    if len(instances) == 1:
        return instances[0]
    for left in compiled.outcome.left_out:
        if left.kernel == kernel.entry.partition("<")[0]:
            raise UsageError(f"{kernel.name}: kernel {left.kernel!r} was left out: {left.reason}")
    there = ", ".join(sorted(e.source_name or e.name for e in compiled.entries)) or "none"
    raise UsageError(f"{kernel.name} has no kernel {kernel.entry!r}; its kernels are: {there}")


def make_task(
    kernel: Kernel,
    compiled: CompiledSource,
    positional: Sequence[Value],
    named: Mapping[str, Value],
    *,
    grid: Dim,
    block: Dim,
    shared_bytes: int,
    device_ms_max: int,
    name: str,
    constants: Mapping[str, Array] | None = None,
) -> Task:
    """Check everything that can be checked here, and build the task. `constants`: variables of the source, by name,
    and what they hold from the start. Raises UsageError with one clear sentence."""
    entry = find_entry(compiled, kernel)
    texts = (kernel.source, *kernel.headers.values())
    known = next((found for text in texts if (found := parameters_of(text, kernel.entry)) is not None), None)
    if known is None or len(known) != len(entry.parameters):
        known = tuple(SourceParameter(f"arg{i}", False, "") for i in range(len(entry.parameters)))
    values = _in_order(entry, known, positional, named)
    arguments: list[Argument] = []
    buffers: list[Buffer] = []
    blobs: list[bytes | memoryview] = []
    outputs: list[tuple[str, np.dtype[Any], tuple[int, ...], Array]] = []
    for parameter, ptx_parameter, value in zip(known, entry.parameters, values, strict=True):
        is_texture = parameter.dtype == TEXTURE_OBJECT
        if isinstance(value, TextureArgument):
            if ptx_parameter.size_bytes != 8 or parameter.pointer or (parameter.dtype and not is_texture):
                raise UsageError(f"parameter {parameter.name} of {kernel.entry} is no texture object")
            buffers.append(_buffer(SourceParameter(parameter.name, True, ""), In(value.elements()), blobs))
            arguments.append(Argument(buffer=parameter.name, texture=value.view()))
        elif is_texture:
            raise UsageError(
                f"parameter {parameter.name} of {kernel.entry} is a texture object; give it Texture1D, 2D or 3D"
            )
        elif isinstance(value, In | Out | InOut):
            if ptx_parameter.size_bytes != 8 or (parameter.dtype and not parameter.pointer):
                raise UsageError(f"parameter {parameter.name} of {kernel.entry} is no pointer; give it a scalar")
            buffers.append(_buffer(parameter, value, blobs))
            arguments.append(Argument(buffer=parameter.name))
            if not isinstance(value, In):
                outputs.append((parameter.name, value.array.dtype, value.array.shape, value.array))
        else:
            if parameter.pointer:
                raise UsageError(f"parameter {parameter.name} of {kernel.entry} is a pointer; give it In, Out or InOut")
            dtype = parameter.dtype or SCALAR_OF_PTX.get(ptx_parameter.type_name.lstrip("."), "")
            if not dtype:
                raise UsageError(
                    f"parameter {parameter.name} of {kernel.entry} is a struct; those cannot be given here"
                )
            arguments.append(Argument(value=scalar_bytes(value, dtype, f"argument {parameter.name}")))
    for variable, array in (constants or {}).items():
        buffers.append(_buffer(SourceParameter(f"{CONSTANT}{variable}", True, ""), In(array), blobs))
    text = compiled.ptx.encode()
    sources = {kernel.name: kernel.source.encode(), **{name: text.encode() for name, text in kernel.headers.items()}}
    blobs += [text, *sources.values()]
    manifest = Manifest(
        name=name,
        toolchain=compiled.toolchain,
        sources=tuple(Source(name, merkle.blob_root(source), len(source)) for name, source in sources.items()),
        ptx_root=merkle.blob_root(text),
        ptx_size_bytes=len(text),
        buffers=tuple(buffers),
        launches=(Launch(entry.name, dims(grid, "grid"), dims(block, "block"), tuple(arguments), shared_bytes),),
        device_ms_max=device_ms_max,
        memory_bytes_max=max(limits.MIB, sum(b.size_bytes for b in buffers)),
        defines=tuple(sorted(kernel.defines.items())),
        instances=(kernel.entry,) if "<" in kernel.entry else (),
        constants=tuple((variable, f"{CONSTANT}{variable}") for variable in constants or ()),
    )
    if constants:
        list(binding.constants(manifest, ptx.parse(compiled.ptx)))
    return Task(encode_manifest(manifest), text, tuple(blobs), tuple(outputs))


def _in_order(
    entry: EntrySignature, known: Sequence[SourceParameter], positional: Sequence[Value], named: Mapping[str, Value]
) -> list[Value]:
    names = [p.name for p in known]
    title = f"{entry.source_name or entry.name}({', '.join(names)})"
    if len(positional) > len(names):
        raise UsageError(f"{title} takes {len(names)} arguments, not {len(positional)}")
    values = dict(zip(names, positional))
    for name, value in named.items():
        if name not in names:
            raise UsageError(f"{title} has no parameter {name!r}")
        if name in values:
            raise UsageError(f"{title} got parameter {name!r} twice")
        values[name] = value
    missing = [n for n in names if n not in values]
    if missing:
        raise UsageError(f"{title} misses {', '.join(missing)}")
    return [values[n] for n in names]


def _buffer(parameter: SourceParameter, value: In | Out | InOut, blobs: list[bytes | memoryview]) -> Buffer:
    array = value.array
    if not isinstance(array, np.ndarray):
        raise UsageError(f"argument {parameter.name} must wrap a numpy array, not {type(array).__name__}")
    dtype = dtype_name(array.dtype, f"argument {parameter.name}")
    if parameter.dtype and parameter.dtype != dtype:
        raise UsageError(f"argument {parameter.name} has dtype {dtype}; the kernel wants {parameter.dtype}")
    if array.size == 0:
        raise UsageError(f"argument {parameter.name} is empty")
    if not isinstance(value, In) and not array.flags.writeable:
        raise UsageError(f"argument {parameter.name} is read-only; an output must be writeable")
    role = {In: Role.IN, Out: Role.OUT, InOut: Role.INOUT}[type(value)]
    root = b""
    if role is not Role.OUT:
        data = np.ascontiguousarray(array).data.cast("B")
        root = merkle.blob_root(data)
        blobs.append(data)
    return Buffer(parameter.name, dtype, tuple(array.shape), role, root, *_comparison(parameter.name, value))


def _comparison(name: str, value: In | Out | InOut) -> tuple[Comparison, int, int]:
    """How copies of an output are compared: (comparison, ulp_max, rtol_ppb)."""
    if isinstance(value, In) or not (value.ulp or value.rtol):
        return Comparison.EXACT, 0, 0
    rtol_ppb = round(value.rtol * 1e9)
    if not 0 <= value.ulp < 2**31 or not 0 <= rtol_ppb <= 10**9 or not (value.ulp or rtol_ppb):
        raise UsageError(f"argument {name}: ulp is 0 to {2**31 - 1}, rtol 1e-9 to 1")
    return Comparison.TOLERANCE, int(value.ulp), rtol_ppb
