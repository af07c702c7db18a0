"""From a compiled kernel and its arguments to a manifest and blobs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from p2pcompute.client.arguments import (
    Array,
    In,
    InOut,
    Out,
    Temp,
    Value,
    dtype_name,
    scalar_bytes,
    structure_bytes,
)
from p2pcompute.client.calls import Call, Dim
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.signature import TEXTURE_OBJECT, SourceParameter, parameters_of
from p2pcompute.client.textures import TextureArgument
from p2pcompute.compute import binding, ptx
from p2pcompute.compute.compiler import CompiledSource, EntrySignature, ParameterSignature
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import (
    DTYPES,
    Argument,
    Buffer,
    Comparison,
    Launch,
    Manifest,
    Role,
    Source,
    encode_manifest,
)

SCALAR_OF_PTX: Final = {
    "u8": "u8", "s8": "i8", "b8": "u8", "u16": "u16", "s16": "i16", "b16": "u16", "u32": "u32", "s32": "i32",
    "b32": "u32", "u64": "u64", "s64": "i64", "b64": "u64", "f32": "f32", "f64": "f64",
}  # fmt: skip
"""What a PTX parameter type is, when the source does not say: PTX writes int as u32."""

CONSTANT: Final = "constant "
"""How the names of buffers begin that variables are set from: no parameter of C++ has such a name."""
_POINTER_BYTES: Final = 8
Memory = In | Out | InOut | Temp


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
    calls: Sequence[Call],
    *,
    device_ms_max: int,
    name: str,
    constants: Mapping[str, Array] | None = None,
) -> Task:
    """Check everything that can be checked here, and build the task. `constants`: variables of the source, by name,
    and what they hold from the start. Raises UsageError with one clear sentence."""
    memory = _Memory()
    entries = {
        entry: _entry(kernel, compiled, entry) for entry in dict.fromkeys(c.entry or kernel.entry for c in calls)
    }
    launches = tuple(_launch(entries[call.entry or kernel.entry], call, memory) for call in calls)
    for variable, array in (constants or {}).items():
        memory.add(f"{CONSTANT}{variable}", "", In(array))
    text = compiled.ptx.encode()
    sources = {kernel.name: kernel.source.encode(), **{name: text.encode() for name, text in kernel.headers.items()}}
    manifest = Manifest(
        name=name,
        toolchain=compiled.toolchain,
        sources=tuple(Source(name, merkle.blob_root(source), len(source)) for name, source in sources.items()),
        ptx_root=merkle.blob_root(text),
        ptx_size_bytes=len(text),
        buffers=tuple(memory.buffers),
        launches=launches,
        device_ms_max=device_ms_max,
        memory_bytes_max=max(limits.MIB, sum(b.size_bytes for b in memory.buffers)),
        defines=tuple(sorted(kernel.defines.items())),
        instances=tuple(entry for entry in entries if "<" in entry),
        constants=tuple((variable, f"{CONSTANT}{variable}") for variable in constants or ()),
    )
    if constants:
        list(binding.constants(manifest, ptx.parse(compiled.ptx)))
    return Task(encode_manifest(manifest), text, (*memory.blobs, text, *sources.values()), tuple(memory.outputs))


class _Memory:
    """The buffers of a task, one for each object that arguments name, and the blobs they start from."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.blobs: list[bytes | memoryview] = []
        self.outputs: list[tuple[str, np.dtype[Any], tuple[int, ...], Array]] = []
        self._names: dict[int, tuple[object, Buffer]] = {}

    def name_of(self, parameter: SourceParameter, value: Memory | TextureArgument) -> str:
        """Of the buffer that a parameter is given: named after the first one, and numbered if there are more of that
        name. Raises UsageError."""
        _, known = self._names.get(id(value), (value, None))
        if known is None:
            taken = {buffer.name for buffer in self.buffers}
            names = itertools.chain([parameter.name], (f"{parameter.name}.{n}" for n in itertools.count(2)))
            name = next(name for name in names if name not in taken)
            argument = In(value.elements()) if isinstance(value, TextureArgument) else value
            known = self.add(name, "" if isinstance(value, TextureArgument) else parameter.dtype, argument)
            self._names[id(value)] = value, known
        elif parameter.dtype not in ("", TEXTURE_OBJECT, known.dtype):
            raise UsageError(f"argument {parameter.name} has dtype {known.dtype}; the kernel wants {parameter.dtype}")
        return known.name

    def add(self, name: str, dtype: str, value: Memory) -> Buffer:
        """Raises UsageError, also where `dtype` is not the array's, unless it is empty."""
        buffer, data = _buffer(name, dtype, value)
        self.buffers.append(buffer)
        if data is not None:
            self.blobs.append(data)
        if isinstance(value, Out | InOut):
            self.outputs.append((name, value.array.dtype, value.array.shape, value.array))
        return buffer


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """A kernel as the user names it, as the PTX has it, and what the source says of its parameters."""

    name: str
    signature: EntrySignature
    parameters: tuple[SourceParameter, ...]


