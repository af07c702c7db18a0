"""A whole network in one process: nodes, a market of tasks, faults, and what was seen of them."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from p2pcompute.errors import UsageError
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol.commands import Command, Publish, StopJob, Submit, ValueArrived
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Emit
from p2pcompute.protocol.matching import Needs
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Argument, Buffer, Comparison, Launch, Manifest, Role, encode_manifest
from simnet.bank import Transfer
from simnet.characters import Ring, character_of
from simnet.disk import CrashState
from simnet.faults import Plan
from simnet.links import REGIONS
from simnet.network import Network
from simnet.node import Node
from simnet.scenario import Scenario, requester_names
from simnet.site import TRAP, Site, ptx_text
from simnet.trace import Trace
from simnet.wheel import Phase, Wheel

HOST: Final = 1
"""Number of the machine that all peers share whose character lives at one address."""
BOOK_MS: Final = 700
"""From value that came to an operator who says so."""
RETRY_MS: Final = 800
"""A user whose node is down tries again after this time."""

EVENTS_NODES_MAX: Final = 1_000
"""Larger worlds keep no list of their events: every offer makes one at every node."""

DEVICE_MS: Final = 5_000
"""What every task may take."""

Observer = Callable[[int, Site, Emit], None]


@dataclasses.dataclass(slots=True)
class Task:
    """What somebody asked for, and what came of it. `roots` are those of the accepted outputs."""

    id: bytes
    number: int
    requester: Node
    manifest: bytes
    submitted_ms: int
    ended_ms: int = -1
    done: bool = False
    stopped_ms: int = -1
    """When the user gave it up."""
    roots: tuple[bytes, ...] = ()
    error: str = ""


class World:
    """One run of a scenario with a seed. Everything that happens follows from the two, and from `plan`: faults on top
    of the scenario's own."""

    node_class: type[Node] = Node

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        plan: Plan = (),
        show: Callable[[str], None] | None = None,
        hashing: bool = False,
        keep_events: bool = True,
    ) -> None:
        self.keep_events = keep_events and scenario.providers <= EVENTS_NODES_MAX
        self.scenario, self.seed, self.plan = scenario, seed, (*scenario.faults, *plan)
        self.wheel = Wheel()
        self.network = Network(self.wheel, seed, scenario.links)
        self.network.bank.arrived = lambda transfer: self.schedule(self.wheel.now_ms + BOOK_MS, self._book, transfer)
        self.trace = Trace(show, hashing=hashing)
        self.events: list[tuple[int, str, str, dict[str, object]]] = []
        self.observers: list[Observer] = []
        self.tasks: dict[bytes, Task] = {}
        self.rings: dict[str, Ring] = {}
        self.stopped = False
        """Somebody has seen enough."""
        self._scheduled = 0
        self._rest_ms = -1
        self._down: dict[str, int] = {}
        rng = random.Random(f"world/{seed}")
        names = [f"provider{i}" for i in range(scenario.providers)]
        kinds = _deal(rng, scenario.characters, scenario.providers, first="honest")
        self.providers = [self._node(name, kind) for name, kind in zip(names, kinds)]
        kinds = _deal(rng, scenario.requester_characters, scenario.requesters, first="")
        self.requesters = [self._node(name, kind) for name, kind in zip(requester_names(scenario.requesters), kinds)]
        self.nodes: list[Node] = [*self.providers, *self.requesters]
        for i, node in enumerate(self.providers):
            node.terms = self.terms(node, i) if i < (scenario.sellers or scenario.providers) else None
        for i, node in enumerate(self.nodes):
            older = self.providers[: min(i, len(self.providers))]
            node.bootstrap = [x.peer for x in rng.sample(older, min(len(older), scenario.acquaintances))]
            if older and scenario.acquaintances == 1:
                node.bootstrap = [self.providers[0].peer]

    @property
    def requester(self) -> Node:
        """The first one."""
        return self.requesters[0]

    def _node(self, name: str, character: str) -> Node:
        s, kind = self.scenario, character_of(character)
        node = self.node_class(
            self.network,
            name,
            self.seed,
            kind=kind,
            trace=self.trace,
            observe=self._observe,
            host=HOST if kind.one_host else 0,
            operator=self._operator(character) if kind.one_operator else None,
            sync_ms=(s.sync_ms_min, s.sync_ms_max),
            work_ms=(s.work.run_ms_min, s.work.run_ms_max),
            credit=Credit(min(s.credit_first, s.credit), s.credit, s.credit_strangers),
            settle_at=s.settle_at,
        )
        if not kind.honest:
            node.ring = self.rings.setdefault(character, Ring())
            node.ring.members.append(node)
        node.region = node.index % len(REGIONS) if s.regions else 0
        return node

    def _operator(self, name: str) -> KeyPair:
        return KeyPair(random.Random(f"{self.seed}/operator/{name}").randbytes(32))

    # -- a run -------------------------------------------------------------------------------------------------------

    def schedule(self, at_ms: int, call: Callable[..., None], *arguments: object) -> None:
        """Have something happen to the world."""
        self._scheduled += 1
        self.wheel.at(at_ms, Phase.LIFE, (0, self._scheduled, 0, 0), call, *arguments)

    def start(self) -> None:
        """Schedule everything: nodes boot one after the other, then come the tasks, and faults as planned."""
        for fault in self.plan:
            fault.begin(self)
        for i, node in enumerate(self.providers):
            self.schedule(self.scenario.boot_every_ms * i, self.boot, node)
        for node in self.requesters:
            self.schedule(1_000, self.boot, node)
        for i, at_ms in enumerate(_arrivals(self.scenario, self.seed)):
            self.schedule(at_ms, self._submit, i)

    def boot(self, node: Node) -> None:
        """A node comes up, unless it is up or a crash keeps it down for longer."""
        if not node.up and self._down.get(node.name, 0) <= self.wheel.now_ms:
            commands: list[Command] = [Publish(node.terms)] if node.terms is not None else []
            node.start([*commands, *self._wishes(node)])

    def leave(self, node: Node) -> None:
        """A node ends in good order."""
        if node.up:
            node.crash(CrashState.CLEAN)

    def crash(self, node: Node, state: CrashState, down_ms: int) -> None:
        """A node loses power for so long."""
        back_ms = self.wheel.now_ms + down_ms
        self._down[node.name] = max(self._down.get(node.name, 0), back_ms)
        if node.up:
            node.crash(state)
        self.schedule(back_ms, self.boot, node)

    def terms(self, node: Site, number: int) -> d.Offer:
        """Provider n asks for 10 credits and n steps a second; some undercut everyone."""
        price = 10 * 1_000_000 + number * self.scenario.price_step
        return d.Offer(
            delegation=node.delegation,
            addresses=(node.address,),
            engine="cpu",
            model="simulated",
            numeric_class="exact",
            isolation="none",
            region=REGIONS[node.region],
            memory_bytes_max=2**30,
            device_ms_max=60_000,
            slots=self.scenario.slots,
            mflops=1000,
            copy_mb_s=1000,
            price_per_device_s=1_000_000 if node.kind.undercuts else price,
            price_minimum=100,
            price_per_gb=self.scenario.price_per_gb,
        )

    def manifest(self, number: int) -> bytes:
        """The n-th task."""
        work, ptx = self.scenario.work, ptx_text(self.seed, self._kernel(number))
        kind: dict[str, Any] = {"comparison": Comparison.TOLERANCE, "ulp_max": 4} if work.tolerant else {}
        outputs = ["out", *(f"out{i}" for i in range(1, work.outputs))]
        entry = TRAP if random.Random(f"{self.seed}/trap/{number}").random() < work.traps else "k"
        return encode_manifest(
            Manifest(
                name=f"task{number}",
                toolchain="simulated",
                sources=(),
                ptx_root=merkle.blob_root(ptx),
                ptx_size_bytes=len(ptx),
                buffers=tuple(Buffer(name, "f32", (256 * work.output_kb,), Role.OUT, **kind) for name in outputs),
                launches=(Launch(entry, (work.blocks, 1, 1), (32, 1, 1), tuple(Argument(name) for name in outputs)),),
                device_ms_max=DEVICE_MS,
                memory_bytes_max=2**20,
            )
        )

    def _kernel(self, number: int) -> int:
        return number % self.scenario.work.kernels if self.scenario.work.kernels else number

    def _submit(self, number: int) -> None:
        requester = self.requesters[number % len(self.requesters)]
        job = random.Random(f"{self.seed}/job/{number}").randbytes(16)
        task = self.tasks.get(job)
        if task is None:
            task = Task(job, number, requester, self.manifest(number), self.wheel.now_ms)
            self.tasks[job] = task
            if random.Random(f"{self.seed}/stop/{number}").random() < self.scenario.work.stops:
                self.schedule(self.wheel.now_ms + self.scenario.work.stop_after_ms, self._stop, task)
        if not requester.up:
            self.schedule(self.wheel.now_ms + RETRY_MS, self._submit, number)
            return
        requester.store(task.manifest, ptx_text(self.seed, self._kernel(task.number)))
        requester.command(self._command(task))

    def _stop(self, task: Task) -> None:
        """The user does not want it any more; while the node is down this waits, and a boot repeats it."""
        if task.stopped_ms < 0 and task.ended_ms < 0:
            task.stopped_ms = self.wheel.now_ms
            task.requester.command(StopJob(task.id))

    def _book(self, transfer: Transfer) -> None:
        """An operator who saw value come says so to its node, until that has written it down. Who holds no cheque of
        the payer yet hears of one later."""
        (node,) = [node for node in self.nodes if node.peer == transfer.payee]
        if is_booked(node, transfer):
            return
        if node.up:
            with contextlib.suppress(UsageError):
                node.command(ValueArrived(transfer.payer, transfer.amount, transfer.reference))
        self.schedule(self.wheel.now_ms + BOOK_MS, self._book, transfer)

    def _command(self, task: Task) -> Submit:
        work = self.scenario.work
        return Submit(
            task.id,
            task.manifest,
            policy=work.policy,
            stored=(tuple(range(work.outputs)),) if work.policy.keeps_states else (),
            budget=work.budget,
            needs=Needs(price_per_device_s_max=work.price_max, operators=self.named),
            session=task.requester.peer[:16] if work.session else b"",
            session_providers=work.session,
        )

    @property
    def named(self) -> tuple[bytes, ...]:
        """The operators that alone may compute; nobody: anybody may."""
        honest = [node.operator.public for node in self.providers if node.kind.honest]
        return tuple(honest[: self.scenario.work.named])

    def _wishes(self, node: Site) -> Sequence[Command]:
        """A user whose node forgot a task, since it crashed before the task was durable, submits it again. (What the
        node does know it takes for the same.)"""
        mine = [task for task in self.tasks.values() if task.requester is node]
        return [
            *(self._command(task) for task in mine if task.ended_ms < 0),
            *(StopJob(task.id) for task in mine if task.stopped_ms >= 0),
        ]

    def _observe(self, node: Site, event: Emit) -> None:
        now_ms, fields = self.wheel.now_ms, dict(event.fields)
        if self.keep_events:
            self.events.append((now_ms, node.name, event.name, fields))
        self.trace.event(node, now_ms, event)
        if event.name in ("job.done", "job.failed"):
            task = self.tasks[fields["job"]]  # type: ignore[index]
            if task.requester is node and not task.done:
                task.ended_ms, task.done = now_ms, event.name == "job.done"
                task.roots = fields.get("roots", ())  # type: ignore[assignment]
                task.error = str(fields.get("error", ""))
        for observer in self.observers:
            observer(now_ms, node, event)

    @property
    def calm_ms(self) -> int:
        """When the last fault of the plan is over."""
        return max((fault.ends_ms for fault in self.plan), default=0)

    def settled(self) -> bool:
        """All has been at rest for as long as the scenario wants; or somebody has seen enough."""
        if self.stopped:
            return True
        if not self._at_rest():
            self._rest_ms = -1
            return False
        if self._rest_ms < 0:
            self._rest_ms = self.wheel.now_ms
        return self.wheel.now_ms - self._rest_ms >= self.scenario.linger_ms

    def _at_rest(self) -> bool:
        """All tasks ended, every cheque arrived, and no fault is to come."""
        if len(self.tasks) < self.scenario.work.tasks or self.wheel.now_ms < self.calm_ms:
            return False
        if any(task.ended_ms < 0 for task in self.tasks.values()):
            return False
        if not all(_is_square(node) for node in self.requesters if node.kind.honest):
            return False
        honest = {node.peer: node for node in self.nodes if node.kind.honest}
        return all(is_booked(honest[x.payee], x) for x in self.network.bank.transfers.values() if x.payee in honest)

    def run(self) -> int:
        """Run to the end; the number of events."""
        self.start()
        return self.wheel.run(self.scenario.until_ms, self.settled)


