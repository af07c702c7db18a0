"""Manifests: canonical or refused, and within every limit when taken."""

from __future__ import annotations

from collections.abc import Mapping

from p2pcompute.errors import DecodeError
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
)
from tests.fuzz.target import Target


def feed(data: bytes) -> None:
    """What is accepted encodes to the very same bytes."""
    assert encode_manifest(decode_manifest(data)) == data


def seeds() -> Mapping[str, bytes]:
    """A small manifest, and one with everything in it."""
    root = bytes(range(32))
    small = Manifest(
        name="m",
        toolchain="t",
        ptx_root=root,
        ptx_size_bytes=100,
        sources=(),
        buffers=(Buffer("out", "f32", (4,), Role.OUT),),
        launches=(Launch("k", (1, 1, 1), (4, 1, 1), (Argument(buffer="out"),)),),
        device_ms_max=1_000,
        memory_bytes_max=1_024,
    )
    large = Manifest(
        name="large",
        toolchain="nvrtc-12.4/1",
        ptx_root=root,
        ptx_size_bytes=10_000,
        sources=(Source("a.cu", root, 100),),
        buffers=(
            Buffer("x", "f32", (16, 4), Role.IN, root),
            Buffer("y", "f64", (16,), Role.INOUT, root, Comparison.TOLERANCE, 4, 1_000),
            Buffer("t", "u8", (64,), Role.TEMP),
        ),
        launches=(
            Launch(
                "k",
                (2, 1, 1),
                (32, 4, 1),
                shared_bytes=1_024,
                repeats=3,
                until="t",
                arguments=(Argument(buffer="x"), Argument(value=b"\0\0\x80?"), Argument(buffer="t")),
            ),
        ),
        device_ms_max=60_000,
        memory_bytes_max=2**20,
        constants=(("c", "x"),),
    )
    return {
        "small": encode_manifest(small),
        "large": encode_manifest(large),
        "bad_huge_array": b"\xdd\xff\xff\xff\xff",
        "bad_nested": b"\x91" * 2_000,
    }


TARGET = Target(feed, (DecodeError,), seeds, held_bytes_per_byte=256)
