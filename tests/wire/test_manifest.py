"""The rules of docs/spec/manifest.md, one by one."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import (
    Argument,
    Buffer,
    Comparison,
    Launch,
    Manifest,
    Role,
    Source,
    decode_manifest,
    encode_manifest,
    manifest_fault,
    manifest_id,
)
from p2pcompute.wire.texture import Addressing, Geometry, Texture
from tests.wire.strategies import manifests

TEXTURE = Texture(Geometry.LINE, (8, 1, 1))
ROOT = b"r" * 32
OUT = Buffer("y", "f32", (8,), Role.OUT)
IN = Buffer("x", "f32", (8,), Role.IN, ROOT)
LAUNCH = Launch("k", (1, 1, 1), (32, 1, 1), (Argument("x"), Argument("y"), Argument(value=b"\x08\0\0\0")))
GOOD = Manifest("task", "nvrtc", (Source("k.cu", ROOT, 9),), ROOT, 100, (IN, OUT), (LAUNCH,), 1_000, 2**20)

replace: Any = msgspec.structs.replace


def with_buffer(**changes: object) -> Manifest:
    return replace(GOOD, buffers=(replace(IN, **changes), OUT))  # type: ignore[no-any-return]


def with_output(**changes: object) -> Manifest:
    return replace(GOOD, buffers=(IN, replace(OUT, **changes)))  # type: ignore[no-any-return]


def with_launch(**changes: object) -> Manifest:
    return replace(GOOD, launches=(replace(LAUNCH, **changes),))  # type: ignore[no-any-return]


FAULTS = {
    "name: empty": replace(GOOD, name=""),
    "name: counts bytes": replace(GOOD, name="é" * 33),
    "toolchain": replace(GOOD, toolchain="t" * 65),
    "sources: too many": replace(GOOD, sources=GOOD.sources * 65),
    "source: root": replace(GOOD, sources=(Source("k.cu", b"r" * 31, 9),)),
    "source: size": replace(GOOD, sources=(Source("k.cu", ROOT, 4 * 2**20 + 1),)),
    "source: negative size": replace(GOOD, sources=(Source("k.cu", ROOT, -1),)),
    "source: name": replace(GOOD, sources=(Source("k" * 257, ROOT, 9),)),
    "ptx: root": replace(GOOD, ptx_root=b""),
    "ptx: empty": replace(GOOD, ptx_size_bytes=0),
    "ptx: size": replace(GOOD, ptx_size_bytes=limits.PTX_BYTES_MAX + 1),
    "device time: none": replace(GOOD, device_ms_max=0),
    "device time: more than a day": replace(GOOD, device_ms_max=limits.DEVICE_MS_MAX + 1),
    "memory: none": replace(GOOD, memory_bytes_max=0),
    "memory: too much": replace(GOOD, memory_bytes_max=limits.MEMORY_BYTES_MAX + 1),
    "memory: less than the buffers": replace(GOOD, memory_bytes_max=63),
    "buffers: too many": replace(GOOD, buffers=tuple(replace(OUT, name=f"b{i}") for i in range(129))),
    "buffers: same name": with_buffer(name="y"),
    "buffers: no output": replace(GOOD, buffers=(IN,), launches=(replace(LAUNCH, arguments=()),)),
    "buffer: no name": with_buffer(name=""),
    "buffer: name counts bytes": with_buffer(name="é" * 33),
    "buffer: dtype": with_buffer(dtype="f128"),
    "buffer: nine dimensions": with_buffer(shape=(1,) * 9),
    "buffer: negative extent": with_buffer(shape=(-1, -1)),
    "buffer: huge extent": with_buffer(shape=(limits.BUFFER_BYTES_MAX + 1, 0)),
    "buffer: too large": replace(with_buffer(shape=(2**33,)), memory_bytes_max=limits.MEMORY_BYTES_MAX),
    "buffer: input without root": with_buffer(root=b""),
    "buffer: output with root": with_output(root=ROOT),
    "buffer: exact with ulp": with_output(ulp_max=1),
    "buffer: exact with rtol": with_output(rtol_ppb=1),
    "buffer: negative ulp": with_output(comparison=Comparison.TOLERANCE, ulp_max=-1),
    "buffer: huge rtol": with_output(comparison=Comparison.TOLERANCE, rtol_ppb=10**9 + 1),
    "launches: none": replace(GOOD, launches=()),
    "launches: too many": replace(GOOD, launches=(LAUNCH,) * 1_025),
    "launch: no entry": with_launch(entry=""),
    "launch: long entry": with_launch(entry="k" * 1_025),
    "launch: empty grid": with_launch(grid=(1, 0, 1)),
    "launch: wide grid": with_launch(grid=(2**31, 1, 1)),
    "launch: high grid": with_launch(grid=(1, 65_536, 1)),
    "launch: empty block": with_launch(block=(0, 1, 1)),
    "launch: deep block": with_launch(block=(1, 1, 65)),
    "launch: too many threads": with_launch(block=(1_024, 2, 1)),
    "launch: shared memory": with_launch(shared_bytes=limits.SHARED_BYTES_MAX + 1),
    "launch: no repeats": with_launch(repeats=0),
    "launch: too many repeats": with_launch(repeats=limits.REPEATS_MAX + 1),
    "launch: too many arguments": with_launch(arguments=(Argument("x"),) * 257),
    "launch: argument bytes": with_launch(arguments=(Argument(value=bytes(32_765)),)),
    "launch: unknown buffer": with_launch(arguments=(Argument("z"),)),
    "launch: buffer and value": with_launch(arguments=(Argument("x", b"1"),)),
    "launch: neither buffer nor value": with_launch(arguments=(Argument(),)),
    "texture: no buffer": with_launch(arguments=(Argument(value=b"1", texture=TEXTURE),)),
    "texture: too small": with_launch(arguments=(Argument("x", texture=replace(TEXTURE, extent=(4, 1, 1))),)),
    "texture: too wide": with_launch(arguments=(Argument("x", texture=replace(TEXTURE, extent=(2**28 + 1, 1, 1))),)),
    "texture: three channels": with_launch(arguments=(Argument("x", texture=replace(TEXTURE, channels=3)),)),
    "texture: wraps plain coordinates": with_launch(
        arguments=(Argument("x", texture=replace(TEXTURE, addressing=(Addressing.WRAP,) * 3)),)
    ),
    "texture: fractions of floats": with_launch(arguments=(Argument("x", texture=replace(TEXTURE, float_reads=True)),)),
    "texture: and pointer": with_launch(arguments=(Argument("x", texture=TEXTURE), Argument("x"))),
    "too many macros": replace(GOOD, defines=(("A", "1"),) * (limits.DEFINES_MAX + 1)),
    "a macro too long": replace(GOOD, defines=(("A", "1" * (limits.DEFINE_BYTES_MAX + 1)),)),
    "until: no buffer": with_launch(until="nothing"),
    "until: an input": with_launch(until="x"),
    "until: too large a flag": replace(
        with_launch(until="y"), buffers=(GOOD.buffers[0], replace(GOOD.buffers[1], shape=(1025,)))
    ),
    "variable: set twice": replace(GOOD, constants=(("c", "x"), ("c", "x"))),
    "variable: no buffer": replace(GOOD, constants=(("c", "nothing"),)),
    "variable: from an output": replace(GOOD, constants=(("c", "y"),)),
    "variable: no name": replace(GOOD, constants=(("", "x"),)),
    "too many variables": replace(GOOD, constants=tuple((f"c{n}", "x") for n in range(limits.CONSTANTS_MAX + 1))),
    "too many instances": replace(GOOD, instances=("k<1>",) * (limits.INSTANCES_MAX + 1)),
}


@settings(max_examples=80)
@given(manifests())
def test_a_manifest_comes_back_as_it_was_written(manifest: Manifest) -> None:
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    assert manifest_id(data) == blake3(data).digest()


@settings(max_examples=40)
@given(manifests())
def test_an_independent_encoder_writes_the_same_bytes(manifest: Manifest) -> None:
    assert msgpack.packb(msgspec.to_builtins(manifest, builtin_types=(bytes,))) == encode_manifest(manifest)


@settings(max_examples=200)
@given(manifests(), st.data())
def test_a_mutated_manifest_is_refused_or_is_another_one(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(encode_manifest(manifest))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_manifest(bytes(raw))
    except DecodeError:
        return
    assert other != manifest
    assert encode_manifest(other) == bytes(raw)


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x99\xa1t\xa1n\x90" + tail))
def test_arbitrary_bytes_are_refused_with_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_manifest(raw)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_manifest_that_breaks_a_rule_is_neither_written_nor_read(fault: str) -> None:
    manifest = FAULTS[fault]
    sentence = manifest_fault(manifest)
    assert sentence
    with pytest.raises(UsageError) as wrong:
        encode_manifest(manifest)
    assert str(wrong.value) == sentence
    with pytest.raises(DecodeError):
        decode_manifest(msgspec.msgpack.encode(manifest))


@pytest.mark.parametrize(
    "manifest",
    [
        replace(GOOD, name="n" * 64),
        replace(GOOD, device_ms_max=limits.DEVICE_MS_MAX, memory_bytes_max=limits.MEMORY_BYTES_MAX),
        with_buffer(shape=()),
        with_buffer(shape=(0, 5)),
        with_launch(block=(1_024, 1, 1), repeats=limits.REPEATS_MAX, shared_bytes=limits.SHARED_BYTES_MAX),
        with_launch(arguments=(Argument(value=bytes(32_764)),)),
        with_launch(arguments=(Argument("x", texture=TEXTURE),)),
        replace(GOOD, defines=(("A", ""),), instances=("k<float>",)),
        with_output(comparison=Comparison.TOLERANCE, ulp_max=2, rtol_ppb=10**9),
    ],
)
def test_a_manifest_at_the_edge_of_a_rule_is_accepted(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_a_manifest_too_long_to_be_read_is_not_written() -> None:
    manifest = with_launch(arguments=(Argument(value=bytes(32_764)),))
    long = replace(manifest, launches=manifest.launches * 9)
    assert not manifest_fault(long)
    with pytest.raises(UsageError, match="the limit is 262144"):
        encode_manifest(long)


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(DecodeError):
        decode_manifest(encode_manifest(GOOD) + b"\xc0")


def test_overlong_integers_are_refused() -> None:
    data = encode_manifest(GOOD)
    assert data.count(b"\xcd\x03\xe8") == 1
    with pytest.raises(DecodeError, match="canonical"):
        decode_manifest(data.replace(b"\xcd\x03\xe8", b"\xce\x00\x00\x03\xe8"))


def test_left_out_defaults_are_refused() -> None:
    short = msgpack.packb(["y", "f32", [8], 1])
    full = msgpack.packb(["y", "f32", [8], 1, b"", 0, 0, 0])
    data = encode_manifest(GOOD)
    assert full in data
    with pytest.raises(DecodeError, match="canonical"):
        decode_manifest(data.replace(full, short))


def test_sizes_follow_from_shape_and_dtype() -> None:
    assert Buffer("b", "f64", (3, 5), Role.TEMP).size_bytes == 120
    assert Buffer("b", "bf16", (), Role.TEMP).size_bytes == 2


def test_inputs_and_outputs_follow_from_the_role() -> None:
    row = tuple(Buffer(r.name, "u8", (1,), r) for r in Role)
    manifest = replace(GOOD, buffers=row)
    assert [b.name for b in manifest.inputs] == ["IN", "INOUT"]
    assert [b.name for b in manifest.outputs] == ["OUT", "INOUT"]
