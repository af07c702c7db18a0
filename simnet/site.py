"""What a simulated peer is, however it is driven: keys, disk, blobs, engine, character, place in the world."""

from __future__ import annotations

import abc
import functools
import itertools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import msgspec
from blake3 import blake3

from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip import Gossip
from p2pcompute.protocol.gossip.exchange import PeerRecord, encode_record
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import (
    Compare,
    Effect,
    Emit,
    Environment,
    Finding,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    JobStatus,
    Locate,
    Missed,
    Now,
    Outcome,
    PeerInfo,
    Redeem,
    Ruling,
)
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import decode_manifest
from simnet.characters.base import Outputs, Ring
from simnet.characters.traced import Traced
from simnet.disk import Disk
from simnet.links import mix
from simnet.network import WALL_START_MS, Line, Network

if TYPE_CHECKING:
    from simnet.characters import Character
    from simnet.trace import Trace

NETWORK: Final = "simnet"
DELEGATION_MS: Final = 30 * 24 * 3600 * 1000
CREDIT: Final = Credit(10**9, 10**9, 10**12)
VERIFIED_MAX: Final = 1_000_000
OPENED_MAX: Final = 65_536
TRAP: Final = "trap"
"""A kernel of this name traps on every machine."""
TRAPPED: Final = "the kernel trapped: its first block, in its first thread"
"""What honest engines say of it."""
Verify = Callable[[bytes, bytes, bytes], bool]

Observe = Callable[["Site", Emit], None]


@functools.lru_cache(maxsize=4_096)
def right_outputs(manifest: bytes) -> tuple[tuple[bytes, int], ...]:
    """(root, size in bytes) of what every honest engine computes for a manifest, in this world: a function of its bytes
    alone."""
    return tuple((merkle.blob_root(data), len(data)) for data in output_bytes(manifest))


def traps(manifest: bytes) -> bool:
    """Whether every honest engine traps in it."""
    return decode_manifest(manifest).launches[0].entry == TRAP


def output_bytes(manifest: bytes) -> list[bytes]:
    """The outputs themselves."""
    outputs = decode_manifest(manifest).outputs
    return [blake3(manifest + i.to_bytes(4, "little")).digest(length=b.size_bytes) for i, b in enumerate(outputs)]


def ptx_text(seed: int, number: int) -> bytes:
    """Stands for the kernels of a task."""
    return f"// kernels of task {number} in world {seed}\n".encode()


