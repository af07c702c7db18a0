"""The composition root: one peer, from its home to its mesh."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import trio

from p2pcompute.compute.engine import Engine
from p2pcompute.identity import keys
from p2pcompute.node.company import Company
from p2pcompute.node.config import Config
from p2pcompute.node.engines import Engines
from p2pcompute.node.keyring import Keyring
from p2pcompute.node.payments import Command
from p2pcompute.node.peers_file import PeersFile
from p2pcompute.node.reachability import Evidence, Sightings, Verdicts, inbound_directly
from p2pcompute.node.relays import Relays
from p2pcompute.node.runtime import Runtime
from p2pcompute.node.service import open_service
from p2pcompute.node.sources import PROTOCOL
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.commands import Pause, Publish, Withdraw
from p2pcompute.protocol.core import RPC_CHANNEL, PeerCore
from p2pcompute.protocol.gossip import CHANNEL, OLDER_CHANNELS, Gossip
from p2pcompute.protocol.lease import Caps
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Effect, Emit, Environment, Now, Ruling
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.storage.commit import open_committer
from p2pcompute.storage.home import Home
from p2pcompute.transport import mdns
from p2pcompute.transport.address import is_loopback, parse_address
from p2pcompute.transport.relay import RelayLimits
from p2pcompute.transport.routing import Routing
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.documents import Offer

if TYPE_CHECKING:
    from p2pcompute.transport.libp2p import Libp2pTransport

log = logging.getLogger(__name__)


class Peer:
    """A running peer. Made by `open_peer`."""

    def __init__(
        self,
        home: Home,
        keyring: Keyring,
        config: Config,
        runtime: Runtime,
        blobs: BlobStore,
        transport: Libp2pTransport,
        routing: Routing,
    ) -> None:
        self.home, self.keyring, self.config, self.runtime, self.blobs = home, keyring, config, runtime, blobs
        self.transport, self.routing = transport, routing
        self.sightings, self.verdicts = Sightings(), Verdicts()
        self.paused = ""
        """Why nothing is sold at present; empty while there is no reason."""
        self.remarks: list[str] = []
        """What its owner should know of how it started: sentences."""

    @property
    def core(self) -> PeerCore:
        return self.runtime.core

    def addresses(self) -> tuple[str, ...]:
        """Where others reach this peer."""
        return self.transport.addresses()

    def evidence(self) -> Evidence:
        """What is known of whether others reach this peer."""
        transport, (reached, missed) = self.transport, self.verdicts.counts(trio.current_time())
        return Evidence(
            addresses=self.addresses(),
            observed=self.sightings.hosts(),
            inbound=inbound_directly(self.core.peers),
            reached=reached,
            missed=missed,
            relays=len(transport.places()),
            announced=bool(self.config.announce),
        )

    def moved(self) -> None:
        """The addresses of this peer changed: a standing offer and its provider records are told anew."""
        self.runtime.emit(Emit("node.moved", {"addresses": self.addresses()}))
        terms = self.core.provider.terms
        if terms is not None and self.core.public:
            addresses = self.addresses()[: limits.ADDRESSES_MAX]
            self.runtime.command(Publish(msgspec.structs.replace(terms, addresses=addresses), self.config.price_floor))
        self.routing.moved()

    def offer(
        self,
        engine: str,
        numeric_class: str,
        *,
        isolation: str,
        mflops: int,
        copy_mb_s: int,
        mflops_f64: int = 0,
        compute_capability: int = 0,
        toolchain: str = "",
        model: str = "",
        memory_bytes: int = 0,
        slots: int = 0,
    ) -> None:
        """Publish what this peer's engines can do, at the configured price. Empty and zero: this machine's processor,
        memory and slots as configured."""
        c = self.config
        terms = Offer(
            delegation=self.keyring.delegation,
            addresses=self.addresses()[: limits.ADDRESSES_MAX],
            engine=engine,
            model=model or _cpu_model(),
            numeric_class=numeric_class,
            isolation=isolation,
            region=c.region,
            memory_bytes_max=memory_bytes or c.memory_bytes,
            device_ms_max=c.device_ms_max,
            slots=slots or c.slots,
            mflops=mflops,
            copy_mb_s=copy_mb_s,
            price_per_device_s=c.price_per_device_s,
            price_minimum=c.price_minimum,
            price_per_gb=c.price_per_gb,
            compute_capability=compute_capability,
            toolchain=toolchain,
            jurisdictions=c.jurisdictions,
            watts=c.watts,
            gco2_per_kwh=c.gco2_per_kwh,
            mflops_f64=mflops_f64,
        )
        self.runtime.command(Publish(terms, c.price_floor))

    def pause(self, why: str) -> None:
        """Take the offer back and no new work until `resume`. `why`: the end of a sentence; while paused, only that may
        change."""
        if not self.paused:
            self.runtime.command(Pause(True))
            self.runtime.emit(Emit("node.paused", {"reason": why}))
        self.paused = why

    def resume(self) -> None:
        """Sell again what `offer` said, unless its owner withdrew it. Does nothing when not paused."""
        if self.paused:
            self.paused = ""
            self.runtime.command(Pause(False))
            self.runtime.emit(Emit("node.resumed", {}))

    async def drain(self, timeout_s: float) -> None:
        """Take the offer back and let running jobs end."""
        self.runtime.command(Withdraw(drain=True))
        with trio.move_on_after(timeout_s):
            while self.core.provider.running:
                await trio.sleep(0.05)


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()[:64]
    except OSError:
        pass
    return "unknown"


@contextlib.asynccontextmanager
async def open_peer(
    home: Home, keyring: Keyring, config: Config, engines: Sequence[Engine], checkers: Sequence[Engine] = ()
) -> AsyncIterator[Peer]:
    """A peer that listens, has replayed its journal and is joining the mesh, for as long as the block runs. `checkers`
    recompute single blocks, where `engines` cannot.

    Raises LocalError when it cannot listen, HomeError when its journal or blobs are damaged.
    """
    from p2pcompute.transport.libp2p import Libp2pTransport

    pool, checking = Engines(engines), Engines(checkers)
    blobs = BlobStore(home.layout.blobs, merkle.blob_root, config.blob_bytes)
    try:
        async with open_committer(home.journal) as committer:
            rate, others = config.blob_bytes_per_s, checking if checkers else None
            payments = Command(config.settlement, config.network) if config.settlement else None
            runtime = Runtime(committer, Workshop(blobs, pool, rate, checkers=others), payments=payments)
            transport = Libp2pTransport(
                keyring.node.seed,
                listen=config.listen,
                events=runtime,
                channels={CHANNEL: limits.GOSSIP_RPC_BYTES_MAX},
                requests={RPC_CHANNEL: limits.RPC_FRAME_BYTES_MAX},
                streams=(PROTOCOL, kademlia.PROTOCOL),
                older={CHANNEL: OLDER_CHANNELS},
                announce=config.announce,
                usefulness=lambda peers: runtime.core.usefulness(peers),
                relay=RelayLimits() if config.relay else None,
                told=runtime.on_addresses,
            )
            core = _make_core(home, keyring, config)
            routing = Routing(transport, core.topics)
            runtime.attach(core, transport, routing)
            async with open_service() as nursery:
                await nursery.start(transport.run)
                records = [record for _, record in home.journal.replay()]
                replayed = trio.Event()
                nursery.start_soon(lambda: runtime.run(records, ready=replayed.set))
                await replayed.wait()
                known = PeersFile(home.layout.peers)
                peer = Peer(home, keyring, config, runtime, blobs, transport, routing)
                wanted = (*config.direct, *config.bootstrap)
                company = Company(transport, core, wanted, known, peer.sightings, random.SystemRandom(), routing)
                relays = Relays(transport, core.peers, config.relays, peer.evidence, peer.verdicts, peer.moved)
                nursery.start_soon(company.run)
                nursery.start_soon(relays.run)
                nursery.start_soon(routing.run)
                if config.mdns and not all(is_loopback(parse_address(text).host) for text in config.listen):
                    nursery.start_soon(mdns.find_neighbours, keyring.node.public, _lan(transport), known.remember)
                yield peer
    finally:
        with trio.CancelScope(shield=True):
            await pool.aclose()
            await checking.aclose()


def _lan(transport: Libp2pTransport) -> tuple[str, ...]:
    """Our addresses as others on the local network can use them."""
    found = ((text, parse_address(text)) for text in transport.addresses())
    return tuple(text for text, address in found if address.relay is None and not is_loopback(address.host))


def _make_core(home: Home, keyring: Keyring, config: Config) -> PeerCore:
    env = Environment(
        me=keyring.node.public,
        sign=keyring.node.sign,
        verify=keys.verify,
        rng=random.SystemRandom(),
        secret=keyring.secret,
    )
    holder: list[PeerCore] = []

    def validate(now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        return holder[0].judge_gossip(now, topic, data, peer)

    def deliver(now: Now, topic: str, data: bytes, peer: bytes) -> list[Effect]:
        return holder[0].deliver_gossip(now, topic, data, peer)

    core = PeerCore(
        env,
        Gossip(
            env,
            validate=validate,
            deliver=deliver,
            app_score=lambda peer: holder[0].opinion(peer),
            direct=[peer for text in config.direct if (peer := parse_address(text).peer) is not None],
        ),
        network=config.network,
        epoch=home.epoch,
        delegation=keyring.delegation,
        credit=Credit(config.credit_first, config.credit, config.credit_strangers),
        caps=Caps(config.leases_per_requester, config.leases_strangers, config.renewals),
        settle_at=config.settle_at,
        redeems=bool(config.settlement),
    )
    holder.append(core)
    return core
