"""Who is subscribed to what, and with whom each topic's messages are exchanged at once.

Source: gossipsub v1.0 "Mesh maintenance"; v1.1 "Prune backoff and Peer Exchange", "Outbound Mesh Quotas",
"Opportunistic Grafting", "Flood Publishing" and "Explicit Peering Agreements".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Container
from typing import Final

from p2pcompute.protocol.gossip.codec import Exchanged, encode_graft, encode_prune
from p2pcompute.protocol.gossip.exchange import Records
from p2pcompute.protocol.gossip.outbox import Outbox, Weight
from p2pcompute.protocol.gossip.params import (
    BACKOFF_MS_MAX,
    BACKOFFS_MAX,
    EXCHANGED_PEERS_MAX,
    FANOUT_MAX,
    HEARTBEAT_MS,
    TOPICS_PER_PEER_MAX,
    GossipParams,
)
from p2pcompute.protocol.gossip.score import Scores, Standing
from p2pcompute.protocol.machine import Random

_SLACK_MS: Final = HEARTBEAT_MS
"""Added to a backoff of ours before we graft again: the peer's clock started later than ours."""


@dataclasses.dataclass(slots=True)
class Neighbour:
    """A connected peer, as far as gossip knows it."""

    outbound: bool
    minor: int = 1
    """It speaks /meshsub/1.minor.0."""
    topics: dict[str, None] = dataclasses.field(default_factory=dict)
    unwanted: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Messages not to be sent to it, each with the heartbeat until which that holds."""
    told: dict[str, int] = dataclasses.field(default_factory=dict)
    """Topics it takes, each with the heartbeat in which it was last told what there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Backoff:
    since_ms: int
    until_ms: int


