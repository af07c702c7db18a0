"""Which bytes of which states a sample looks at: drawn from what nobody could know when the provider committed.

Rule V16 of docs/spec/verification.md; what may be sampled at all is docs/spec/sampling.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from blake3 import blake3

from p2pcompute.protocol.machine import Point
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import launch_of, step_count

POINTS_PER_BLOCK: Final = 8
"""Points drawn for each block wanted: several may fall into one block, which is recomputed once."""
_WORD_BYTES: Final = 16

Stored = Sequence[Sequence[int]]
"""For each launch the places in the manifest of the buffers that it may store to."""


def stored_fault(manifest: Manifest, stored: Stored) -> str:
    """Why this cannot be what the launches store to; empty when it can."""
    if len(stored) != len(manifest.launches):
        return f"a sample needs the stored buffers of each of the {len(manifest.launches)} launches"
    for places in stored:
        if not places or any(not 0 <= p < len(manifest.buffers) or manifest.buffers[p].is_pure_input for p in places):
            return "every launch of a sample must store to a buffer that is no pure input"
    return ""


def points(manifest: Manifest, stored: Stored, nonce: bytes, commitment: bytes, blocks: int) -> tuple[Point, ...]:
    """Bytes whose blocks are to be recomputed, in the order of the draw; the first `blocks` different blocks count.

    A task of one step spreads them evenly over the buffers it stores to. In a longer one every pair of step and
    buffer is as likely as any other.
    """
    pairs = [
        (step, place)
        for step in range(step_count(manifest))
        for place in stored[launch_of(manifest, step)]
        if manifest.buffers[place].size_bytes
    ]
    words = _words(nonce, commitment)
    found = []
    for number in range(blocks * POINTS_PER_BLOCK):
        at, offset = next(words), next(words)
        step, place = pairs[(number if step_count(manifest) == 1 else at) % len(pairs)]
        found.append(Point(step, place, offset % manifest.buffers[place].size_bytes))
    return tuple(found)


def _words(nonce: bytes, commitment: bytes) -> Iterator[int]:
    """Uniform 128-bit numbers without end: four each of blake3(nonce || commitment || counter in 8 bytes)."""
    counter = 0
    while True:
        block = blake3(nonce + commitment + counter.to_bytes(8, "little")).digest(length=64)
        yield from (int.from_bytes(block[i : i + _WORD_BYTES], "little") for i in range(0, 64, _WORD_BYTES))
        counter += 1
