"""Who is subscribed to what, and with whom each topic's messages are exchanged at once.

Source: gossipsub v1.0 "Mesh maintenance", v1.1 "Prune backoff" and "Outbound mesh quotas".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from typing import Final

from p2pcompute.protocol.gossip.codec import encode_graft, encode_prune
from p2pcompute.protocol.gossip.outbox import Outbox, Weight
from p2pcompute.protocol.gossip.params import (
    BACKOFF_MS_MAX,
    BACKOFFS_MAX,
    FANOUT_MAX,
    HEARTBEAT_MS,
    TOPICS_PER_PEER_MAX,
    GossipParams,
)
from p2pcompute.protocol.machine import Random

_SLACK_MS: Final = HEARTBEAT_MS
"""Added to a backoff of ours before we graft again: the peer's clock started later than ours."""


@dataclasses.dataclass(slots=True)
class Neighbour:
    """A connected peer, as far as gossip knows it."""

    outbound: bool
    topics: dict[str, None] = dataclasses.field(default_factory=dict)


class Mesh:
    """Neighbours, the mesh of each of our topics, and the fanout of topics we only publish to."""

    def __init__(
        self, params: GossipParams, rng: Random, outbox: Outbox, trusted: Callable[[bytes, int], bool]
    ) -> None:
        self._params, self._rng, self._outbox, self._trusted = params, rng, outbox, trusted
        self.neighbours: dict[bytes, Neighbour] = {}
        self.topics: dict[str, dict[bytes, None]] = {}
        """Our subscriptions, each with its mesh."""
        self._fanout: dict[str, tuple[dict[bytes, None], int]] = {}
        self._backoffs: dict[tuple[str, bytes], int] = {}

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
            self._graft(topic, peer)

    def unsubscribed(self, peer: bytes, topic: str) -> None:
        self.neighbours[peer].topics.pop(topic, None)
        self.leave(peer, topic)

    def subscribers(self, topic: str, now_ms: int, without: Container[bytes] = ()) -> list[bytes]:
        """Trusted neighbours that take a topic, in random order."""
        found = [
            peer
            for peer, neighbour in self.neighbours.items()
            if topic in neighbour.topics and peer not in without and self._trusted(peer, now_ms)
        ]
        self._rng.shuffle(found)
        return found

    # Our own topics --------------------------------------------------------------------------------------------

    def join(self, topic: str, now_ms: int) -> None:
        self.topics[topic] = {}
        self._fanout.pop(topic, None)
        self._fill(topic, self._params.degree, now_ms)

    def part(self, topic: str, now_ms: int) -> None:
        for peer in self.topics.pop(topic):
            self._send_prune(topic, peer, self._params.unsubscribe_backoff_ms, now_ms)

    def fanout(self, topic: str, now_ms: int) -> list[bytes]:
        """Whom to send a message of a topic that we are not subscribed to."""
        peers, _ = self._fanout.pop(topic, ({}, 0))
        for peer in self.subscribers(topic, now_ms, peers)[: max(0, self._params.degree - len(peers))]:
            peers[peer] = None
        self._fanout[topic] = peers, now_ms
        if len(self._fanout) > FANOUT_MAX:
            del self._fanout[next(iter(self._fanout))]
        return list(peers)

    # Grafting and pruning --------------------------------------------------------------------------------------

    def grafted(self, peer: bytes, topic: str, now_ms: int) -> bool:
        """A neighbour wants into the mesh of a topic. False when it should have known better."""
        mesh = self.topics.get(topic)
        if mesh is None or peer in mesh:
            return True
        if self._backoffs.get((topic, peer), 0) > now_ms:
            self._send_prune(topic, peer, self._params.prune_backoff_ms, now_ms)
            return False
        full = len(mesh) >= self._params.degree_high and not self.neighbours[peer].outbound
        if full or not self._trusted(peer, now_ms):
            self._send_prune(topic, peer, self._params.prune_backoff_ms, now_ms)
        else:
            mesh[peer] = None
        return True

    def pruned(self, peer: bytes, topic: str, backoff_ms: int | None, now_ms: int) -> None:
        """A neighbour drops us from its mesh."""
        if topic in self.topics:
            wait_ms = self._params.prune_backoff_ms if backoff_ms is None else min(backoff_ms, BACKOFF_MS_MAX)
            self.leave(peer, topic)
            self._back_off(topic, peer, now_ms + wait_ms)

    def leave(self, peer: bytes, topic: str) -> None:
        mesh = self.topics.get(topic)
        if mesh is not None:
            mesh.pop(peer, None)

    def maintain(self, now_ms: int) -> None:
        """The heartbeat's part: drop whom we distrust, then bring every mesh between its bounds."""
        params = self._params
        for topic, mesh in self.topics.items():
            for peer in [peer for peer in mesh if not self._trusted(peer, now_ms)]:
                self._prune(topic, peer, now_ms)
            if len(mesh) < params.degree_low:
                self._fill(topic, params.degree, now_ms)
            elif len(mesh) > params.degree_high:
                self._thin(topic, now_ms)
            self._fill_outbound(topic, now_ms)
        for topic in [topic for topic, (_, at_ms) in self._fanout.items() if at_ms + params.fanout_ms < now_ms]:
            del self._fanout[topic]
        self._backoffs = {key: until for key, until in self._backoffs.items() if until + _SLACK_MS > now_ms}

    def _fill(self, topic: str, size: int, now_ms: int) -> None:
        mesh = self.topics[topic]
        for peer in self.subscribers(topic, now_ms, mesh):
            if len(mesh) >= size:
                return
            if self._may_graft(topic, peer, now_ms):
                self._graft(topic, peer)

    def _fill_outbound(self, topic: str, now_ms: int) -> None:
        mesh = self.topics[topic]
        if len(mesh) < self._params.degree_low:
            return
        missing = self._params.degree_outbound - sum(self.neighbours[peer].outbound for peer in mesh)
        if missing > 0:
            for peer in self.subscribers(topic, now_ms, mesh):
                if missing and self.neighbours[peer].outbound and self._may_graft(topic, peer, now_ms):
                    self._graft(topic, peer)
                    missing -= 1

    def _thin(self, topic: str, now_ms: int) -> None:
        """Back to `degree`, keeping `degree_outbound` peers that we dialled."""
        mesh = list(self.topics[topic])
        self._rng.shuffle(mesh)
        outbound = [peer for peer in mesh if self.neighbours[peer].outbound][: self._params.degree_outbound]
        kept = dict.fromkeys(
            outbound + [peer for peer in mesh if peer not in outbound][: self._params.degree - len(outbound)]
        )
        for peer in mesh:
            if peer not in kept:
                self._prune(topic, peer, now_ms)

    def _may_graft(self, topic: str, peer: bytes, now_ms: int) -> bool:
        until = self._backoffs.get((topic, peer))
        return (until is None or until + _SLACK_MS <= now_ms) and self._trusted(peer, now_ms)

    def _graft(self, topic: str, peer: bytes) -> None:
        self.topics[topic][peer] = None
        self._outbox.add(peer, encode_graft(topic), Weight.STATE)

    def _prune(self, topic: str, peer: bytes, now_ms: int) -> None:
        self.leave(peer, topic)
        self._send_prune(topic, peer, self._params.prune_backoff_ms, now_ms)

    def _send_prune(self, topic: str, peer: bytes, backoff_ms: int, now_ms: int) -> None:
        self._back_off(topic, peer, now_ms + backoff_ms)
        self._outbox.add(peer, encode_prune(topic, backoff_ms // 1_000), Weight.STATE)

    def _back_off(self, topic: str, peer: bytes, until_ms: int) -> None:
        key = topic, peer
        until_ms = max(until_ms, self._backoffs.pop(key, 0))
        self._backoffs[key] = until_ms
        if len(self._backoffs) > BACKOFFS_MAX:
            del self._backoffs[next(iter(self._backoffs))]