class Mesh:
    """Neighbours, the mesh of each of our topics, and the fanout of topics we only publish to."""

    __slots__ = (
        "_backoffs", "_fanout", "_heartbeats", "_outbox", "_params", "_records", "_rng", "_scores", "_standing",
        "neighbours", "topics",
    )  # fmt: skip

    def __init__(
        self, params: GossipParams, rng: Random, outbox: Outbox, scores: Scores, standing: Standing, records: Records
    ) -> None:
        self._params, self._rng, self._outbox = params, rng, outbox
        self._scores, self._standing, self._records = scores, standing, records
        self.neighbours: dict[bytes, Neighbour] = {}
        self.topics: dict[str, dict[bytes, None]] = {}
        """Our subscriptions, each with its mesh."""
        self._fanout: dict[str, tuple[dict[bytes, None], int]] = {}
        self._backoffs: dict[tuple[str, bytes], _Backoff] = {}
        self._heartbeats = 0

    # Neighbours ------------------------------------------------------------------------------------------------

    def remove(self, peer: bytes) -> None:
        self.neighbours.pop(peer, None)
        for mesh in self.topics.values():
            mesh.pop(peer, None)
        for fanout, _ in self._fanout.values():
            fanout.pop(peer, None)

    def subscribed(self, peer: bytes, topic: str, now_ms: int) -> None:
        """A neighbour says that it takes a topic."""
        topics = self.neighbours[peer].topics
        if topic in topics or len(topics) >= TOPICS_PER_PEER_MAX:
            return
        topics[topic] = None
        mesh = self.topics.get(topic)
        if mesh is not None and len(mesh) < self._params.degree_low and self._may_graft(topic, peer, now_ms):
            self._graft(topic, peer, now_ms)

    def unsubscribed(self, peer: bytes, topic: str) -> None:
        self.neighbours[peer].topics.pop(topic, None)
        self.neighbours[peer].told.pop(topic, None)
        self.leave(peer, topic)

    def subscribers(self, topic: str, allowed: Callable[[bytes], bool], without: Container[bytes] = ()) -> list[bytes]:
        """Neighbours that take a topic and of whom `allowed` holds, in random order."""
        found = [
            peer
            for peer, neighbour in self.neighbours.items()
            if topic in neighbour.topics and peer not in without and allowed(peer)
        ]
        self._rng.shuffle(found)
        return found

    def receivers(self, topic: str) -> Collection[bytes]:
        """Who gets every message of a topic at once: its mesh, and whom an agreement names."""
        if not self._standing.direct:
            return self.topics.get(topic, {})
        agreed = [
            peer for peer in self._standing.direct if peer in self.neighbours and topic in self.neighbours[peer].topics
        ]
        return [*self.topics.get(topic, ()), *agreed]

    # Our own topics --------------------------------------------------------------------------------------------

    def join(self, topic: str, now_ms: int) -> None:
        """Subscribe: the fanout of the topic, and then others, become its mesh."""
        mesh = self.topics[topic] = {}
        fanout, _ = self._fanout.pop(topic, ({}, 0))
        for peer in fanout:
            if len(mesh) < self._params.degree and self._may_graft(topic, peer, now_ms):
                self._graft(topic, peer, now_ms)
        self._fill(topic, self._params.degree, now_ms)

    def part(self, topic: str, now_ms: int) -> None:
        for peer in list(self.topics[topic]):
            self.leave(peer, topic)
            self._send_prune(topic, peer, self._params.unsubscribe_backoff_ms, now_ms, exchange=True)
        del self.topics[topic]

    def fanout(self, topic: str, now_ms: int) -> list[bytes]:
        """Whom to send a message of a topic that we are not subscribed to."""
        known, _ = self._fanout.pop(topic, ({}, 0))
        peers = {peer: None for peer in known if self._standing.publishes(peer)}
        others = self.subscribers(topic, self._standing.publishes, peers)
        for peer in others[: max(0, self._params.degree - len(peers))]:
            peers[peer] = None
        for peer in others:
            if peer in self._standing.direct:
                peers[peer] = None
        self._fanout[topic] = peers, now_ms
        if len(self._fanout) > FANOUT_MAX:
            del self._fanout[next(iter(self._fanout))]
        return list(peers)

    # Grafting and pruning --------------------------------------------------------------------------------------

    def grafted(self, peer: bytes, topic: str, now_ms: int) -> int:
        """A neighbour wants into the mesh of a topic. How often it should have known better."""
        mesh = self.topics.get(topic)
        if mesh is None or peer in mesh:
            return 0
        if peer in self._standing.direct:
            self._refuse(topic, peer, now_ms)
            return 0
        backoff = self._backoffs.get((topic, peer))
        if backoff is not None and backoff.until_ms > now_ms:
            self._refuse(topic, peer, now_ms)
            return 2 if now_ms < backoff.since_ms + self._params.graft_flood_ms else 1
        if not self._standing.in_mesh(peer):
            self._refuse(topic, peer, now_ms)
        elif len(mesh) >= self._params.degree_high and not self.neighbours[peer].outbound:
            self._refuse(topic, peer, now_ms, exchange=True)
        else:
            self._enter(topic, peer, now_ms)
        return 0

    def pruned(self, peer: bytes, topic: str, backoff_ms: int | None, now_ms: int) -> None:
        """A neighbour drops us from its mesh."""
        if topic in self.topics:
            wait_ms = self._params.prune_backoff_ms if backoff_ms is None else min(backoff_ms, BACKOFF_MS_MAX)
            self.leave(peer, topic)
            self._back_off(topic, peer, now_ms, now_ms + wait_ms)

    def leave(self, peer: bytes, topic: str) -> None:
        mesh = self.topics.get(topic)
        if mesh is not None and peer in mesh:
            del mesh[peer]
            self._scores.pruned(peer, topic)

    def maintain(self, now_ms: int) -> None:
        """The heartbeat's part: drop whom we distrust, then bring every mesh between its bounds."""
        params = self._params
        self._heartbeats += 1
        for topic, mesh in self.topics.items():
            for peer in [peer for peer in mesh if not self._standing.in_mesh(peer)]:
                self._prune(topic, peer, now_ms)
            if len(mesh) < params.degree_low:
                self._fill(topic, params.degree, now_ms)
            elif len(mesh) > params.degree_high:
                self._thin(topic, now_ms)
            self._fill_outbound(topic, now_ms)
            if self._heartbeats % params.opportunistic_heartbeats == 0:
                self._improve(topic, now_ms)
        for topic in [topic for topic, (_, at_ms) in self._fanout.items() if at_ms + params.fanout_ms < now_ms]:
            del self._fanout[topic]
        self._backoffs = {key: one for key, one in self._backoffs.items() if one.until_ms + _SLACK_MS > now_ms}

    def _fill(self, topic: str, size: int, now_ms: int) -> None:
        mesh = self.topics[topic]
        for peer in self.subscribers(topic, self._standing.in_mesh, mesh):
            if len(mesh) >= size:
                return
            if self._may_graft(topic, peer, now_ms):
                self._graft(topic, peer, now_ms)

    def _fill_outbound(self, topic: str, now_ms: int) -> None:
        mesh = self.topics[topic]
        if len(mesh) < self._params.degree_low:
            return
        missing = self._params.degree_outbound - sum(self.neighbours[peer].outbound for peer in mesh)
        if missing > 0:
            for peer in self.subscribers(topic, self._standing.in_mesh, mesh):
                if missing and self.neighbours[peer].outbound and self._may_graft(topic, peer, now_ms):
                    self._graft(topic, peer, now_ms)
                    missing -= 1

    def _improve(self, topic: str, now_ms: int) -> None:
        """Opportunistic grafting: a mesh that went bad gets peers better than its median."""
        mesh = self.topics[topic]
        if len(mesh) < 2:
            return
        median = sorted(map(self._standing.score, mesh))[len(mesh) // 2]
        if not self._standing.is_poor(median):
            return
        better = self.subscribers(topic, lambda peer: self._standing.score(peer) > median, mesh)
        for peer in [one for one in better if self._may_graft(topic, one, now_ms)][: self._params.opportunistic_peers]:
            self._graft(topic, peer, now_ms)

    def _thin(self, topic: str, now_ms: int) -> None:
        """Back to `degree`: the `degree_score` best stay, `degree_outbound` that we dialled, and a random rest."""
        params = self._params
        order = list(self.topics[topic])
        self._rng.shuffle(order)
        best = sorted(order, key=self._standing.score, reverse=True)[: params.degree_score]
        rest = [peer for peer in order if peer not in best]
        dialled = sum(self.neighbours[peer].outbound for peer in best)
        lifted = [peer for peer in rest if self.neighbours[peer].outbound][: max(0, params.degree_outbound - dialled)]
        kept = dict.fromkeys((best + lifted + [peer for peer in rest if peer not in lifted])[: params.degree])
        for peer in order:
            if peer not in kept:
                self._prune(topic, peer, now_ms, exchange=True)

    def _may_graft(self, topic: str, peer: bytes, now_ms: int) -> bool:
        backoff = self._backoffs.get((topic, peer))
        return (backoff is None or backoff.until_ms + _SLACK_MS <= now_ms) and self._standing.in_mesh(peer)

    def _enter(self, topic: str, peer: bytes, now_ms: int) -> None:
        self.topics[topic][peer] = None
        self._scores.grafted(peer, topic, now_ms)

    def _graft(self, topic: str, peer: bytes, now_ms: int) -> None:
        self._enter(topic, peer, now_ms)
        self._outbox.add(peer, encode_graft(topic), Weight.STATE)

    def _prune(self, topic: str, peer: bytes, now_ms: int, *, exchange: bool = False) -> None:
        self.leave(peer, topic)
        self._refuse(topic, peer, now_ms, exchange=exchange)

    def _refuse(self, topic: str, peer: bytes, now_ms: int, *, exchange: bool = False) -> None:
        self._send_prune(topic, peer, self._params.prune_backoff_ms, now_ms, exchange=exchange)

    def _send_prune(self, topic: str, peer: bytes, backoff_ms: int, now_ms: int, *, exchange: bool) -> None:
        self._back_off(topic, peer, now_ms, now_ms + backoff_ms)
        named: list[Exchanged] = []
        if exchange and self._params.peer_exchange and self._standing.score(peer) >= 0:
            others = self.subscribers(topic, self._standing.in_mesh, (peer,))
            named = [Exchanged(other, self._records.get(other)) for other in others[:EXCHANGED_PEERS_MAX]]
        self._outbox.add(peer, encode_prune(topic, backoff_ms // 1_000, named), Weight.STATE)

    def _back_off(self, topic: str, peer: bytes, now_ms: int, until_ms: int) -> None:
        key = topic, peer
        earlier = self._backoffs.pop(key, None)
        if earlier is not None:
            until_ms = max(until_ms, earlier.until_ms)
        self._backoffs[key] = _Backoff(now_ms, until_ms)
        if len(self._backoffs) > BACKOFFS_MAX:
            del self._backoffs[next(iter(self._backoffs))]
