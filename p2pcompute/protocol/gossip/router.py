"""The gossipsub router: a machine that turns frames of neighbours, and what we publish, into frames and deliveries.

Wire-compatible with /meshsub/1.1.0 under the policy StrictSign. The rules it follows are numbered in
docs/spec/gossip.md; the numbers stand in the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.protocol.gossip.budget import Budgets
from p2pcompute.protocol.gossip.cache import MessageCache, Promises, Seen
from p2pcompute.protocol.gossip.codec import (
    Message,
    Rpc,
    decode_rpc,
    encode_ihave,
    encode_iwant,
    encode_message,
    encode_subscription,
    message_id,
)
from p2pcompute.protocol.gossip.mesh import Mesh, Neighbour
from p2pcompute.protocol.gossip.outbox import Outbox, Weight
from p2pcompute.protocol.gossip.params import (
    DATA_BYTES_MAX,
    HEARTBEAT_MS,
    IDS_PER_CONTROL_MAX,
    TOPIC_BYTES_MAX,
    GossipParams,
)
from p2pcompute.protocol.gossip.score import Fault, Scores
from p2pcompute.protocol.machine import Disconnect, Effect, Environment, Now, PeerInfo, Ruling, SetTimer
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX

CHANNEL: Final = "/meshsub/1.1.0"
HEARTBEAT: Final = "gossip.heartbeat"


Validate = Callable[[Now, str, bytes, bytes], Ruling]
"""(now, topic, data, the neighbour it came from) -> ruling. Called after the signature holds, once per message."""
Deliver = Callable[[Now, str, bytes, bytes], Sequence[Effect]]
"""(now, topic, data, the neighbour it came from) -> what follows from an accepted message."""


def _no_effects(now: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
    """For nodes whose validator has already taken in what it accepts."""
    return ()


class Gossip:
    """One peer's router. `start` it once; then feed it neighbours, frames and timers."""

    channels = (CHANNEL,)

    def __init__(
        self,
        env: Environment,
        *,
        validate: Validate,
        deliver: Deliver = _no_effects,
        params: GossipParams | None = None,
    ) -> None:
        self._env, self._validate, self._deliver = env, validate, deliver
        self._params = params or GossipParams()
        self._outbox = Outbox(CHANNEL)
        self._scores = Scores()
        self._mesh = Mesh(self._params, env.rng, self._outbox, self._scores.trusted)
        self._seen = Seen(self._params.seen_ms)
        self._cache = MessageCache(self._params)
        self._promises = Promises(self._params.followup_ms)
        self._budgets = Budgets(self._params)
        self._sequence = 0
        self._condemned: dict[bytes, str] = {}

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
        if self._params.flood_publish:  # rule 17
            targets = self._mesh.subscribers(topic, now.mono_ms)
        else:
            targets = list(
                self._mesh.topics[topic] if topic in self._mesh.topics else self._mesh.fanout(topic, now.mono_ms)
            )
        for peer in targets:
            self._outbox.add(peer, message.part, Weight.MESSAGE)
        return self._effects()

    # What happens ----------------------------------------------------------------------------------------------

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        peer = info.peer
        if not info.up:
            self._mesh.remove(peer)
            self._outbox.drop(peer)
            self._budgets.forget(peer)
        elif peer not in self._mesh.neighbours:
            self._mesh.neighbours[peer] = Neighbour(info.outbound)
            for topic in self._mesh.topics:
                self._outbox.add(peer, encode_subscription(topic, subscribe=True), Weight.STATE)
        return self._effects()

    def on_frame(self, now: Now, peer: bytes, frame: bytes) -> list[Effect]:
        """One RPC without its length. Never raises, whatever it holds."""
        if peer not in self._mesh.neighbours:
            return []
        try:
            if len(frame) > GOSSIP_RPC_BYTES_MAX:
                raise DecodeError("A gossip frame is too long.")
            rpc = decode_rpc(frame, self._cache.by_part)
        except DecodeError:
            self._blame(peer, Fault.UNDECODABLE, now)  # rule 1
            return self._effects()
        effects = self._messages(now, peer, rpc)
        self._subscriptions(now, peer, rpc)
        self._control(now, peer, rpc)
        return [*effects, *self._effects()]

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        """The heartbeat; other keys are not ours."""
        if key != HEARTBEAT:
            return []
        self._mesh.maintain(now.mono_ms)
        self._ask_again(now)
        self._advertise(now)
        self._cache.shift()
        self._seen.expire(now.mono_ms)
        self._scores.decay(now.mono_ms)
        self._budgets.heartbeat()
        return [*self._effects(), SetTimer(HEARTBEAT, now.mono_ms + HEARTBEAT_MS)]

    # Messages --------------------------------------------------------------------------------------------------

    def _messages(self, now: Now, peer: bytes, rpc: Rpc) -> list[Effect]:
        if rpc.bad_messages:
            self._blame(peer, Fault.MALFORMED, now, rpc.bad_messages)  # rule 2
        effects: list[Effect] = []
        for message in rpc.messages:
            if peer in self._condemned:
                break
            effects += self._message(now, peer, message)
        return effects

    def _message(self, now: Now, peer: bytes, message: Message) -> Sequence[Effect]:
        if message.topic not in self._mesh.topics:  # rule 3
            return ()
        if message.id in self._seen:
            if self._seen.rejected(message.id):  # rule 4
                self._blame(peer, Fault.REJECTED, now)
            return ()
        if message.source == self._env.me or not self._budgets.verify(peer, now.mono_ms):  # rules 5 and 6
            return ()
        if not self._env.verify(message.source, message.signed, message.signature):  # rule 7
            self._blame(peer, Fault.SIGNATURE, now)
            return ()
        self._promises.kept(message.id)
        ruling = self._validate(now, message.topic, message.data, peer)
        if ruling is Ruling.ACCEPT:
            self._remember(message, now)
            for other in self._mesh.topics[message.topic]:
                if other not in (peer, message.source):
                    self._outbox.add(other, message.part, Weight.MESSAGE)
            return self._deliver(now, message.topic, message.data, peer)
        self._seen.add(message.id, now.mono_ms, rejected=ruling is Ruling.REJECT)
        if ruling is Ruling.REJECT:  # rule 8
            self._blame(peer, Fault.REJECTED, now)
        return ()

    def _remember(self, message: Message, now: Now) -> None:
        self._seen.add(message.id, now.mono_ms)
        self._cache.add(message)

    # Control ---------------------------------------------------------------------------------------------------

    def _subscriptions(self, now: Now, peer: bytes, rpc: Rpc) -> None:
        for subscribe, topic in rpc.subscriptions:
            if subscribe:
                self._mesh.subscribed(peer, topic, now.mono_ms)
            else:
                self._mesh.unsubscribed(peer, topic)

    def _control(self, now: Now, peer: bytes, rpc: Rpc) -> None:
        for topic in rpc.graft:
            if not self._mesh.grafted(peer, topic, now.mono_ms):  # rule 12
                self._blame(peer, Fault.GRAFT_IN_BACKOFF, now)
        for topic, backoff_s in rpc.prune:
            self._mesh.pruned(peer, topic, None if backoff_s is None else backoff_s * 1_000, now.mono_ms)
        if (rpc.ihave or rpc.iwant) and self._scores.trusted(peer, now.mono_ms):  # rule 11
            for topic, ids in rpc.ihave:
                self._ihave(now, peer, topic, ids)
            for ids in rpc.iwant:
                self._iwant(peer, ids)

    def _ihave(self, now: Now, peer: bytes, topic: str, ids: list[bytes]) -> None:
        if topic not in self._mesh.topics:
            return
        if not self._budgets.ihave(peer):  # rule 9
            self._blame(peer, Fault.FLOOD, now)
            return
        room = self._budgets.ids_left(peer)
        wanted: list[bytes] = []
        for one in ids:
            if len(wanted) >= room:
                break
            if one not in self._seen and self._promises.offer(one, peer, now.mono_ms):
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

    def _ask_again(self, now: Now) -> None:
        for message, broken, following in self._promises.overdue(now.mono_ms):
            if broken in self._mesh.neighbours:  # rule 13
                self._blame(broken, Fault.BROKEN_PROMISE, now)
            if following in self._mesh.neighbours:
                self._outbox.add(following, encode_iwant([message]), Weight.REPAIR)

    def _advertise(self, now: Now) -> None:
        """IHAVE to some subscribers outside the mesh (rule 16)."""
        for topic, ids in self._cache.advertised().items():
            mesh = self._mesh.topics.get(topic, {})
            others = self._mesh.subscribers(topic, now.mono_ms, mesh)
            count = max(self._params.degree_lazy, int(self._params.gossip_factor * len(others)))
            part = encode_ihave(topic, ids[:IDS_PER_CONTROL_MAX])
            for peer in others[:count]:
                self._outbox.add(peer, part, Weight.REPAIR)

    def _announce(self, topic: str, *, subscribe: bool) -> None:
        part = encode_subscription(topic, subscribe=subscribe)
        for peer in self._mesh.neighbours:
            self._outbox.add(peer, part, Weight.STATE)

    # Ends ------------------------------------------------------------------------------------------------------

    def _blame(self, peer: bytes, fault: Fault, now: Now, times: int = 1) -> None:
        if self._scores.blame(peer, fault, now.mono_ms, times):
            self._condemned[peer] = f"gossip: too many faults, the last one {fault.value}"

    def _effects(self) -> list[Effect]:
        """All that was said while one input was handled: one RPC for each peer, and the disconnections."""
        condemned, self._condemned = self._condemned, {}
        for peer in condemned:
            self._outbox.drop(peer)
        return [*self._outbox.take(), *(Disconnect(peer, reason) for peer, reason in condemned.items())]
