"""The gossipsub router: a machine that turns frames of neighbours, and what we publish, into frames and deliveries.

Wire-compatible with /meshsub/1.0.0 to 1.2.0 under the policy StrictSign. The rules it follows are numbered in
docs/spec/gossip.md; the numbers stand in the code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Final

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.protocol.gossip.budget import Budgets
from p2pcompute.protocol.gossip.cache import MessageCache, Promises, Seen
from p2pcompute.protocol.gossip.codec import (
    Exchanged,
    Message,
    Rpc,
    decode_rpc,
    encode_idontwant,
    encode_ihave,
    encode_iwant,
    encode_message,
    encode_subscription,
    message_id,
    sole_message,
)
from p2pcompute.protocol.gossip.counters import Counters
from p2pcompute.protocol.gossip.exchange import Records, decode_record, is_public
from p2pcompute.protocol.gossip.faults import PENALTY, Fault
from p2pcompute.protocol.gossip.mesh import Mesh, Neighbour
from p2pcompute.protocol.gossip.outbox import Outbox, Weight
from p2pcompute.protocol.gossip.params import (
    DATA_BYTES_MAX,
    HEARTBEAT_MS,
    IDS_PER_CONTROL_MAX,
    TOPIC_BYTES_MAX,
    UNWANTED_PER_PEER_MAX,
    GossipParams,
)
from p2pcompute.protocol.gossip.score import Breakdown, Scores, Standing, TopicScore
from p2pcompute.protocol.machine import (
    Connect,
    Disconnect,
    Effect,
    Environment,
    Now,
    PeerInfo,
    Ruling,
    SendOutcome,
    SetTimer,
)
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX

CHANNEL: Final = "/meshsub/1.2.0"
OLDER_CHANNELS: Final = ("/meshsub/1.1.0", "/meshsub/1.0.0")
"""Spoken with peers that do not know CHANNEL, best first."""
HEARTBEAT: Final = "gossip.heartbeat"
_MINOR: Final = {CHANNEL: 2, "/meshsub/1.1.0": 1, "/meshsub/1.0.0": 0}
_IDONTWANT_MINOR: Final = 2


Validate = Callable[[Now, str, bytes, bytes], Ruling]
"""(now, topic, data, the neighbour it came from) -> ruling. Called after the signature holds, once per message."""
Deliver = Callable[[Now, str, bytes, bytes], Sequence[Effect]]
"""(now, topic, data, the neighbour it came from) -> what follows from an accepted message."""


def _no_effects(now: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
    """For nodes whose validator has already taken in what it accepts."""
    return ()


def _no_opinion(peer: bytes) -> float:
    return 0.0


class Gossip:
    """One peer's router. `start` it once; then feed it neighbours, frames and timers.

    `app_score` is the node's own opinion of a peer (P5). `direct` are peers by explicit agreement: they get and give
    every message, outside of meshes and whatever their score; the node keeps itself connected to them.
    """

    channels = (CHANNEL, *OLDER_CHANNELS)
    __slots__ = (
        "_budgets", "_cache", "_condemned", "_connects", "_copies", "_deliver", "_dials", "_env", "_heartbeats",
        "_mesh", "_neighbours", "_notices", "_outbox", "_params", "_private", "_promises", "_records", "_scores",
        "_seen", "_sequence", "_short", "_standing", "_validate", "counters", "news",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        *,
        validate: Validate,
        deliver: Deliver = _no_effects,
        params: GossipParams | None = None,
        app_score: Callable[[bytes], float] = _no_opinion,
        direct: Collection[bytes] = (),
    ) -> None:
        self._env, self._validate, self._deliver = env, validate, deliver
        self._params = params or GossipParams()
        self._outbox, self._notices = Outbox(CHANNEL), Outbox(CHANNEL)
        self._scores = Scores(self._params.score, app_score)
        self._standing = Standing(self._scores, self._params.thresholds, direct)
        self._records = Records()
        self._mesh = Mesh(self._params, env.rng, self._outbox, self._scores, self._standing, self._records)
        self._neighbours = self._mesh.neighbours
        self._seen = Seen(self._params.seen_ms)
        self._cache = MessageCache(self._params)
        self._copies = self._cache.by_part
        self._promises = Promises(self._params.followup_ms)
        self._budgets = Budgets(self._params)
        self.counters = Counters()
        self._sequence = self._heartbeats = self._dials = 0
        self._short: dict[bytes, None] = {}
        self._private: dict[bytes, None] = {}
        self._connects: list[Connect] = []
        self._condemned: dict[bytes, str] = {}
        self.news: dict[bytes, None] = {}
        """Neighbours whose subscriptions changed; the node takes them out (`take_news`)."""

    # What the node says ----------------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """The first heartbeat comes at a random moment, so that peers that start together do not beat together."""
        return [SetTimer(HEARTBEAT, now.mono_ms + 1 + self._env.rng.randrange(HEARTBEAT_MS))]

    def subscribe(self, now: Now, topic: str) -> list[Effect]:
        """Take part in a topic. Raises UsageError for a topic that cannot be one."""
        if not 0 < len(topic.encode()) <= TOPIC_BYTES_MAX or "\0" in topic:
            raise UsageError(f"{topic!r} is no topic: 1 to {TOPIC_BYTES_MAX} bytes without a zero byte.")
        if topic not in self._mesh.topics:
            self._announce(topic, subscribe=True)
            self._mesh.join(topic, now.mono_ms)
        return self._effects()

    def unsubscribe(self, now: Now, topic: str) -> list[Effect]:
        if topic in self._mesh.topics:
            self._announce(topic, subscribe=False)
            self._mesh.part(topic, now.mono_ms)
        return self._effects()

    def publish(self, now: Now, topic: str, data: bytes) -> list[Effect]:
        """Sign and send a message; nothing when the same was seen already. It is not delivered to ourselves.

        Raises UsageError when it is longer than a document may be.
        """
        if len(data) > DATA_BYTES_MAX:
            raise UsageError(f"A message has at most {DATA_BYTES_MAX} bytes, this one has {len(data)}.")
        if message_id(topic, data) in self._seen:
            return []
        self._sequence = max(self._sequence + 1, now.wall_ms << 16)  # grows across restarts
        message = encode_message(self._env.me, topic, data, self._sequence, self._env.sign)
        self._remember(message, now)
        self.counters.published += 1
        if self._params.flood_publish:  # rule 17
            targets = self._mesh.subscribers(topic, self._standing.publishes)
        elif topic in self._mesh.topics:
            targets = [*self._mesh.receivers(topic)]
        else:
            targets = self._mesh.fanout(topic, now.mono_ms)
        self._forward(targets, message)
        return self._effects()

    def set_topic_score(self, topic: str, params: TopicScore) -> None:
        """How a topic's messages count from now on."""
        self._scores.set_topic(topic, params)

    def breakdown(self, peer: bytes) -> Breakdown:
        """Why a peer stands where it stands."""
        return self._scores.breakdown(peer)

    def score(self, peer: bytes) -> float:
        """What a peer's score is at the moment; 0 for a stranger."""
        return self._scores.score(peer)

    def topics_of(self, peer: bytes) -> Collection[str]:
        """What a neighbour subscribes to; nothing for a stranger."""
        neighbour = self._neighbours.get(peer)
        return neighbour.topics if neighbour is not None else ()

    def take_news(self) -> list[bytes]:
        """Neighbours whose subscriptions changed since this was asked last."""
        news, self.news = self.news, {}
        return list(news)

    def state(self) -> dict[str, object]:
        """For people: peers in the mesh of each topic, and the counters."""
        meshes = {topic: len(mesh) for topic, mesh in self._mesh.topics.items()}
        return {"mesh": meshes, **dataclasses.asdict(self.counters)}

    # What happens ----------------------------------------------------------------------------------------------

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        peer = info.peer
        if not info.up:
            self._mesh.remove(peer)
            self._scores.disconnected(peer, now.mono_ms)
            self._outbox.drop(peer)
            self._budgets.forget(peer)
            self._private.pop(peer, None)
            self.news.pop(peer, None)
        elif peer not in self._mesh.neighbours:
            self._mesh.neighbours[peer] = Neighbour(info.outbound)
            self._scores.connected(peer, info.address)
            if not is_public(info.address):
                self._private[peer] = None
            for topic in self._mesh.topics:
                self._outbox.add(peer, encode_subscription(topic, subscribe=True), Weight.STATE)
            self._condemn(peer, "in an earlier connection")  # coming back clears nothing
        return self._effects()

    def on_frame(self, now: Now, peer: bytes, frame: bytes, channel: str = "/meshsub/1.1.0") -> list[Effect]:
        """One RPC without its length, on the channel that the peer chose. Never raises, whatever it holds."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return []
        if self._standing.graylisted(peer):  # rule 19
            self.counters.unread += 1
            return []
        if frame in self._copies:  # as most: one more copy of an accepted message. Nothing to decode, nothing to say
            self.counters.duplicates += 1  # rule 4
            if self._scores.counts_copies:
                known = self._copies[frame]
                self._scores.duplicate(peer, known.topic, known.id, now.mono_ms)
            return []
        neighbour.minor = _MINOR.get(channel, neighbour.minor)
        message = sole_message(frame)
        if message is not None:
            followed = self._message(now, peer, message)
            return [*followed, *self._effects()]
        try:
            if len(frame) > GOSSIP_RPC_BYTES_MAX:
                raise DecodeError("A gossip frame is too long.")
            rpc = decode_rpc(frame, self._cache.by_part)
        except DecodeError:
            self._blame(peer, Fault.UNDECODABLE)  # rule 1
            return self._effects()
        followed = self._messages(now, peer, rpc)
        self._subscriptions(now, peer, rpc)
        self._control(now, peer, rpc)
        return [*followed, *self._effects()]

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        """The transport dropped a frame of ours: what it held is advertised at the next heartbeat (rule 20)."""
        if outcome is SendOutcome.DROPPED and peer in self._mesh.neighbours:
            self.counters.dropped += 1
            self._short[peer] = None
        return []

    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]:
        """A neighbour's own signed peer record, unchecked: it is named in PRUNE. One that does not hold is dropped."""
        if envelope and peer in self._mesh.neighbours and self._budgets.verify(peer, now.mono_ms):
            try:
                record = decode_record(envelope, self._env.verify)
            except DecodeError:
                return []
            if record.peer == peer:
                self._records.learn(record, envelope)
        return []

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        """The heartbeat; other keys are not ours."""
        if key != HEARTBEAT:
            return []
        self._heartbeats += 1
        self._scores.refresh(now.mono_ms)
        self._ask_again(now)
        self._mesh.maintain(now.mono_ms)
        self._advertise(now)
        self._cache.shift()
        self._seen.expire(now.mono_ms)
        self._budgets.heartbeat()
        self._dials = 0
        for neighbour in self._mesh.neighbours.values():
            if neighbour.unwanted:
                neighbour.unwanted = {i: until for i, until in neighbour.unwanted.items() if until > self._heartbeats}
        return [*self._effects(), SetTimer(HEARTBEAT, now.mono_ms + HEARTBEAT_MS)]

    # Messages --------------------------------------------------------------------------------------------------

    def _messages(self, now: Now, peer: bytes, rpc: Rpc) -> list[Effect]:
        if rpc.bad_messages:
            self._blame(peer, Fault.MALFORMED, rpc.bad_messages)  # rule 2
        effects: list[Effect] = []
        for message in rpc.messages:
            if peer in self._condemned:
                break
            effects += self._message(now, peer, message)
        return effects

    def _message(self, now: Now, peer: bytes, message: Message) -> Sequence[Effect]:
        topic = message.topic
        if topic not in self._mesh.topics:  # rule 3
            return ()
        was_rejected = self._seen.was_rejected(message.id)
        if was_rejected is not None:
            self._copy(now, peer, message, was_rejected)
            return ()
        if message.source == self._env.me or not self._budgets.verify(peer, now.mono_ms):  # rules 5 and 6
            self.counters.ignored += 1
            return ()
        self.counters.verified += 1
        if not self._env.verify(message.source, message.signed, message.signature):  # rule 7
            self._invalid(peer, topic)
            return ()
        self._promises.kept(message.id)
        if len(message.data) >= self._params.idontwant_bytes_min:
            self._announce_large(peer, message)
        ruling = self._validate(now, topic, message.data, peer)
        if ruling is Ruling.ACCEPT:
            self._accept(now, peer, message)
            return self._deliver(now, topic, message.data, peer)
        self._seen.add(message.id, now.mono_ms, rejected=ruling is Ruling.REJECT)
        if ruling is Ruling.REJECT:  # rule 8
            self._invalid(peer, topic)
        else:
            self.counters.ignored += 1
        return ()

    def _accept(self, now: Now, peer: bytes, message: Message) -> None:
        self.counters.accepted += 1
        self._remember(message, now)
        self._scores.delivered(peer, message.topic, message.id, now.mono_ms)
        source = message.source
        self._forward([one for one in self._mesh.receivers(message.topic) if one not in (peer, source)], message)

    def _copy(self, now: Now, peer: bytes, message: Message, was_rejected: bool) -> None:
        """A message that was judged before (rule 4)."""
        self.counters.duplicates += 1
        if was_rejected:
            self._invalid(peer, message.topic)
        else:
            self._scores.duplicate(peer, message.topic, message.id, now.mono_ms)

    def _forward(self, peers: list[bytes], message: Message) -> None:
        neighbours = self._mesh.neighbours
        wanting = [peer for peer in peers if message.id not in neighbours[peer].unwanted]  # rule 21
        self.counters.suppressed += len(peers) - len(wanting)
        self._outbox.spread(wanting, message.part, Weight.MESSAGE)

    def _announce_large(self, peer: bytes, message: Message) -> None:
        """IDONTWANT to the mesh, ahead of the message itself: others need not send us theirs (rule 21)."""
        part = encode_idontwant([message.id])
        for other in self._mesh.topics[message.topic]:
            if other not in (peer, message.source) and self._mesh.neighbours[other].minor >= _IDONTWANT_MINOR:
                self._notices.add(other, part, Weight.MESSAGE)

    def _remember(self, message: Message, now: Now) -> None:
        self._seen.add(message.id, now.mono_ms)
        self._cache.add(message)

    # Control ---------------------------------------------------------------------------------------------------

    def _subscriptions(self, now: Now, peer: bytes, rpc: Rpc) -> None:
        for subscribe, topic in rpc.subscriptions:
            self.news[peer] = None
            if subscribe:
                self._mesh.subscribed(peer, topic, now.mono_ms)
            else:
                self._mesh.unsubscribed(peer, topic)

    def _control(self, now: Now, peer: bytes, rpc: Rpc) -> None:
        for topic in rpc.graft:
            times = self._mesh.grafted(peer, topic, now.mono_ms)
            if times:  # rule 12
                self._blame(peer, Fault.GRAFT_IN_BACKOFF, times)
        for prune in rpc.prune:
            backoff_ms = None if prune.backoff_s is None else prune.backoff_s * 1_000
            self._mesh.pruned(peer, prune.topic, backoff_ms, now.mono_ms)
            if prune.peers and prune.topic in self._mesh.topics:
                self._recommended(now, peer, prune.peers)
        for ids in rpc.idontwant:
            self._unwanted(peer, ids)
        if rpc.ihave and not self._budgets.ihave(peer):  # rule 9
            self._blame(peer, Fault.FLOOD)
        elif rpc.ihave and self._standing.gossips(peer):  # rule 11
            self._ihave(now, peer, rpc.ihave)
        if rpc.iwant and self._standing.gossips(peer):
            for ids in rpc.iwant:
                self._iwant(peer, ids)

    def _ihave(self, now: Now, peer: bytes, offered: Sequence[tuple[str, list[bytes]]]) -> None:
        room = self._budgets.ids_left(peer)
        wanted: list[bytes] = []
        self._promises.next_batch()
        for one in (one for topic, ids in offered if topic in self._mesh.topics for one in self._seen.unseen(ids)):
            if len(wanted) >= room:
                break
            if self._promises.offer(one, peer, now.mono_ms):
                wanted.append(one)
        if wanted:
            self._budgets.ask(peer, len(wanted))
            self._outbox.add(peer, encode_iwant(wanted), Weight.REPAIR)

    def _iwant(self, peer: bytes, ids: list[bytes]) -> None:
        for one in ids:
            if not self._budgets.may_send(peer):  # rule 10
                return
            message = self._cache.send_again(one, peer)
            if message is not None:
                self._budgets.sent(peer, len(message.part))
                self._outbox.add(peer, message.part, Weight.REPAIR)

    def _unwanted(self, peer: bytes, ids: list[bytes]) -> None:
        unwanted = self._mesh.neighbours[peer].unwanted
        for one in ids[: max(0, UNWANTED_PER_PEER_MAX - len(unwanted))]:
            unwanted[one] = self._heartbeats + self._params.idontwant_heartbeats

    def _recommended(self, now: Now, peer: bytes, others: Sequence[Exchanged]) -> None:
        """Peer exchange (rule 22): dial a few peers that we do not know yet, where their own record says they are."""
        if not self._standing.recommends(peer):
            return
        for other in others:
            if self._dials >= self._params.exchange_dials_per_heartbeat:
                return
            if not other.record or other.peer == self._env.me or other.peer in self._mesh.neighbours:
                continue
            if not self._budgets.verify(peer, now.mono_ms):
                return
            try:
                record = decode_record(other.record, self._env.verify)
            except DecodeError:
                self._blame(peer, Fault.MALFORMED)
                return
            addresses = [one for one in record.addresses if is_public(one) or peer in self._private]
            if record.peer == other.peer and addresses:
                self._dials += 1
                self.counters.recommended += 1
                self._records.learn(record, other.record)
                self._connects.append(Connect(record.peer, tuple(addresses)))

    def _ask_again(self, now: Now) -> None:
        broken = self._promises.overdue(now.mono_ms)
        for peer, _ in dict.fromkeys((one.peer, one.batch) for one in broken):  # rule 13
            if peer in self._mesh.neighbours:
                self.counters.broken_promises += 1
                self._blame(peer, Fault.BROKEN_PROMISE)
        again: dict[bytes, list[bytes]] = {}
        for one in broken:
            if one.following in self._mesh.neighbours:
                again.setdefault(one.following, []).append(one.message_id)
        for peer, ids in again.items():
            self._outbox.add(peer, encode_iwant(ids), Weight.REPAIR)

    def _advertise(self, now: Now) -> None:
        """IHAVE to some subscribers outside the mesh, those first that were told longest ago, and to those in it that
        missed a frame (rules 16 and 20)."""
        short, self._short = self._short, {}
        for topic, ids in self._cache.advertised().items():
            mesh = self._mesh.topics.get(topic, {})
            others = self._mesh.subscribers(topic, self._standing.gossips, {**mesh, **self._standing.direct})
            others.sort(key=lambda peer: self._mesh.neighbours[peer].told.get(topic, 0))
            chosen = others[: max(self._params.degree_lazy, int(self._params.gossip_factor * len(others)))]
            part = encode_ihave(topic, ids[:IDS_PER_CONTROL_MAX])
            for peer in chosen:
                self._mesh.neighbours[peer].told[topic] = self._heartbeats
            for peer in [*chosen, *(peer for peer in mesh if peer in short)]:
                self._outbox.add(peer, part, Weight.REPAIR)

    def _announce(self, topic: str, *, subscribe: bool) -> None:
        part = encode_subscription(topic, subscribe=subscribe)
        for peer in self._mesh.neighbours:
            self._outbox.add(peer, part, Weight.STATE)

    # Ends ------------------------------------------------------------------------------------------------------

    def _invalid(self, peer: bytes, topic: str) -> None:
        self.counters.rejected += 1
        self._scores.invalid(peer, topic)
        self._condemn(peer, "an invalid message")

    def _blame(self, peer: bytes, fault: Fault, times: int = 1) -> None:
        self._scores.misbehaved(peer, PENALTY[fault] * times)
        self._condemn(peer, fault.value)

    def _condemn(self, peer: bytes, what: str) -> None:
        if self._standing.graylisted(peer):
            self._condemned[peer] = f"gossip: too many faults, the last one {what}"

    def _effects(self) -> list[Effect]:
        """All that was said while one input was handled: one RPC for each peer, and the disconnections."""
        if not (self._condemned or self._connects or self._notices):
            return self._outbox.take()
        condemned, self._condemned = self._condemned, {}
        connects, self._connects = self._connects, []
        for peer in condemned:
            self._outbox.drop(peer)
            self._notices.drop(peer)
        return [
            *self._notices.take(),
            *self._outbox.take(),
            *connects,
            *(Disconnect(peer, reason) for peer, reason in condemned.items()),
        ]