def _is_square(node: Node) -> bool:
    """Whether a requester is up, owes nobody anything, and has nothing on its way that it owes."""
    if node.core is None or node.core.redeemer.open:
        return False
    return not any(job.within("judged", "owed", "paying") for job in node.core.requester.jobs)


def is_booked(node: Node, transfer: Transfer) -> bool:
    """Whether its journal says that this value came."""
    reference = transfer.reference.encode()
    return any(reference in record for record in node.disk.records)


def _deal(rng: random.Random, shares: dict[str, float], count: int, *, first: str) -> list[str]:
    """A character for each of `count` nodes: so many of each, or such a share, and the rest honest."""
    kinds = [name for name, n in shares.items() for _ in range(round(n * count) if n < 1 else int(n))]
    room = count - bool(first)
    kinds = (kinds + ["honest"] * room)[:room]
    rng.shuffle(kinds)
    return [first, *kinds] if first else kinds


def _arrivals(scenario: Scenario, seed: int) -> list[int]:
    work, rng = scenario.work, random.Random(f"arrivals/{seed}")
    at_ms, times = float(work.first_ms), []
    for _ in range(work.tasks):
        times.append(int(at_ms))
        if work.arrival == "even":
            at_ms += work.every_ms
        elif work.arrival == "poisson":
            at_ms += rng.expovariate(1 / max(1, work.every_ms))
    return times
