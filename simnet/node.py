"""One simulated peer: the real PeerCore, with virtual time, a simulated journal, blob store and engine around it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from blake3 import blake3

from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip import Gossip
from p2pcompute.protocol.machine import (
    CancelJob,
    Connect,
    Disconnect,
    Effect,
    Emit,
    Environment,
    Fetch,
    Grant,
    JobOutcome,
    JobStatus,
    Now,
    Outcome,
    PeerInfo,
    Persist,
    Reply,
    Request,
    Ruling,
    RunJob,
    Send,
    SetTimer,
)
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Manifest, decode_manifest
from simnet.network import Network

NETWORK = "simnet"
FSYNC_MS = 2
REDIAL_MS = 1_000
CREDIT = 10**9


def right_outputs(manifest: bytes) -> tuple[tuple[bytes, int], ...]:
    """What every honest engine computes for a manifest, in this world: a function of its bytes alone."""
    m = decode_manifest(manifest)
    return tuple((blake3(manifest + i.to_bytes(4, "little")).digest(), b.size_bytes) for i, b in enumerate(m.outputs))


class Node:
    """Honest unless a subclass says otherwise (characters.py). Everything durable is in `journal` and `blobs`; the rest
    is lost in a crash."""

    def __init__(
        self, network: Network, name: str, seed: int, *, delegation: bytes, key: KeyPair, observe: Callable[..., None]
    ) -> None:
        self.network, self.name, self.key, self.delegation = network, name, key, delegation
        self.peer = key.public
        self.rng = random.Random(f"{seed}/{name}")
        self.secret = self.rng.randbytes(32)
        self.epoch = self.rng.randbytes(8)
        self.journal: list[bytes] = []
        self.blobs: dict[bytes, bytes | None] = {}
        self.bootstrap: list[bytes] = []
        self.up = False
        self.life = 0
        self.crash_at_append = -1
        self.crash_keeps_append = True
        self._observe = observe
        self._replies: dict[int, Callable[[bytes | None], None]] = {}
        self._reset()
        network.nodes[self.peer] = self

    # -- life --------------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self.core: PeerCore | None = None
        self._timers: dict[str, int] = {}
        self._queue: deque[Effect] = deque()
        self._syncing = False
        self._grants: dict[tuple[str, bytes], tuple[bytes, ...]] = {}
        self._jobs: dict[str, int] = {}
        self._request_id = 0
        self._replies.clear()

    def start(self) -> None:
        """Boot: replay the journal and join."""
        self.up = True
        self.life += 1
        env = Environment(self.peer, self.key.sign, self.network_verify, self.rng, self.secret)
        gossip = Gossip(env, validate=self._validate, deliver=self._deliver)
        self.core = PeerCore(env, gossip, network=NETWORK, epoch=self.epoch, delegation=self.delegation, credit=CREDIT)
        self._do(self.core.start(self.now, list(self.journal)))
        for peer in self.bootstrap:
            self._stay_connected(peer, self.life)

    def _stay_connected(self, peer: bytes, life: int) -> None:
        """Dial a bootstrap peer again and again, as a real node does: it may have been down when this one came up."""

        def look_again(up: bool) -> None:
            self.network.wheel.after(REDIAL_MS, lambda: self._stay_connected(peer, life))

        if self._alive(life):
            self.network.connect(self.peer, peer, look_again)

    def crash(self) -> None:
        """Power off: all but the journal and the blobs is gone."""
        self.up = False
        self._reset()
        self.network.cut(self.peer)
        self._observe(self, Emit("node.crashed", {}))

    @staticmethod
    def network_verify(public: bytes, message: bytes, signature: bytes) -> bool:
        """Real ed25519, each (key, message, signature) verified once in a process."""
        return _verify_once(public, message, signature)

    @property
    def now(self) -> Now:
        return self.network.now()

    def _validate(self, now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        assert self.core is not None
        return self.core.judge_gossip(now, topic, data, peer)

    def _deliver(self, now: Now, topic: str, data: bytes, peer: bytes) -> list[Effect]:
        assert self.core is not None
        return self.core.deliver_gossip(now, topic, data, peer)

    # -- inputs ------------------------------------------------------------------------------------------------------

    def _alive(self, life: int) -> bool:
        return self.up and self.life == life

    def command(self, command: Command) -> None:
        """The owner's wish."""
        if self.core is not None:
            self._do(self.core.on_command(self.now, command))

    def on_peer(self, info: PeerInfo) -> None:
        if self.core is not None:
            self._do(self.core.on_peer(self.now, info))

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        if self.core is not None:
            effects = self.core.on_frame(self.now, peer, channel, frame)
            if effects:
                self._do(effects)

    def on_request(self, peer: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        if self.core is not None:
            self._request_id += 1
            self._replies[self._request_id] = reply
            self._do(self.core.on_request(self.now, peer, self._request_id, frame))

    # -- effects -----------------------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.network.send(self.peer, effect.peers, effect.channel, effect.frame)
                case SetTimer():
                    self._set_timer(effect)
                case Connect():
                    self.network.connect(self.peer, effect.peer, lambda up: None)
                case Disconnect():
                    pass
                case Emit():
                    self._observe(self, effect)
                case _:
                    self._queue.append(effect)
        if self._queue:
            self._pump()

    def _pump(self) -> None:
        """Ordered effects, up to the next journal record; that one becomes durable a little later."""
        while self._queue and not self._syncing and self.up:
            effect = self._queue.popleft()
            if isinstance(effect, Persist):
                self._append(effect)
            else:
                self._ordered(effect)

    def _append(self, effect: Persist) -> None:
        if len(self.journal) == self.crash_at_append:
            self.crash_at_append = -1
            if self.crash_keeps_append:
                self.journal.append(effect.record)
            self.crash()
            return
        self._syncing = True
        life = self.life

        def durable() -> None:
            if self._alive(life):
                self.journal.append(effect.record)
                self._syncing = False
                self._pump()

        self.network.wheel.after(FSYNC_MS, durable)

    def _ordered(self, effect: Effect) -> None:
        match effect:
            case Request():
                self._send_request(effect)
            case Reply():
                reply = self._replies.pop(effect.request_id, None)
                if reply is not None:
                    reply(effect.frame)
            case RunJob():
                self._run(effect)
            case CancelJob():
                self._jobs.pop(effect.token, None)
            case Fetch():
                self._fetch(effect)
            case Grant():
                self._grants[effect.token, effect.peer] = effect.roots
            case _:
                raise AssertionError(f"unexpected effect {effect}")

    def _set_timer(self, effect: SetTimer) -> None:
        if effect.at_mono_ms is None:
            self._timers.pop(effect.key, None)
            return
        at, life = effect.at_mono_ms, self.life
        self._timers[effect.key] = at

        def due() -> None:
            if self._alive(life) and self._timers.get(effect.key) == at and self.core is not None:
                del self._timers[effect.key]
                self._do(self.core.on_timer(self.now, effect.key))

        self.network.wheel.at(at, due)

    def _send_request(self, effect: Request) -> None:
        life = self.life

        def answer(outcome: Outcome) -> None:
            if self._alive(life) and self.core is not None:
                self._do(self.core.on_response(self.now, effect.request_id, outcome))

        dial = bool(effect.addresses)
        self.network.request(self.peer, effect.peer, effect.frame, effect.timeout_ms, dial, answer)

    # -- the engine and the blob store ---------------------------------------------------------------------------------

    def compute(self, manifest: bytes) -> JobOutcome:
        """What this node's engine says; characters override it."""
        return JobOutcome(JobStatus.OK, right_outputs(manifest), device_us=50_000)

    def _run(self, effect: RunJob) -> None:
        life, token = self.life, effect.token
        self._jobs[token] = life

        def finished() -> None:
            if self._alive(life) and self._jobs.pop(token, None) is not None and self.core is not None:
                outcome = self.compute(effect.manifest)
                self.blobs.update({root: None for root, _ in outcome.outputs})
                self._do(self.core.on_job(self.now, token, outcome))

        self.network.wheel.after(self.rng.randrange(20, 400), finished)

    def may_read(self, peer: bytes, root: bytes) -> bool:
        """Whether `peer` was granted this blob."""
        return any(who == peer and root in roots for (_, who), roots in self._grants.items())

    def _fetch(self, effect: Fetch) -> None:
        life = self.life

        def arrived() -> None:
            if not self._alive(life) or self.core is None:
                return
            source = self.network.nodes[effect.peer]
            roots = [root for root, _ in effect.blobs]
            if not self.network.connected(self.peer, effect.peer) or not all(
                root in source.blobs and source.may_read(self.peer, root) for root in roots
            ):
                self._do(self.core.on_fetch(self.now, effect.token, None, "the source does not have it"))
                return
            self.blobs.update({root: source.blobs[root] for root in roots})
            small = effect.token.startswith("manifest:")
            blobs = tuple(self.blobs[root] or b"" for root in roots) if small else ()
            self._do(self.core.on_fetch(self.now, effect.token, blobs))

        def go(up: bool) -> None:
            self.network.wheel.after(4 * self.network.delay_ms(self.peer, effect.peer), arrived)

        if effect.addresses and not self.network.connected(self.peer, effect.peer):
            self.network.connect(self.peer, effect.peer, go)
        else:
            go(True)

    def store(self, manifest: bytes) -> Manifest:
        """Put a manifest and (by name only) all it refers to into the blob store."""
        m = decode_manifest(manifest)
        self.blobs[merkle.blob_root(manifest)] = manifest
        self.blobs[m.ptx_root] = None
        self.blobs.update({b.root: None for b in m.inputs})
        return m


_verified: dict[bytes, tuple[bytes, bytes, bool]] = {}
"""Signature -> the key and the message it was verified for, and whether it held."""


def _verify_once(public: bytes, message: bytes, signature: bytes) -> bool:
    known = _verified.get(signature)
    if known is not None and known[0] == public and known[1] == message:
        return known[2]
    if len(_verified) > 1_000_000:
        _verified.clear()
    holds = verify(public, message, signature)
    _verified[signature] = public, message, holds
    return holds
