"""A whole network in one process: nodes, a market of tasks, and what was seen of them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Final

from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol.commands import Publish, Submit
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role, encode_manifest
from simnet.characters import CHARACTERS
from simnet.network import WALL_START_MS, Links, Network
from simnet.node import NETWORK, Node
from simnet.wheel import Wheel

DELEGATION_MS: Final = 30 * 24 * 3600 * 1000
RESTART_MS: Final = 700
"""A crashed node is back after this time."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What to simulate. `characters` names each provider's character, `requester` that of the one requester."""

    providers: int = 6
    characters: tuple[str, ...] = ()
    requester: str = "honest"
    tasks: int = 3
    replicas: int = 2
    quorum: int = 2
    slots: int = 2
    until_ms: int = 120_000
    links: Links = dataclasses.field(default_factory=Links)


class World:
    """One run of a scenario with a seed. Everything that happens follows from the two."""

    def __init__(self, scenario: Scenario, seed: int, *, trace: Callable[[str], None] | None = None) -> None:
        self.scenario, self.seed, self._trace = scenario, seed, trace
        self.wheel = Wheel()
        self.rng = random.Random(f"world/{seed}")
        self.network = Network(self.wheel, random.Random(f"network/{seed}"), scenario.links)
        self.events: list[tuple[int, str, str, dict[str, object]]] = []
        self.manifests: dict[bytes, bytes] = {}
        self.finished: dict[bytes, tuple[bool, tuple[bytes, ...]]] = {}
        kinds = scenario.characters + ("honest",) * scenario.providers
        self.providers = [self._node(f"provider{i}", kinds[i]) for i in range(scenario.providers)]
        self.requester = self._node("requester", scenario.requester)
        for node in [*self.providers[1:], self.requester]:
            node.bootstrap = [self.providers[0].peer]

    def _node(self, name: str, character: str) -> Node:
        operator = KeyPair(random.Random(f"{self.seed}/operator/{name}").randbytes(32))
        key = KeyPair(random.Random(f"{self.seed}/key/{name}").randbytes(32))
        author = d.Author(NETWORK, operator.public, bytes(8), operator.sign)
        body = Delegation(key.public, Capability.PROVIDE | Capability.REQUEST)
        delegation = author.write(WALL_START_MS - 1000, body, lifetime_ms=DELEGATION_MS).raw
        return CHARACTERS[character](
            self.network, name, self.seed, delegation=delegation, key=key, observe=self._observe
        )

    # -- a run -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Boot the providers over the first second, then the requester, then submit the tasks one by one."""
        for i, provider in enumerate(self.providers):
            self.wheel.at(50 * i, self._boot, provider, i)
        self.wheel.at(1_000, self.requester.start)
        for i in range(self.scenario.tasks):
            self.wheel.at(2_000 + 400 * i, self._submit, i)

    def _boot(self, node: Node, price: int) -> None:
        node.start()
        node.command(Publish(self.terms(node, price)))

    def terms(self, node: Node, price: int) -> d.Offer:
        """Provider n asks for 10 + n credits a second; liars undercut everyone."""
        honest = type(node).__name__ == "Node"
        return d.Offer(
            delegation=node.delegation,
            addresses=(f"/sim/{node.name}",),
            engine="cpu",
            model="simulated",
            numeric_class="exact",
            isolation="none",
            region="sim",
            memory_bytes_max=2**30,
            device_ms_max=60_000,
            slots=self.scenario.slots,
            mflops=1000,
            copy_mb_s=1000,
            price_per_device_s=(10 + price) * 1_000_000 if honest else 1_000_000,
            price_minimum=100,
        )

    def _submit(self, i: int) -> None:
        manifest = Manifest(
            name=f"task{i}",
            toolchain="simulated",
            sources=(),
            ptx_root=random.Random(f"{self.seed}/ptx/{i}").randbytes(32),
            ptx_size_bytes=1000,
            buffers=(Buffer("out", "f32", (1024,), Role.OUT),),
            launches=(Launch("k", (1, 1, 1), (32, 1, 1), (Argument("out"),)),),
            device_ms_max=5_000,
            memory_bytes_max=2**20,
        )
        data = encode_manifest(manifest)
        job = random.Random(f"{self.seed}/job/{i}").randbytes(16)
        self.manifests[job] = data
        self.requester.store(data)
        command = Submit(job, data, replicas=self.scenario.replicas, quorum=self.scenario.quorum, budget=10**12)
        if self.requester.up:
            self.requester.command(command)
        else:
            self.wheel.after(RESTART_MS + 100, lambda: self.requester.command(command))

    def _observe(self, node: Node, event: Emit) -> None:
        fields = dict(event.fields)
        self.events.append((self.wheel.now_ms, node.name, event.name, fields))
        if self._trace is not None:
            shown = " ".join(f"{k}={_plain(v)}" for k, v in fields.items())
            self._trace(f"{self.wheel.now_ms:>8} ms  {node.name:<12} {event.name:<20} {shown}")
        if event.name == "node.crashed":
            self.wheel.after(RESTART_MS, lambda: self._restart(node))
        elif event.name in ("job.done", "job.failed") and node is self.requester:
            job, roots = fields["job"], fields.get("roots", ())
            assert isinstance(job, bytes)
            assert isinstance(roots, tuple)
            self.finished[job] = event.name == "job.done", roots

    def _restart(self, node: Node) -> None:
        node.start()
        if node in self.providers:
            node.command(Publish(self.terms(node, self.providers.index(node))))
        else:
            for i, job in enumerate(list(self.manifests)):
                if node.core is not None and node.core.requester.jobs.get(job) is None:
                    self._submit(i)  # the crash came before the submission was durable: its user submits again

    def settled(self) -> bool:
        """All tasks ended and every cheque arrived."""
        core = self.requester.core
        if len(self.finished) < self.scenario.tasks or core is None or len(self.manifests) < self.scenario.tasks:
            return False
        return all(not job.within("judged", "owed", "paying") for job in core.requester.jobs)

    def run(self) -> int:
        """Run to the end; the number of events."""
        self.start()
        return self.wheel.run(self.scenario.until_ms, self.settled)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:8]
    if isinstance(value, list | tuple):
        return "[" + ",".join(_plain(v) for v in value) + "]"
    return str(value)
