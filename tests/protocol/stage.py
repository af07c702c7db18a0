"""Peers pumped in memory: real cores, real keys, no latency; time moves only when nothing else can happen.

A test bends an actor by its hooks: `compute` is its engine, `mangle` sees every effect before it happens (return None
to swallow it), `deaf` takes it off the network.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from blake3 import blake3

from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol import records
from p2pcompute.protocol.commands import Publish, Submit
from p2pcompute.protocol.core import PeerCore, offers_topic
from p2pcompute.protocol.lease import CAPS, Caps
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import (
    CancelJob,
    Compare,
    Effect,
    Emit,
    Environment,
    Fetch,
    Finding,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    JobStatus,
    Locate,
    Missed,
    Now,
    Ok,
    Outcome,
    PeerInfo,
    Persist,
    Redeem,
    Reply,
    Request,
    RunJob,
    SendOutcome,
    SetTimer,
)
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role, decode_manifest, encode_manifest
from p2pcompute.wire.policy import Policy
from p2pcompute.wire.steps import step_count

T = TypeVar("T", bound=msgspec.Struct)
NETWORK = "stage"
WALL_MS = 1_800_000_000_000
DAY_MS = 86_400_000
RUN_MS = 100
BOTH = Capability.PROVIDE | Capability.REQUEST

MANIFEST = Manifest(
    "task", "none", (), b"p" * 32, 100,
    (Buffer("x", "f32", (8,), Role.IN, b"x" * 32), Buffer("y", "f32", (8,), Role.OUT)),
    (Launch("k", (1, 1, 1), (32, 1, 1), (Argument("x"), Argument("y"))),),
    1_000, 2**20,
)  # fmt: skip

_verified: dict[tuple[bytes, bytes, bytes], bool] = {}


def verify_once(public: bytes, message: bytes, signature: bytes) -> bool:
    """Real ed25519; the same question is answered once."""
    key = public, message, signature
    if key not in _verified:
        _verified[key] = verify(public, message, signature)
    return _verified[key]


def key_of(name: str) -> KeyPair:
    return KeyPair(blake3(name.encode()).digest())


def delegation(
    operator: KeyPair,
    subject: bytes,
    capabilities: Capability = BOTH,
    *,
    wall_ms: int = WALL_MS,
    epoch: bytes = bytes(8),
) -> bytes:
    """A signed delegation of thirty days."""
    author = d.Author(NETWORK, operator.public, epoch, operator.sign)
    return author.write(wall_ms, Delegation(subject, capabilities), lifetime_ms=30 * DAY_MS).raw


def terms(**changes: object) -> d.Offer:
    """An offer: 1 credit a second, two slots."""
    values: dict[str, object] = {
        "delegation": b"", "addresses": ("/stage",), "engine": "cpu", "model": "m", "numeric_class": "exact",
        "isolation": "none", "region": "here", "memory_bytes_max": 2**30, "device_ms_max": 60_000, "slots": 2,
        "mflops": 1, "copy_mb_s": 1, "price_per_device_s": 1_000_000, "price_minimum": 100, **changes,
    }  # fmt: skip
    return d.Offer(**values)  # type: ignore[arg-type]


def replaced(struct: T, **changes: object) -> T:
    """A copy with other fields."""
    return msgspec.structs.replace(struct, **changes)


class SilentGossip:
    """Satisfies the core's port and says nothing; the stage spreads offers itself."""

    def __init__(self) -> None:
        self.news: dict[bytes, None] = {}

    def start(self, now: Now) -> list[Effect]:
        return []

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        return []

    def on_frame(self, now: Now, peer: bytes, frame: bytes, channel: str) -> list[Effect]:
        return []

    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]:
        return []

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        return []

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        return []

    def subscribe(self, now: Now, topic: str) -> list[Effect]:
        return []

    def unsubscribe(self, now: Now, topic: str) -> list[Effect]:
        return []

    def topics_of(self, peer: bytes) -> tuple[str, ...]:
        return ()

    def take_news(self) -> list[bytes]:
        return []

    def publish(self, now: Now, topic: str, data: bytes) -> list[Effect]:
        return []

    def score(self, peer: bytes) -> float:
        return 0.0

    def state(self) -> dict[str, object]:
        return {}


def right(manifest: bytes) -> tuple[tuple[bytes, int], ...]:
    """What honest engines compute."""
    m = decode_manifest(manifest)
    return tuple((blake3(manifest + bytes([i])).digest(), b.size_bytes) for i, b in enumerate(m.outputs))


def honest(manifest: bytes) -> JobOutcome:
    return JobOutcome(JobStatus.OK, right(manifest), device_us=50_000)


