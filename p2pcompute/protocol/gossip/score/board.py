"""The scores of all peers. A score is computed at every heartbeat, and at once after a penalty; what speaks for a peer
shows at the next heartbeat."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

from p2pcompute.protocol.gossip.score.colocation import Colocation
from p2pcompute.protocol.gossip.score.params import DECAY_TO_ZERO, ScoreParams, TopicScore
from p2pcompute.protocol.gossip.score.topic import TopicRecord
from p2pcompute.protocol.gossip.score.window import Window

RETAINED_MAX: Final = 4_096
"""Peers that are gone and whose score is kept; the first to go is forgotten first."""


def _nobody(peer: bytes) -> float:
    return 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Breakdown:
    """The parts of a score, weighed."""

    topics: dict[str, float]
    topics_capped: float
    app: float
    colocation: float
    behaviour: float

    @property
    def total(self) -> float:
        return self.topics_capped + self.app + self.colocation + self.behaviour


class _Record:
    __slots__ = ("behaviour", "expires_ms", "network", "topics", "value")

    def __init__(self) -> None:
        self.topics: dict[str, TopicRecord] = {}
        self.behaviour = 0.0
        self.network = ""
        self.expires_ms: int | None = None  # None while connected
        self.value = 0.0


class Scores:
    """`app` gives P5, the node's own opinion of a peer."""

    def __init__(self, params: ScoreParams, app: Callable[[bytes], float] = _nobody) -> None:
        self._params, self._app = params, app
        self._topics = dict(params.topics)
        self._records: dict[bytes, _Record] = {}
        self._retained: dict[bytes, None] = {}
        self._colocation = Colocation(params.colocation_threshold, params.colocation_exempt)
        self._window = Window()
        self.watch_below = -math.inf
        self.low: dict[bytes, None] = {}
        """Peers with a score below `watch_below`: asked for at every frame, and nearly always empty."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def counts_copies(self) -> bool:
        """Whether further copies of a message count for anything now (P3)."""
        return bool(self._window.open)

    def score(self, peer: bytes) -> float:
        record = self._records.get(peer)
        return 0.0 if record is None else record.value

    def breakdown(self, peer: bytes) -> Breakdown:
        """For people: why a peer stands where it stands, now."""
        record = self._records.get(peer) or _Record()
        topics = {name: topic.value() for name, topic in record.topics.items()}
        app = self._params.app_weight * self._app(peer)
        return Breakdown(topics, self._cap(sum(topics.values())), app, self._colocated(record), self._behaved(record))

    # Life ------------------------------------------------------------------------------------------------------

    def connected(self, peer: bytes, address: str) -> None:
        record = self._records.get(peer)
        if record is None:
            record = self._records[peer] = _Record()
        self._retained.pop(peer, None)
        record.expires_ms = None
        self._colocation.remove(peer, record.network)
        record.network = self._colocation.add(peer, address)
        self._assess(peer, record)

    def disconnected(self, peer: bytes, now_ms: int) -> None:
        """A good score ends with the connection; what speaks against a peer is kept: coming back clears nothing."""
        record = self._records.get(peer)
        if record is None:
            return
        good = record.value > 0
        for topic in record.topics.values():
            topic.pruned()
            topic.first = 0.0
        self._assess(peer, record)
        if good or not (record.value or record.behaviour or any(topic.is_stained for topic in record.topics.values())):
            self._forget(peer)
            return
        record.expires_ms = now_ms + self._params.retain_ms
        self._retained[peer] = None
        if len(self._retained) > RETAINED_MAX:
            self._forget(next(iter(self._retained)))

    def _forget(self, peer: bytes) -> None:
        self._retained.pop(peer, None)
        self.low.pop(peer, None)
        record = self._records.pop(peer)
        self._colocation.remove(peer, record.network)

    def refresh(self, now_ms: int) -> None:
        """The heartbeat: decay, time in meshes, new scores; retained scores whose time is over go."""
        expired = []
        for peer, record in self._records.items():
            if record.expires_ms is not None:
                if record.expires_ms <= now_ms:
                    expired.append(peer)
                continue
            for topic in record.topics.values():
                topic.refresh(now_ms)
            if record.behaviour:
                record.behaviour *= self._params.behaviour_decay
                if record.behaviour < DECAY_TO_ZERO:
                    record.behaviour = 0.0
            self._assess(peer, record)
        for peer in expired:
            self._forget(peer)
        self._window.expire(now_ms)

    # What peers do ---------------------------------------------------------------------------------------------

    def grafted(self, peer: bytes, topic: str, now_ms: int) -> None:
        record = self._topic(peer, topic)
        if record is not None:
            record.grafted(now_ms)

    def pruned(self, peer: bytes, topic: str) -> None:
        record = self._topic(peer, topic)
        if record is not None and record.grafted_at_ms is not None:
            record.pruned()
            self._assess(peer, self._records[peer])

    def delivered(self, peer: bytes, topic: str, message_id: bytes, now_ms: int) -> None:
        """The first copy of a valid message (P2, P3)."""
        record = self._topic(peer, topic)
        if record is not None:
            record.delivered_first()
            if record.params.mesh_deliveries_weight:
                self._window.opened(message_id, peer, now_ms + record.params.mesh_deliveries_window_ms)

    def duplicate(self, peer: bytes, topic: str, message_id: bytes, now_ms: int) -> None:
        """A further copy (P3)."""
        if self._window.counts(message_id, peer, now_ms):
            record = self._topic(peer, topic)
            if record is not None:
                record.delivered()

    def invalid(self, peer: bytes, topic: str) -> None:
        """An invalid message (P4)."""
        record = self._topic(peer, topic)
        if record is not None:
            record.invalid += 1
            self._assess(peer, self._records[peer])

    def misbehaved(self, peer: bytes, penalty: float) -> None:
        """Something that no honest peer does, or seldom (P7)."""
        record = self._records.get(peer)
        if record is not None:
            record.behaviour += penalty
            self._assess(peer, record)

    def set_topic(self, topic: str, params: TopicScore) -> None:
        """New parameters for a topic; what was counted stays, under the new caps."""
        self._topics[topic] = params
        for peer, record in self._records.items():
            if topic in record.topics:
                record.topics[topic].reset(params)
                self._assess(peer, record)

    # Arithmetic ------------------------------------------------------------------------------------------------

    def _topic(self, peer: bytes, topic: str) -> TopicRecord | None:
        record = self._records.get(peer)
        if record is None:
            return None
        found = record.topics.get(topic)
        if found is None:
            found = record.topics[topic] = TopicRecord(self._topics.get(topic, self._params.default_topic))
        return found

    def _assess(self, peer: bytes, record: _Record) -> None:
        value = self._cap(sum([topic.value() for topic in record.topics.values()]))
        value += self._params.app_weight * self._app(peer)
        if record.network:
            value += self._colocated(record)
        if record.behaviour:
            value += self._behaved(record)
        record.value = value
        if value < self.watch_below:
            self.low[peer] = None
        elif self.low:
            self.low.pop(peer, None)

    def _cap(self, topics: float) -> float:
        cap = self._params.topic_cap
        return cap if cap and topics > cap else topics

    def _colocated(self, record: _Record) -> float:
        return self._params.colocation_weight * self._colocation.excess(record.network) ** 2 if record.network else 0.0

    def _behaved(self, record: _Record) -> float:
        excess = record.behaviour - self._params.behaviour_threshold
        return self._params.behaviour_weight * excess**2 if excess > 0 else 0.0
