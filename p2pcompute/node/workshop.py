"""A node's blobs and engines: what Fetch, Grant and RunJob mean on a real machine."""

from __future__ import annotations

import dataclasses
import itertools
from collections import OrderedDict
from typing import Final

import trio

from p2pcompute.compute.closeness import are_close
from p2pcompute.errors import LocalError
from p2pcompute.node import exchange
from p2pcompute.node.engines import Engines
from p2pcompute.node.inspection import Inspector
from p2pcompute.node.locating import Located, locate
from p2pcompute.node.ports import Clock, Streams, SystemClock
from p2pcompute.node.sources import PROTOCOL, PaymentDueError, Source
from p2pcompute.protocol.machine import Compare, Fetch, Grant, Inspect, InspectOutcome, JobOutcome, Locate, RunJob
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.mux import Stream
from p2pcompute.wire.manifest import decode_manifest

GRANTS_PER_PEER_MAX: Final = 1_024
"""Tasks whose blobs one peer may read at a time; the oldest grant goes first."""
PIN_MS: Final = 2 * 3600 * 1000
"""How long blobs of a fetch or run stay when no grant says longer: a day's work is assigned within minutes."""
RETENTION_S: Final = 60.0


@dataclasses.dataclass
class _Granted:
    """A grant, and how many single leaves were given under its token."""

    grant: Grant
    leaves_given: int