def lying(salt: bytes) -> Callable[[bytes], JobOutcome]:
    """An engine that is wrong in its own way; two with one salt collude."""

    def compute(manifest: bytes) -> JobOutcome:
        wrong = tuple((blake3(salt + root).digest(), size) for root, size in right(manifest))
        return JobOutcome(JobStatus.OK, wrong, device_us=50_000)

    return compute


def ending(status: JobStatus, reason: str = "") -> Callable[[bytes], JobOutcome]:
    return lambda manifest: JobOutcome(status, device_us=50_000, reason=reason)


def inspecting(effect: Inspect) -> InspectOutcome:
    """Finds out every lie."""
    clean = effect.states[-1] == tuple(root for root, _ in right(effect.manifest))
    return InspectOutcome(Finding.CLEAN if clean else Finding.WRONG, effect.blocks, device_us=1_000)


class Actor:
    """One peer and its surroundings. `journal` and `blobs` survive `crash`; nothing else does."""

    def __init__(self, stage: Stage, name: str, *, credit: int = 10**9, caps: Caps = CAPS) -> None:
        self.stage, self.name, self.credit, self.caps = stage, name, credit, caps
        self.key = key_of(name)
        self.epoch = name.encode()[:8].ljust(8)
        self.operator = key_of("operator of " + name)
        self.delegation = delegation(self.operator, self.key.public)
        self.journal: list[bytes] = []
        self.blobs: dict[bytes, bytes] = {}
        self.compute: Callable[[bytes], JobOutcome] = honest
        self.inspect: Callable[[Inspect], InspectOutcome] = inspecting
        self.inspections: list[Inspect] = []
        self.locate: Callable[[Locate], tuple[int | None, tuple[bytes, ...]]] = self.locating
        self.located: list[Locate] = []
        self.compare: Callable[[Compare], tuple[tuple[int, int], ...]] = lambda effect: ()
        self.comparisons: list[Compare] = []
        self.pay: Callable[[Redeem], str] = self.paying
        self.settle_at = 0
        self.redeems = True
        self.paid: dict[bytes, Redeem] = {}
        """Value that left, by key."""
        self.blobs_given = True
        self.mangle: Callable[[Effect], Effect | None] = lambda effect: effect
        self.deaf = False
        self.crash_at = -1
        self.crash_keeps = True
        self.crash_moves = False
        """Whether the home that comes back is a restored one: its journal, and a new epoch."""
        self.life = 0
        self.offer: d.Offer | None = None
        self.events: list[Emit] = []
        self.boot()

    @property
    def peer(self) -> bytes:
        return self.key.public

    def boot(self) -> None:
        self.life += 1
        self.timers: dict[str, int] = {}
        self.queue: deque[Effect] = deque()
        self.grants: dict[tuple[str, bytes], tuple[bytes, ...]] = {}
        self.parts: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self.runs: set[str] = set()
        rng = random.Random(f"{self.name}/{self.life}")
        secret = blake3(b"secret of " + self.name.encode()).digest()
        env = Environment(self.peer, self.key.sign, verify_once, rng, secret)
        gossip = SilentGossip()
        home = {"network": NETWORK, "epoch": self.epoch, "delegation": self.delegation}
        home |= {"settle_at": self.settle_at, "redeems": self.redeems}
        self.core = PeerCore(
            env, gossip, **home, credit=Credit(self.credit, self.credit, 1_000 * self.credit), caps=self.caps
        )  # type: ignore[arg-type]
        self.do(self.core.start(self.stage.now, list(self.journal)))

    def crash(self) -> None:
        """Power off and on again, at once; the owner publishes again."""
        self.boot()
        for other in self.stage.actors.values():
            other.do(other.core.on_peer(self.stage.now, PeerInfo(self.peer, False)))
        if self.offer is not None:
            self.publish(self.offer)
        self.stage.introduce()

    def publish(self, offer: d.Offer) -> None:
        self.offer = offer
        self.do(self.core.on_command(self.stage.now, Publish(offer)))

    def do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            kept = self.mangle(effect)
            if kept is not None:
                self.queue.append(kept)

    def records(self, *kinds: type[records.Record]) -> list[records.AnyRecord]:
        """The journal, decoded; of these kinds if any are named."""
        rows = [records.decode_record(data) for data in self.journal]
        return [r for r in rows if not kinds or isinstance(r, kinds)]

    def event(self, name: str) -> list[Emit]:
        return [e for e in self.events if e.name == name]

    # -- effects -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let one effect happen."""
        effect = self.queue.popleft()
        match effect:
            case Persist():
                self.append(effect.record)
            case SetTimer(key=key, at_mono_ms=None):
                self.timers.pop(key, None)
            case SetTimer(key=key, at_mono_ms=int(at)):
                self.timers[key] = at
                self.later(at, lambda: self.timer(key, at))
            case Request():
                self.stage.request(self, effect)
            case Reply():
                self.stage.reply(self, effect)
            case RunJob():
                self.runs.add(effect.token)
                self.later(self.stage.mono_ms + RUN_MS, lambda: self.finish(effect))
            case CancelJob():
                self.runs.discard(effect.token)
            case Fetch():
                self.fetch(effect)
            case Compare():
                self.later(self.stage.mono_ms + RUN_MS, lambda: self.compared(effect))
            case Locate():
                self.later(self.stage.mono_ms + RUN_MS, lambda: self.looked(effect))
            case Redeem():
                self.later(self.stage.mono_ms + RUN_MS, lambda: self.redeem(effect))
            case Inspect():
                self.later(self.stage.mono_ms + RUN_MS, lambda: self.inspected(effect))
            case Grant():
                self.grants[effect.token, effect.peer] = effect.roots
                self.parts.pop((effect.token, effect.peer), None)
                if effect.part is not None:
                    self.parts[effect.token, effect.peer] = effect.part
            case Emit():
                self.events.append(effect)
            case _:
                pass

    def append(self, record: bytes) -> None:
        if len(self.journal) != self.crash_at:
            self.journal.append(record)
            return
        self.crash_at = -1
        if self.crash_keeps:
            self.journal.append(record)
        if self.crash_moves:
            self.epoch = blake3(self.epoch).digest(length=8)
        self.crash()

    def later(self, at_mono_ms: int, call: Callable[[], None]) -> None:
        life = self.life
        self.stage.at(at_mono_ms, lambda: call() if self.life == life else None)

    def timer(self, key: str, at: int) -> None:
        if self.timers.get(key) == at:
            del self.timers[key]
            self.do(self.core.on_timer(self.stage.now, key))

    def finish(self, effect: RunJob) -> None:
        if effect.token in self.runs:
            self.runs.discard(effect.token)
            outcome = self.compute(effect.manifest)
            if effect.snapshots and outcome.status is JobStatus.OK and not outcome.states:
                states = [tuple(root for root, _ in outcome.outputs)] * step_count(decode_manifest(effect.manifest))
                outcome = msgspec.structs.replace(outcome, states=tuple(states))
            self.blobs.update({root: b"" for root, _ in outcome.outputs})
            self.do(self.core.on_job(self.stage.now, effect.token, outcome))

    def redeem(self, effect: Redeem) -> None:
        self.do(self.core.on_redeemed(self.stage.now, effect.key, self.pay(effect)))

    def paying(self, effect: Redeem) -> str:
        """A command that works."""
        assert self.paid.setdefault(effect.key, effect) == effect, "one key, one sum"
        return ""

    def inspected(self, effect: Inspect) -> None:
        self.inspections.append(effect)
        self.do(self.core.on_inspected(self.stage.now, effect.token, self.inspect(effect)))

    def looked(self, effect: Locate) -> None:
        self.located.append(effect)
        byte, silent = self.locate(effect)
        self.do(self.core.on_located(self.stage.now, effect.token, byte, silent))

    def locating(self, effect: Locate) -> tuple[int | None, tuple[bytes, ...]]:
        """Whatever differs does so in its third byte; who shows nothing of it is silent."""
        silent = tuple(
            side.peer
            for side in (effect.left, effect.right)
            if not any(
                who == self.peer and side.root in roots
                for (_, who), roots in self.stage.actors[side.peer].grants.items()
            )
        )
        return (None, silent) if silent else (2, ())

    def compared(self, effect: Compare) -> None:
        self.comparisons.append(effect)
        here = all(root in self.blobs for roots in effect.results for root in roots)
        pairs = self.compare(effect) if here else None
        self.do(self.core.on_compared(self.stage.now, effect.token, pairs))

    def slice_for(self, peer: bytes, blobs: tuple[tuple[bytes, int], ...]) -> int:
        """How many bytes from the beginning of these blobs a peer may read here, where the rest is not paid; else 0."""
        whole = {root for (_, who), granted in self.grants.items() if who == peer for root in granted}
        held = 0
        for root, size in blobs:
            if root not in whole:
                parts = [part for (_, who), part in self.parts.items() if who == peer and part[0] == root]
                return max((held + chunks * limits.BLOB_CHUNK_BYTES for _, chunks in parts), default=0)
            held += size
        return 0

    def fetch(self, effect: Fetch) -> None:
        source = self.stage.actors.get(effect.peer)
        roots = [root for root, _ in effect.blobs]
        readable = (
            {root for (_, who), granted in source.grants.items() if who == self.peer for root in granted}
            if source
            else set()
        )
        if (
            source is None
            or source.deaf
            or not source.blobs_given
            or not all(root in readable and root in source.blobs for root in roots)
        ):
            held = source.slice_for(self.peer, effect.blobs) if source and not source.deaf else 0
            self.do(self.core.on_fetch(self.stage.now, effect.token, None, "not there", held))
            return
        self.blobs.update({root: source.blobs[root] for root in roots})
        small = effect.token.startswith("manifest:")
        blobs = tuple(self.blobs[root] for root in roots) if small else ()
        self.do(self.core.on_fetch(self.stage.now, effect.token, blobs))