def _entry(kernel: Kernel, compiled: CompiledSource, name: str) -> _Entry:
    """Raises UsageError where there is none of that name."""
    signature = find_entry(compiled, dataclasses.replace(kernel, entry=name))
    texts = (kernel.source, *kernel.headers.values())
    known = next((found for text in texts if (found := parameters_of(text, name)) is not None), None)
    if known is None or len(known) != len(signature.parameters):
        known = tuple(SourceParameter(f"arg{i}", False, "") for i in range(len(signature.parameters)))
    return _Entry(name, signature, known)


def _launch(entry: _Entry, call: Call, memory: _Memory) -> Launch:
    values = _in_order(entry.signature, entry.parameters, call.position, call.arguments)
    arguments = [
        _argument(f"parameter {parameter.name} of {entry.name}", parameter, signature, value, memory)
        for parameter, signature, value in zip(entry.parameters, entry.signature.parameters, values, strict=True)
    ]
    grid, block = dims(call.grid, "grid"), dims(call.block, "block")
    until = next((a.buffer for a, value in zip(arguments, values, strict=True) if value is call.until), "")
    if call.until is not None and not until:
        raise UsageError(f"{entry.name} is to repeat until something is zero that is none of its arguments")
    return Launch(entry.signature.name, grid, block, tuple(arguments), call.shared_bytes, call.repeats, until)


def _argument(
    what: str, parameter: SourceParameter, signature: ParameterSignature, value: Value, memory: _Memory
) -> Argument:
    """Raises UsageError where the value does not go with the parameter."""
    is_texture, is_word = parameter.dtype == TEXTURE_OBJECT, signature.size_bytes == _POINTER_BYTES
    if isinstance(value, TextureArgument):
        if not is_word or parameter.pointer or (parameter.dtype and not is_texture):
            raise UsageError(f"{what} is no texture object")
        return Argument(buffer=memory.name_of(parameter, value), texture=value.view())
    if is_texture:
        raise UsageError(f"{what} is a texture object; give it Texture1D, 2D or 3D")
    if isinstance(value, Memory) or value is None:
        if not is_word or (parameter.dtype and not parameter.pointer):
            raise UsageError(f"{what} is no pointer; give it a scalar")
        if value is None:
            return Argument(value=bytes(_POINTER_BYTES))
        return Argument(buffer=memory.name_of(parameter, value))
    if parameter.pointer:
        raise UsageError(f"{what} is a pointer; give it In, Out, InOut or Temp")
    if isinstance(value, bytes | np.void):
        return Argument(value=structure_bytes(value, signature.size_bytes, f"argument {parameter.name}"))
    dtype = parameter.dtype or SCALAR_OF_PTX.get(signature.type_name.lstrip("."), "")
    if not dtype or DTYPES[dtype] != signature.size_bytes:
        raise UsageError(
            f"{what} is a structure of {signature.size_bytes} bytes; give it bytes or a structured scalar of numpy"
        )
    return Argument(value=scalar_bytes(value, dtype, f"argument {parameter.name}"))


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


def _buffer(name: str, dtype: str, value: Memory) -> tuple[Buffer, memoryview | None]:
    """A buffer, and what it starts from if not from zeros."""
    array = value.array
    if not isinstance(array, np.ndarray):
        raise UsageError(f"argument {name} must wrap a numpy array, not {type(array).__name__}")
    found = dtype_name(array.dtype, f"argument {name}")
    if dtype not in ("", found):
        raise UsageError(f"argument {name} has dtype {found}; the kernel wants {dtype}")
    if array.size == 0:
        raise UsageError(f"argument {name} is empty")
    if isinstance(value, Out | InOut) and not array.flags.writeable:
        raise UsageError(f"argument {name} is read-only; an output must be writeable")
    role = {In: Role.IN, Out: Role.OUT, InOut: Role.INOUT, Temp: Role.TEMP}[type(value)]
    data = np.ascontiguousarray(array).data.cast("B") if isinstance(value, In | InOut) else None
    root = b"" if data is None else merkle.blob_root(data)
    return Buffer(name, found, tuple(array.shape), role, root, *_comparison(name, value)), data


def _comparison(name: str, value: Memory) -> tuple[Comparison, int, int]:
    """How copies of an output are compared: (comparison, ulp_max, rtol_ppb)."""
    if isinstance(value, In | Temp) or not (value.ulp or value.rtol):
        return Comparison.EXACT, 0, 0
    rtol_ppb = round(value.rtol * 1e9)
    if not 0 <= value.ulp < 2**31 or not 0 <= rtol_ppb <= 10**9 or not (value.ulp or rtol_ppb):
        raise UsageError(f"argument {name}: ulp is 0 to {2**31 - 1}, rtol 1e-9 to 1")
    return Comparison.TOLERANCE, int(value.ulp), rtol_ppb