class Site(abc.ABC):
    """One peer. What is durable is in `disk` and `blobs`; `core` is the life that a crash ends."""

    def __init__(
        self,
        network: Network,
        name: str,
        seed: int,
        *,
        kind: type[Character],
        trace: Trace,
        observe: Observe,
        operator: KeyPair | None = None,
        host: int = 0,
        sync_ms: tuple[int, int] = (2, 2),
        work_ms: tuple[int, int] = (20, 400),
        credit: Credit = CREDIT,
        settle_at: int = 0,
    ) -> None:
        """`host` other than 0: several peers share that machine's address. `work_ms`: what an engine takes for a task
        that nobody slows down."""
        self.network, self.name, self.seed = network, name, seed
        self.index = len(network.nodes)
        self.key = KeyPair(random.Random(f"{seed}/key/{name}").randbytes(32))
        self.operator = operator or KeyPair(random.Random(f"{seed}/operator/{name}").randbytes(32))
        self.peer = self.key.public
        self.rng = random.Random(f"{seed}/{name}")
        self.secret, self.epoch = self.rng.randbytes(32), self.rng.randbytes(8)
        self.delegation = self._delegation()
        self.address = _address(self.index, host)
        self.record = encode_record(PeerRecord(self.key.public, 1, (self.address,)), self.key.sign)
        self.disk = Disk(network.wheel, self.index, seed, sync_ms)
        self.blobs: dict[bytes, bytes | None] = {}
        self.bootstrap: list[bytes] = []
        self.kind, self.trace, self._observe = kind, trace, observe
        self.credit, self.settle_at, self._work_ms = credit, settle_at, work_ms
        self.slowness = 1.0
        """Factor on the time of every job."""
        self.skew_ms = 0
        """How far its wall clock is ahead."""
        self.core: PeerCore | None = None
        self.terms: d.Offer | None = None
        """What it offers whenever it boots."""
        self.fakes: dict[bytes, int] = {}
        """Outputs of this engine of which one block in so many is wrong; of other wrong ones all are."""
        self.ring = Ring()
        """What it shares with others of its character."""
        self._grants: dict[tuple[str, bytes], Grant] = {}
        self._jobs = 0
        self.region = self.depth = 0
        """`depth`: that of the network which it was in before."""
        self.up, self.dialable = False, True
        self.lag_ms = self.dials = self.searches = self.busy_until_ms = self.bytes_out = self.bytes_in = 0
        self.lines: dict[bytes, Line] = {}
        network.nodes[self.peer] = self
        network.addresses[self.address] = self.peer

    def _delegation(self) -> bytes:
        author = d.Author(NETWORK, self.operator.public, bytes(8), self.operator.sign)
        body = Delegation(self.key.public, Capability.PROVIDE | Capability.REQUEST)
        return author.write(WALL_START_MS - 1000, body, lifetime_ms=DELEGATION_MS).raw

    @property
    def now(self) -> Now:
        return self.network.now if not self.skew_ms else self._skewed(self.network.now)

    def _skewed(self, now: Now) -> Now:
        return Now(now.mono_ms, now.wall_ms + self.skew_ms)

    def emit(self, event: Emit) -> None:
        """Somebody may want to know."""
        self._observe(self, event)

    @abc.abstractmethod
    def on_peer(self, info: PeerInfo) -> None:
        """A connection came or went."""

    def on_lost(self, info: PeerInfo | None, unanswered: list[Callable[[Outcome], None]]) -> None:
        """A connection is gone, with what was asked over it."""
        if info is not None:
            self.on_peer(info)
        for answered in unanswered:
            answered(Missed.CLOSED)

    @abc.abstractmethod
    def on_frame(self, source: bytes, channel: str, frame: bytes) -> None:
        """A one-way frame arrived."""

    @abc.abstractmethod
    def on_request(self, source: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        """A request arrived; `reply` answers it."""

    # -- life --------------------------------------------------------------------------------------------------------

    def make_core(self) -> PeerCore:
        """The machines of a new life, in this peer's character."""
        holder: list[PeerCore] = []

        def validate(now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
            return holder[0].judge_gossip(now, topic, data, peer)

        def deliver(now: Now, topic: str, data: bytes, peer: bytes) -> list[Effect]:
            return holder[0].deliver_gossip(now, topic, data, peer)

        env = Environment(self.peer, self.key.sign, network_verify, self.rng, self.secret, network_open)
        gossip = Gossip(env, validate=validate, deliver=deliver, app_score=lambda peer: holder[0].opinion(peer))
        core = PeerCore(
            env,
            gossip,
            network=NETWORK,
            epoch=self.epoch,
            delegation=self.delegation,
            credit=self.credit,
            settle_at=self.settle_at,
            redeems=bool(self.settle_at),
            depth=self.depth,
        )
        holder.append(core)
        shown = core if self.kind.is_plain() else cast(PeerCore, self.kind(core, self))
        return cast(PeerCore, Traced(shown, self, self.trace)) if self.trace.hashing else shown

    def forget(self) -> None:
        """A life is over: whatever was in memory is gone."""
        self.up, self.core = False, None
        self._grants.clear()

    # -- blobs and jobs ------------------------------------------------------------------------------------------------

    def grant(self, effect: Grant) -> None:
        """Let a peer read blobs."""
        self._grants[effect.token, effect.peer] = effect

    def gives(self, peer: bytes, roots: list[bytes]) -> bool:
        """Whether `peer` gets these blobs here."""
        wall_ms = self.now.wall_ms
        granted = [
            root
            for (_, who), one in self._grants.items()
            if who == peer and wall_ms < one.until_wall_ms and not one.leaves_max
            for root in one.roots
        ]
        return all(root in self.blobs and root in granted for root in roots)

    def slice_for(self, peer: bytes, blobs: tuple[tuple[bytes, int], ...]) -> int:
        """How many bytes from the beginning of these blobs `peer` gets here, where the rest is not paid; else 0."""
        parts = [one.part for (_, who), one in self._grants.items() if who == peer and one.part is not None]
        held = 0
        for root, size in blobs:
            chunks = max((chunks for part, chunks in parts if part == root), default=None)
            if not self.gives(peer, [root]):
                return held + chunks * limits.BLOB_CHUNK_BYTES if chunks is not None else 0
            held += size
        return 0

    def take(self, source: Site, token: str, roots: list[bytes]) -> tuple[bytes, ...]:
        """Blobs have arrived from another peer; their bytes when they are a manifest's."""
        self.blobs.update({root: source.blobs[root] for root in roots})
        return tuple(self.blobs[root] or b"" for root in roots) if token.startswith("manifest:") else ()

    def redeem(self, effect: Redeem) -> str:
        """Have value leave; as node.ports.Payments says."""
        return self.network.bank.pay(self.peer, effect)

    def work_ms(self, manifest: bytes) -> int:
        """What a run of this manifest takes on an ordinary machine."""
        low, high = self._work_ms
        return low + int.from_bytes(blake3(b"work" + manifest).digest(length=4), "big") % (high - low + 1)

    def compute(self, manifest: bytes, *, snapshots: bool = False) -> tuple[int, JobOutcome]:
        """Milliseconds a run takes here, and what comes out."""
        self._jobs += 1
        queue_ms = mix(self.seed ^ mix(self.index << 20 | self._jobs)) % 20
        took_ms = max(1, int(self.work_ms(manifest) * self.slowness))
        outputs = right_outputs(manifest)
        if decode_manifest(manifest).is_tolerant:
            outputs = self._near_outputs(outputs)
        outcome = JobOutcome(JobStatus.OK, outputs, device_us=1_000 * took_ms)
        if traps(manifest):
            outcome = msgspec.structs.replace(outcome, status=JobStatus.TRAP, reason=TRAPPED)
        claimed = getattr(self.core, "result", None)
        if claimed is not None:
            outcome = claimed(manifest, outcome)
        if outcome.status is not JobStatus.OK:
            outcome = msgspec.structs.replace(outcome, outputs=())
        self.blobs.update({root: None for root, _ in outcome.outputs})
        if snapshots and outcome.status is JobStatus.OK:  # tasks here have one step and no buffers but outputs
            outcome = msgspec.structs.replace(outcome, states=(tuple(root for root, _ in outcome.outputs),))
        return took_ms + queue_ms, outcome

    def _near_outputs(self, right: Outputs) -> Outputs:
        """Where sums depend on their order, every machine has bits of its own, and all of them are close."""
        mine = tuple((blake3(root, key=self.peer).digest(), size) for root, size in right)
        self.network.near.update({own: root for (own, _), (root, _) in zip(mine, right)})
        return mine

    def inspect(self, effect: Inspect) -> tuple[int, InspectOutcome]:
        """Milliseconds that recomputing a sample takes here, and what it shows."""
        source = self.network.nodes.get(effect.peer)
        if not isinstance(source, Site) or not source.up or not source.gives_pieces(self.peer, effect.states[-1]):
            return 1, InspectOutcome(Finding.UNAVAILABLE, reason="pieces of its states are not to be had")
        if traps(effect.manifest):
            return self.work_ms(effect.manifest), InspectOutcome(Finding.AT_FAULT, 1, reason=TRAPPED)
        x, y, z = decode_manifest(effect.manifest).launches[0].grid
        right, seen = right_outputs(effect.manifest), dict[int, None]()
        for point in effect.points:
            root, size = right[point.buffer]
            block, stated = point.byte * x * y * z // size, effect.states[-1][point.buffer]
            if len(seen) == effect.blocks and block not in seen:
                break
            seen[block] = None
            if source.is_wrong(stated, root, block):
                wrong = InspectOutcome(Finding.WRONG, len(seen), buffer=point.buffer, block=block, byte=point.byte)
                return self._share_ms(effect.manifest, len(seen), x * y * z), wrong
        took_ms = self._share_ms(effect.manifest, len(seen), x * y * z)
        return took_ms, InspectOutcome(Finding.CLEAN, len(seen), device_us=1_000 * took_ms)

    def is_wrong(self, stated: bytes, right: bytes, block: int) -> bool:
        """Whether this block of an output that it states is not what honest engines compute."""
        return stated != right and is_faked(stated, block, self.fakes.get(stated, 1))

    def locate(self, effect: Locate) -> tuple[int | None, tuple[bytes, ...]]:
        """A byte in which two peers' outputs differ, or who of them does not give pieces."""
        sides = [(self.network.nodes.get(side.peer), side) for side in (effect.left, effect.right)]
        there = [
            site for site, side in sides if isinstance(site, Site) and site.up and site._shows(self.peer, side.root)
        ]
        if len(there) < len(sides):
            return None, tuple(side.peer for site, side in sides if site not in there)
        x, y, z = decode_manifest(effect.manifest).launches[0].grid
        root, size = right_outputs(effect.manifest)[effect.buffer]
        for block in range(x * y * z):
            if any(site.is_wrong(side.root, root, block) for site, (_, side) in zip(there, sides, strict=True)):
                return -(-block * size // (x * y * z)), ()
        return None, ()

    def _shows(self, peer: bytes, root: bytes) -> bool:
        return self.gives_pieces(peer, (root,))

    def compare(self, effect: Compare) -> tuple[tuple[int, int], ...] | None:
        """Results are close to each other here when they are honest machines' of the same task."""
        if any(root not in self.blobs for roots in effect.results for root in roots):
            return None
        near = [set(roots) <= self.network.near.keys() for roots in effect.results]
        return tuple((i, j) for i, j in itertools.combinations(range(len(near)), 2) if near[i] and near[j])

    def _share_ms(self, manifest: bytes, blocks: int, of: int) -> int:
        return max(1, int(self.work_ms(manifest) * self.slowness * blocks / of))

    def gives_pieces(self, peer: bytes, roots: tuple[bytes, ...]) -> bool:
        """Whether `peer` may read single leaves of these blobs here."""
        grants = [one for (_, who), one in self._grants.items() if who == peer and one.leaves_max]
        wall_ms = self.now.wall_ms
        return any(set(roots) <= set(one.roots) and wall_ms < one.until_wall_ms for one in grants)

    def store(self, manifest: bytes, ptx: bytes) -> None:
        """Put a task into the blob store."""
        for blob in (manifest, ptx):
            self.blobs[merkle.blob_root(blob)] = blob


def is_faked(root: bytes, block: int, one_in: int) -> bool:
    """Whether a block of a wrong output is among those made up: by chance that depends on nothing but which."""
    return int.from_bytes(blake3(root + block.to_bytes(8, "little")).digest(length=4), "big") % one_in == 0


def _address(index: int, host: int) -> str:
    """Spread over the networks of 11.0.0.0/8; peers of one host differ by port."""
    if host:
        return f"/ip4/12.{host >> 8 & 255}.{host & 255}.1/tcp/{4_000 + index % 60_000}"
    return f"/ip4/11.{index & 255}.{index >> 8 & 255}.1/tcp/4001"


_verified: dict[bytes, tuple[bytes, bytes, bool]] = {}
"""Signature -> the key and the message it was verified for, and whether it held."""


def network_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Real ed25519, each (key, message, signature) verified once in a process."""
    known = _verified.get(signature)
    if known is not None and known[0] == public and known[1] == message:
        return known[2]
    if len(_verified) > VERIFIED_MAX:
        _verified.clear()
    holds = verify(public, message, signature)
    _verified[signature] = public, message, holds
    return holds


@functools.lru_cache(maxsize=OPENED_MAX)
def network_open(network: str, raw: bytes, verify: Verify) -> d.AnyDocument:
    """Every document is opened once in a process: it is the same for all who get these bytes."""
    return d.open_document(network, raw, verify)
