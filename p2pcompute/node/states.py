"""The states of a task as far as they are here: what the local store has, and pieces of what a provider keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from p2pcompute.compute.sampling.pages import LEAF, Pages, Spans, leaves_under
from p2pcompute.errors import LocalError, RemoteError
from p2pcompute.node.pieces import fetch_pieces, portions
from p2pcompute.node.sources import Source
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.fraud import Piece
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import state_buffers

LOCAL_BYTES: Final = 64 * limits.MIB
"""Buffers of a state up to this size together are known as a whole at once, where they are here: some 30 ms of copying,
and no second round."""


class MissingError(RemoteError):
    """The provider did not give a piece, or gave one without proof."""


@dataclass
class Holding:
    """A buffer in some state. `local`: all its bytes, in the store; `root` is empty for zeros."""

    root: bytes
    pages: Pages
    local: memoryview | None = None
    is_used: bool = False


class Known(Protocol):
    """States as an inspection needs them."""

    def holding(self, state: int, number: int) -> Holding: ...
    async def know(self, holding: Holding, spans: Spans) -> bool: ...
    def lay_local(self, holdings: Iterable[Holding]) -> None: ...
    def proven(self, holding: Holding, spans: Spans) -> list[Piece]: ...
    def check_local(self) -> None: ...


class States:
    """Those of one task and one provider. A buffer that is the same in several states is held once."""

    def __init__(
        self, manifest: Manifest, roots: Sequence[Sequence[bytes]], blobs: BlobStore, source: Source, leaves_max: int
    ) -> None:
        """`roots`: of states 1 to n, those of their buffers. `leaves_max`: what the provider gives of them in all."""
        self._manifest, self._roots, self._blobs, self.source = manifest, roots, blobs, source
        self._leaves_max = leaves_max
        self._places = {number: place for place, number in enumerate(state_buffers(manifest))}
        self._holdings: dict[tuple[bytes, int], Holding] = {}
        self._pieces: list[Piece] = []
        self.leaves = 0
        """Fetched from the provider."""
        self.is_waiting = False
        """For the provider, now."""

    def holding(self, state: int, number: int) -> Holding:
        """A buffer of a state, by its place in the manifest; pure inputs are in every state. Raises LocalError for an
        input that is not here."""
        buffer = self._manifest.buffers[number]
        is_own = buffer.is_pure_input or not state
        root = buffer.root if is_own else self._roots[state - 1][self._places[number]]
        key = root, buffer.size_bytes
        if key not in self._holdings:
            self._holdings[key] = self._new(root, buffer.size_bytes, is_own=is_own)
        return self._holdings[key]

    def _new(self, root: bytes, size: int, *, is_own: bool) -> Holding:
        if not root or not size:
            return Holding(root, Pages(size, is_zero=True))
        is_here = self._blobs.has(root) and self._blobs.size(root) == size
        if is_own and not is_here:
            raise LocalError(f"the input with root {root.hex()[:16]} is not in this home")
        return Holding(root, Pages(size), self._blobs.mapped(root) if is_here else None)

    async def know(self, holding: Holding, spans: Spans) -> bool:
        """Have these bytes; whether any was not known before. Raises MissingError, and LocalError where they are more
        than the provider gives."""
        leaves = holding.pages.missing(spans)
        if not leaves:
            return False
        if holding.local is not None:
            local, holding.is_used = holding.local, True
            holding.pages.add({number: bytes(local[number * LEAF : (number + 1) * LEAF]) for number in leaves})
            return True
        if self.leaves + len(leaves) > self._leaves_max:
            raise LocalError(f"the blocks touch more than {self._leaves_max} leaves of the states")
        self.is_waiting = True
        try:
            for portion in portions(leaves):  # what came before a failure is kept
                for piece in await fetch_pieces(self.source, holding.root, holding.pages.size_bytes, portion):
                    self.leaves += len(piece.leaves)
                    self._pieces.append(piece)
                    holding.pages.add(piece.contents())
        except (RemoteError, LocalError) as error:
            self.is_waiting = False
            raise MissingError(str(error)) from error
        self.is_waiting = False
        return True

    def lay_local(self, holdings: Iterable[Holding]) -> None:
        """Know the whole of those that are here, if that is little."""
        local = [holding for holding in holdings if holding.local is not None]
        if sum(holding.pages.size_bytes for holding in local) <= LOCAL_BYTES:
            for holding in local:
                holding.pages, holding.is_used = Pages(holding.pages.size_bytes, whole=holding.local), True

    def proven(self, holding: Holding, spans: Spans) -> list[Piece]:
        """Pieces that hold these bytes, for others to check: as they were fetched, or made from the local store."""
        wanted = leaves_under(spans)
        if not wanted or not holding.root:
            return []
        if holding.local is None:
            mine = [p for p in self._pieces if (p.root, p.size_bytes) == (holding.root, holding.pages.size_bytes)]
            return [p for p in mine if not set(p.leaves).isdisjoint(wanted)]
        nodes = merkle.chunk_nodes(holding.local)
        return [self._piece(holding, holding.local, nodes, portion) for portion in portions(wanted)]

    @staticmethod
    def _piece(holding: Holding, local: memoryview, nodes: Sequence[bytes], leaves: Sequence[int]) -> Piece:
        proof = tuple(merkle.prove_leaves(local, nodes, leaves))
        data = b"".join(local[n * LEAF : (n + 1) * LEAF] for n in leaves)
        return Piece(holding.root, holding.pages.size_bytes, tuple(leaves), proof, data)

    def check_local(self) -> None:
        """Nobody is wrong because our disk is. Raises HomeError."""
        for holding in self._holdings.values():
            if holding.is_used:
                self._blobs.read(holding.root)


def before(states: Known, manifest: Manifest, step: int) -> Mapping[int, Holding]:
    """All buffers as a step finds them."""
    found = {number: states.holding(step, number) for number in range(len(manifest.buffers))}
    states.lay_local(found.values())
    return found
