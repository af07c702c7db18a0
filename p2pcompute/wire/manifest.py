"""What is to be computed: kernels, buffers and launches, as one content-addressed document.

A manifest is not signed: its id is the BLAKE3 hash of its canonical bytes, and signed documents bind that id. All
integers are exact; scalars travel as the little-endian bytes the kernel reads, so no float is ever encoded.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

import msgspec
from blake3 import blake3

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.texture import Texture, texture_fault

DTYPES: dict[str, int] = {
    name: bits // 8
    for bits, names in ((8, "i8 u8"), (16, "i16 u16 f16 bf16"), (32, "i32 u32 f32"), (64, "i64 u64 f64"))
    for name in names.split()
}
"""Element types of buffers and scalars, with their size in bytes."""


class Role(enum.IntEnum):
    """What a buffer means to the task: `IN` and `INOUT` start from a blob, `OUT` and `TEMP` start as zeros;
    `OUT` and `INOUT` are results."""

    IN = 0
    OUT = 1
    INOUT = 2
    TEMP = 3


class Comparison(enum.IntEnum):
    """How two replicas' copies of an output are compared."""

    EXACT = 0
    TOLERANCE = 1


class Buffer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A named piece of device memory. `shape` is in elements of `dtype`; `root` is the blob's Merkle root for `IN` and
    `INOUT`, empty otherwise. `ulp_max` and `rtol_ppb` (parts per billion) hold for `TOLERANCE` only."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: Role
    root: bytes = b""
    comparison: Comparison = Comparison.EXACT
    ulp_max: int = 0
    rtol_ppb: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * DTYPES[self.dtype]

    @property
    def is_input(self) -> bool:
        return self.role in (Role.IN, Role.INOUT)

    @property
    def is_output(self) -> bool:
        return self.role in (Role.OUT, Role.INOUT)

    @property
    def is_pure_input(self) -> bool:
        return self.role is Role.IN


class Argument(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One kernel parameter: the address of `buffer`, or a texture object that reads it where `texture` is given, or,
    when `buffer` is empty, the little-endian bytes `value`. A null pointer is eight zero bytes."""

    buffer: str = ""
    value: bytes = b""
    texture: Texture | None = None


class Launch(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One kernel launch, or `repeats` of them in a row. `entry` is the name in the PTX; `shared_bytes` is dynamic
    shared memory. `until`: the buffer that is zeroed before each of them, and if it is still all zeros after one, that
    was the last."""

    entry: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Argument, ...]
    shared_bytes: int = 0
    repeats: int = 1
    until: str = ""

    @property
    def textures(self) -> tuple[Texture, ...]:
        return tuple(a.texture for a in self.arguments if a.texture is not None)


class Source(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Where the PTX came from, for anyone who wants to compile it again: file name and blob root of its text."""

    name: str
    root: bytes
    size_bytes: int


class Manifest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The task. `ptx_root` is the blob root of the canonical PTX, the artifact that every engine loads;
    `toolchain` names the compiler and options that made it, from the first of `sources`, which may include the others,
    with the macros `defines` and the template `instances`. `constants` are variables of the PTX, by name, that hold a
    buffer's bytes from the first launch on, as cudaMemcpyToSymbol sets them."""

    name: str
    toolchain: str
    sources: tuple[Source, ...]
    ptx_root: bytes
    ptx_size_bytes: int
    buffers: tuple[Buffer, ...]
    launches: tuple[Launch, ...]
    device_ms_max: int
    memory_bytes_max: int
    defines: tuple[tuple[str, str], ...] = ()
    instances: tuple[str, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()

    @property
    def outputs(self) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers if b.is_output)

    @property
    def is_tolerant(self) -> bool:
        """Whether two results may differ in their bits and agree."""
        return any(b.comparison is Comparison.TOLERANCE for b in self.outputs)

    @property
    def inputs(self) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers if b.is_input)

    @property
    def blobs(self) -> dict[bytes, int]:
        """Root -> size of what a provider fetches beside the manifest: the PTX and every distinct input."""
        return {self.ptx_root: self.ptx_size_bytes} | {b.root: b.size_bytes for b in self.inputs}


