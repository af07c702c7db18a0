"""Where do two providers' contents of a buffer differ? Both are asked for the same leaves, one after the other, until
one shows it (wire/bisection.py)."""

from __future__ import annotations

import functools

import trio

from p2pcompute.errors import LocalError, RemoteError
from p2pcompute.node.pieces import fetch_pieces
from p2pcompute.node.sources import Source
from p2pcompute.protocol.machine import Locate
from p2pcompute.wire.bisection import bisect
from p2pcompute.wire.fraud import Piece
from p2pcompute.wire.manifest import decode_manifest

Located = tuple[int | None, tuple[bytes, ...]]
"""The byte, or None and who was silent."""


async def locate(effect: Locate, left: Source, right: Source) -> Located:
    """Never raises for what a peer could cause: who does not prove a leaf in time is silent."""
    size_bytes = decode_manifest(effect.manifest).buffers[effect.buffer].size_bytes
    sides = ((left, effect.left.root), (right, effect.right.root))
    missing: dict[bytes, None] = {}
    pieces: dict[bytes, Piece] = {}

    async def ask(leaf: int, source: Source, root: bytes) -> None:
        missing[source.peer] = None
        try:
            (pieces[source.peer],) = await fetch_pieces(source, root, size_bytes, [leaf])
        except (RemoteError, LocalError):
            return
        del missing[source.peer]

    walk = bisect(size_bytes)
    leaf = next(walk)
    with trio.move_on_after(effect.timeout_ms / 1000):
        while not missing:
            async with trio.open_nursery() as nursery:
                for source, root in sides:
                    nursery.start_soon(functools.partial(ask, leaf, source, root))
            if missing:
                break
            try:
                leaf = walk.send((pieces[left.peer], pieces[right.peer]))
            except StopIteration as found:
                return found.value, ()
            except ValueError:
                break
    return None, tuple(source.peer for source, _ in sides if source.peer in missing)
