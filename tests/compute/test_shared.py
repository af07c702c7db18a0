from __future__ import annotations

import os

import pytest

from p2pcompute.compute import shared
from p2pcompute.wire.manifest import Role
from tests.compute.manifests import buffer, launch, manifest

JOB = manifest(
    b"ptx text",
    [buffer("in", "u8", 5000, Role.IN), buffer("empty", "u8", 0, Role.TEMP), buffer("out", "u8", 3, Role.OUT)],
    [launch("f")],
)


def test_every_buffer_starts_on_its_own_page() -> None:
    assert shared.layout(JOB) == shared.Layout(8, ((4096, 5000), (12288, 0), (12288, 3)), 16384)


def test_both_sides_see_the_same_bytes_and_the_rest_is_zero() -> None:
    memory = shared.SharedMemory(JOB, b"ptx text", {"in": b"\7" * 5000})
    view = shared.attach(os.dup(memory.descriptor), JOB)
    assert view[:8] == b"ptx text"
    assert view[4096:9096] == b"\7" * 5000
    assert not any(view[9096:])
    view[12288:12291] = b"abc"
    assert (memory.read(1), memory.read(2)) == (b"", b"abc")
    view.close()
    memory.close()


def test_the_memory_can_neither_shrink_nor_grow() -> None:
    memory = shared.SharedMemory(JOB, b"ptx text", {"in": bytes(5000)})
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.descriptor, size)
    memory.close()