_decoder = msgspec.msgpack.Decoder(Manifest)
_encoder = msgspec.msgpack.Encoder()


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes. Raises UsageError when the manifest breaks a limit, so that nobody sends what all refuse."""
    fault = manifest_fault(manifest)
    if fault:
        raise UsageError(fault)
    data = _encoder.encode(manifest)
    if len(data) > limits.MANIFEST_BYTES_MAX:
        raise UsageError(f"the manifest takes {len(data)} bytes; the limit is {limits.MANIFEST_BYTES_MAX}")
    return data


def decode_manifest(data: bytes) -> Manifest:
    """Strict inverse of `encode_manifest`. Raises DecodeError for anything not canonical or out of bounds."""
    if len(data) > limits.MANIFEST_BYTES_MAX:
        raise DecodeError(f"manifest of {len(data)} bytes; the limit is {limits.MANIFEST_BYTES_MAX}")
    try:
        manifest = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"manifest: {error}") from error
    if _encoder.encode(manifest) != data:
        raise DecodeError("manifest is not in canonical form")
    fault = manifest_fault(manifest)
    if fault:
        raise DecodeError(fault)
    return manifest


def manifest_id(data: bytes) -> bytes:
    """32-byte BLAKE3 of the canonical bytes."""
    return blake3(data).digest()


def manifest_fault(m: Manifest) -> str:
    """The first rule of docs/spec/manifest.md that `m` breaks, as a sentence; empty when it keeps them all."""
    if not 0 < len(m.name.encode()) <= limits.LABEL_BYTES_MAX:
        return "the task's name must have 1 to 64 bytes"
    if len(m.toolchain.encode()) > limits.LABEL_BYTES_MAX:
        return "the toolchain id is longer than 64 bytes"
    if len(m.sources) > limits.SOURCES_MAX:
        return f"more than {limits.SOURCES_MAX} sources"
    for s in m.sources:
        if len(s.root) != 32 or not 0 <= s.size_bytes <= limits.SOURCE_BYTES_MAX or len(s.name) > 256:
            return "a source needs a 32-byte root, at most 4 MiB and a name of at most 256 characters"
    if len(m.defines) > limits.DEFINES_MAX or any(max(map(len, pair)) > limits.DEFINE_BYTES_MAX for pair in m.defines):
        return f"more than {limits.DEFINES_MAX} macros, or one of more than {limits.DEFINE_BYTES_MAX} characters"
    if len(m.instances) > limits.INSTANCES_MAX or any(len(name) > limits.DEFINE_BYTES_MAX for name in m.instances):
        return f"more than {limits.INSTANCES_MAX} template instances, or one with too long a name"
    if len(m.ptx_root) != 32 or not 0 < m.ptx_size_bytes <= limits.PTX_BYTES_MAX:
        return "the PTX needs a 32-byte root and at most 8 MiB"
    if not 0 < m.device_ms_max <= limits.DEVICE_MS_MAX:
        return "device_ms_max must be positive and at most a day"
    if not 0 < m.memory_bytes_max <= limits.MEMORY_BYTES_MAX:
        return "memory_bytes_max must be positive and at most 64 GiB"
    return _buffers_fault(m) or _constants_fault(m) or _launches_fault(m)


def _buffers_fault(m: Manifest) -> str:
    if len(m.buffers) > limits.BUFFERS_MAX:
        return f"more than {limits.BUFFERS_MAX} buffers"
    names = [b.name for b in m.buffers]
    if len(set(names)) != len(names):
        return "two buffers have the same name"
    total = 0
    for b in m.buffers:
        if not 0 < len(b.name.encode()) <= limits.LABEL_BYTES_MAX:
            return "a buffer's name must have 1 to 64 bytes"
        if b.dtype not in DTYPES:
            return f"buffer {b.name}: unknown dtype {b.dtype[:16]!r}"
        if len(b.shape) > 8 or any(not 0 <= n <= limits.BUFFER_BYTES_MAX for n in b.shape):
            return f"buffer {b.name}: bad shape"
        if b.size_bytes > limits.BUFFER_BYTES_MAX:
            return f"buffer {b.name}: larger than {limits.BUFFER_BYTES_MAX} bytes"
        if len(b.root) != (32 if b.is_input else 0):
            return f"buffer {b.name}: an input needs a 32-byte root, any other none"
        if b.comparison is Comparison.EXACT and (b.ulp_max or b.rtol_ppb):
            return f"buffer {b.name}: an exact output has no tolerance"
        if not 0 <= b.ulp_max < 2**31 or not 0 <= b.rtol_ppb <= 10**9:
            return f"buffer {b.name}: bad tolerance"
        total += b.size_bytes
    if total > m.memory_bytes_max:
        return f"the buffers take {total} bytes, more than memory_bytes_max = {m.memory_bytes_max}"
    if not any(b.is_output for b in m.buffers):
        return "a task needs at least one output"
    return ""


def _constants_fault(m: Manifest) -> str:
    if len(m.constants) > limits.CONSTANTS_MAX:
        return f"more than {limits.CONSTANTS_MAX} variables are set"
    if len({variable for variable, _ in m.constants}) != len(m.constants):
        return "a variable is set twice"
    inputs = {b.name for b in m.buffers if b.is_pure_input}
    for variable, buffer in m.constants:
        if not 0 < len(variable) <= limits.DEFINE_BYTES_MAX:
            return "a variable's name is empty or too long"
        if buffer not in inputs:
            return f"variable {variable[:64]} is set from {buffer[:32]!r}, which is no input alone"
    return ""


def _launches_fault(m: Manifest) -> str:
    if not 0 < len(m.launches) <= limits.LAUNCHES_MAX:
        return f"a task needs 1 to {limits.LAUNCHES_MAX} launches"
    by_name = {b.name: b for b in m.buffers}
    for i, launch in enumerate(m.launches):
        if not 0 < len(launch.entry) <= 1024:
            return f"launch {i}: the entry's name is empty or too long"
        if any(not 1 <= n <= top for n, top in zip(launch.grid, limits.GRID_DIMS_MAX)):
            return f"launch {i}: grid {launch.grid} is outside 1..{limits.GRID_DIMS_MAX}"
        if any(not 1 <= n <= top for n, top in zip(launch.block, limits.BLOCK_DIMS_MAX)):
            return f"launch {i}: block {launch.block} is outside 1..{limits.BLOCK_DIMS_MAX}"
        if math.prod(launch.block) > limits.BLOCK_THREADS_MAX:
            return f"launch {i}: block {launch.block} has more than {limits.BLOCK_THREADS_MAX} threads"
        if not 0 <= launch.shared_bytes <= limits.SHARED_BYTES_MAX:
            return f"launch {i}: shared_bytes must be 0 to {limits.SHARED_BYTES_MAX}"
        if not 1 <= launch.repeats <= limits.REPEATS_MAX:
            return f"launch {i}: repeats must be 1 to {limits.REPEATS_MAX}"
        if len(launch.arguments) > limits.ARGUMENTS_MAX:
            return f"launch {i}: more than {limits.ARGUMENTS_MAX} arguments"
        if sum(8 if a.buffer else len(a.value) for a in launch.arguments) > limits.ARGUMENT_BYTES_MAX:
            return f"launch {i}: arguments take more than {limits.ARGUMENT_BYTES_MAX} bytes"
        fault = _arguments_fault(launch, by_name) or _until_fault(launch, by_name)
        if fault:
            return f"launch {i}: {fault}"
    return ""


def _until_fault(launch: Launch, buffers: Mapping[str, Buffer]) -> str:
    if not launch.until:
        return ""
    flag = buffers.get(launch.until)
    if flag is None or flag.is_pure_input:
        return f"it repeats until {launch.until[:32]!r} is zero, which is no buffer that it could write"
    if not 0 < flag.size_bytes <= limits.FLAG_BYTES_MAX:
        return f"it repeats until {flag.name} is zero, which must have 1 to {limits.FLAG_BYTES_MAX} bytes"
    if any(a.buffer == flag.name and a.texture is not None for a in launch.arguments):
        return f"it repeats until {flag.name} is zero, and reads that as a texture"
    return ""


def _arguments_fault(launch: Launch, buffers: Mapping[str, Buffer]) -> str:
    for a in launch.arguments:
        if a.buffer and (a.value or a.buffer not in buffers):
            return f"argument names an unknown buffer {a.buffer[:32]!r}"
        if not a.buffer and not a.value:
            return "an argument needs a buffer or a value"
        if a.texture is None:
            continue
        if not a.buffer:
            return "a texture needs a buffer"
        buffer = buffers[a.buffer]
        if buffer.dtype not in DTYPES:
            return f"unknown dtype {buffer.dtype[:16]!r}"
        fault = texture_fault(a.texture, buffer.dtype, math.prod(buffer.shape))
        if fault:
            return f"the texture of buffer {a.buffer} {fault}"
        if any(other.buffer == a.buffer and other.texture is None for other in launch.arguments):
            return f"buffer {a.buffer} is read as a texture and given as a pointer at once"
    return ""