class Stage:
    """All actors, and the time."""

    def __init__(self) -> None:
        self.mono_ms = 0
        self.actors: dict[bytes, Actor] = {}
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._open: dict[int, tuple[Actor, int, int]] = {}

    @property
    def now(self) -> Now:
        return Now(self.mono_ms, WALL_MS + self.mono_ms)

    def actor(self, name: str, *, credit: int = 10**9, caps: Caps = CAPS) -> Actor:
        new = Actor(self, name, credit=credit, caps=caps)
        self.actors[new.peer] = new
        return new

    def providers(self, count: int, **changes: object) -> list[Actor]:
        """Providers p0, p1, … each a little dearer than the one before."""
        out = []
        for i in range(count):
            p = self.actor(f"p{i}")
            price = {"price_per_device_s": 1_000_000 + i * 1_000, **changes}
            p.publish(terms(delegation=p.delegation, **price))
            out.append(p)
        return out

    def introduce(self) -> None:
        """Everybody hears everybody's newest offer."""
        for actor in self.actors.values():
            for other in self.actors.values():
                listing = other.core.book.get(other.peer)
                if listing is not None and other is not actor:
                    actor.core.judge_gossip(self.now, offers_topic(NETWORK), listing.offer.raw, other.peer)

    def at(self, mono_ms: int, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._calls, (max(mono_ms, self.mono_ms), self._count, call))

    def request(self, source: Actor, effect: Request) -> None:
        """Deliver at once; a deaf or unknown target never answers."""
        target, life = self.actors.get(effect.peer), source.life
        self._count += 1
        number = self._count

        def expire() -> None:
            if self._open.pop(number, None) and source.life == life:
                source.do(source.core.on_response(self.now, effect.request_id, Missed.TIMEOUT))

        self._open[number] = source, life, effect.request_id
        self.at(self.mono_ms + effect.timeout_ms, expire)
        if target is not None and not target.deaf and not source.deaf:
            target.do(target.core.on_request(self.now, source.peer, number, effect.frame))

    def reply(self, target: Actor, effect: Reply) -> None:
        source, life, request_id = self._open.pop(effect.request_id, (None, 0, 0))
        if source is not None and source.life == life:
            outcome: Outcome = Missed.CLOSED if effect.frame is None else Ok(effect.frame)
            source.do(source.core.on_response(self.now, request_id, outcome))

    def settle(self) -> None:
        """Everything that happens without time passing."""
        while busy := [a for a in self.actors.values() if a.queue]:
            for actor in busy:
                while actor.queue:
                    actor.step()

    def run(self, until: Callable[[], bool] = lambda: False, *, for_ms: int = 120_000) -> None:
        """Until the condition holds or that much time has passed."""
        end = self.mono_ms + for_ms
        self.settle()
        while not until() and self._calls and self._calls[0][0] <= end:
            self.mono_ms, _, call = heapq.heappop(self._calls)
            call()
            self.settle()

    def submit(
        self,
        requester: Actor,
        *,
        job: bytes = b"j" * 16,
        manifest: Manifest = MANIFEST,
        replicas: int = 2,
        quorum: int = 2,
        **options: object,
    ) -> bytes:
        """Put a job's blobs into the store and submit it."""
        data = encode_manifest(manifest)
        requester.blobs.update({merkle.blob_root(data): data, manifest.ptx_root: b""})
        requester.blobs.update({b.root: b"" for b in manifest.inputs})
        self.introduce()
        terms = {"budget": 10**9, "policy": Policy(replicas=replicas, quorum=quorum), **options}
        command = Submit(job, data, **terms)  # type: ignore[arg-type]
        requester.do(requester.core.on_command(self.now, command))
        return job

    def play(self, requester: Actor, *, job: bytes = b"j" * 16, for_ms: int = 900_000, **options: object) -> None:
        """Submit a job and run until it is at rest."""
        self.submit(requester, job=job, **options)
        self.run(lambda: at_rest(requester, job), for_ms=for_ms)


def at_rest(requester: Actor, job: bytes = b"j" * 16) -> bool:
    held = requester.core.requester.jobs.get(job)
    return held is not None and held.at_rest and not requester.queue