class Workshop:
    """Fetches and serves blobs, runs jobs, and keeps what somebody still needs."""

    def __init__(
        self,
        blobs: BlobStore,
        engines: Engines,
        blob_bytes_per_s: int,
        clock: Clock | None = None,
        *,
        checkers: Engines | None = None,
    ) -> None:
        """`blob_bytes_per_s`: to each peer that fetches from here, in the long run. `checkers` recompute single blocks;
        without them the engines do."""
        self._blobs, self._engines, self._clock = blobs, engines, clock or SystemClock()
        self._server = exchange.BlobServer(blobs, self._may_read, blob_bytes_per_s, self._may_have)
        self._bans = exchange.Bans()
        self._inspector = Inspector(checkers or engines, blobs)
        self._grants: dict[bytes, OrderedDict[str, _Granted]] = {}
        """Peer -> token -> grant."""
        self._pinned_until_ms: dict[str, int] = {}

    # -- blobs -------------------------------------------------------------------------------------------------------

    def grant(self, effect: Grant) -> None:
        """Let a peer read blobs for a while."""
        granted = self._grants.setdefault(effect.peer, OrderedDict())
        before = granted.get(effect.token)
        granted[effect.token] = _Granted(effect, before.leaves_given if before is not None else 0)
        granted.move_to_end(effect.token)
        if effect.token in self._pinned_until_ms:
            self._pinned_until_ms[effect.token] = effect.until_wall_ms
        while len(granted) > GRANTS_PER_PEER_MAX:
            granted.popitem(last=False)

    def _may_read(self, peer: bytes, root: bytes) -> int | None:
        """How many chunks; None when this blob was not granted."""
        if any(not one.grant.leaves_max for one in self._granted(peer, root)):
            return exchange.ALL_CHUNKS
        wall_ms = self._clock.now().wall_ms
        known = self._grants[peer].values() if peer in self._grants else ()
        parts = [one.grant.part for one in known if one.grant.part and wall_ms < one.grant.until_wall_ms]
        return max((chunks for part, chunks in parts if part == root), default=None)

    def _may_have(self, peer: bytes, root: bytes, leaves: int) -> bool:
        """Some grant has so many leaves left; they are counted there, a leaf asked for twice twice."""
        for one in self._granted(peer, root):
            if one.leaves_given + leaves <= one.grant.leaves_max:
                one.leaves_given += leaves
                return True
        return False

    def _granted(self, peer: bytes, root: bytes) -> list[_Granted]:
        """What holds now."""
        wall_ms = self._clock.now().wall_ms
        known = self._grants[peer].values() if peer in self._grants else ()
        return [one for one in known if root in one.grant.roots and wall_ms < one.grant.until_wall_ms]

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Answer one request for a blob. Raises RemoteError for one that nobody understands."""
        await self._server.serve(peer, stream)

    async def fetch(self, effect: Fetch, network: Streams) -> tuple[bytes, ...]:
        """Have the blobs here, pinned; their bytes when they are a manifest's. Raises RemoteError or LocalError."""
        sources = [self._source(network, *source) for source in ((effect.peer, effect.addresses), *effect.others)]
        held_bytes = 0
        for root, size in effect.blobs:
            self._pin(root, effect.token)
            try:
                await exchange.fetch_blob(self._blobs, sources, root, size, self._bans)
            except PaymentDueError as error:
                raise PaymentDueError(str(error), held_bytes + error.held_bytes) from error
            held_bytes += size
        wanted = effect.token.startswith("manifest:")
        return tuple(self._blobs.read(root) for root, _ in effect.blobs) if wanted else ()

    @staticmethod
    def _source(network: Streams, peer: bytes, addresses: tuple[str, ...]) -> Source:
        return Source(peer, lambda: network.open_stream_to(peer, addresses, PROTOCOL))

    def _pin(self, root: bytes, token: str) -> None:
        self._pinned_until_ms.setdefault(token, self._clock.now().wall_ms + PIN_MS)
        self._blobs.pin(root, token)

    # -- jobs --------------------------------------------------------------------------------------------------------

    async def run(self, effect: RunJob) -> JobOutcome:
        """Run a manifest on a free engine."""
        self._pinned_until_ms.setdefault(effect.token, self._clock.now().wall_ms + PIN_MS)
        try:
            return await self._engines.run(effect.token, effect.manifest, self._blobs, snapshots=effect.snapshots)
        finally:
            for what in ("manifest", "inputs"):
                self._blobs.unpin(f"{what}:{effect.token}")

    async def inspect(self, effect: Inspect, network: Streams) -> InspectOutcome:
        """Recompute blocks of a provider's result on a free engine."""
        return await self._inspector.inspect(effect, self._source(network, effect.peer, effect.addresses))

    async def locate(self, effect: Locate, network: Streams) -> Located:
        """A byte in which two providers' states differ; or None, and who of them proved no leaf."""
        sources = (self._source(network, side.peer, side.addresses) for side in (effect.left, effect.right))
        return await locate(effect, *sources)

    async def compare(self, effect: Compare) -> tuple[tuple[int, int], ...] | None:
        """Which results are close to each other; None where one of them is not here."""
        try:
            return await trio.to_thread.run_sync(self._close_pairs, effect)
        except LocalError:
            return None

    def _close_pairs(self, effect: Compare) -> tuple[tuple[int, int], ...]:
        outputs = decode_manifest(effect.manifest).outputs
        views = [[self._blobs.mapped(root) for root in roots] for roots in effect.results]
        return tuple(
            (i, j)
            for i, j in itertools.combinations(range(len(views)), 2)
            if all(are_close(buffer, a, b) for buffer, a, b in zip(outputs, views[i], views[j], strict=True))
        )

    # -- retention ---------------------------------------------------------------------------------------------------

    async def run_retention(self) -> None:
        """Let go of grants that ran out and of blobs nobody is waiting for any more."""
        while True:
            await trio.sleep(RETENTION_S)
            wall_ms = self._clock.now().wall_ms
            self._drop_grants(wall_ms)
            for token in [t for t, until in self._pinned_until_ms.items() if until <= wall_ms]:
                del self._pinned_until_ms[token]
                self._blobs.unpin(token)

    def _drop_grants(self, wall_ms: int) -> None:
        for peer, granted in list(self._grants.items()):
            for token in [t for t, one in granted.items() if one.grant.until_wall_ms <= wall_ms]:
                del granted[token]
            if not granted:
                del self._grants[peer]
