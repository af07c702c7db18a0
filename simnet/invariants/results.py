"""Results: what may be believed under a policy, and how often colluders get through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Emit
from p2pcompute.protocol.trust import WINDOW
from p2pcompute.wire.policy import Scheme
from simnet.invariants.base import Invariant, Violation, of_kind
from simnet.invariants.draws import Draws
from simnet.site import Site, right_outputs, traps
from simnet.world import Task, World

CONFIDENCE: Final = 0.999
MILKED_MAX: Final = 2 * (WINDOW - 1)
"""Tasks between two checks: V12 of docs/spec/verification.md."""
CAUGHT: Final = ("made two commitments for one assignment", "its opening does not match its commitment")
"""Of those whom R6 and V3 ban."""


def is_right(task: Task) -> bool:
    """Whether a task ended with what honest engines compute."""
    if traps(task.manifest):
        return False
    near = task.requester.network.near
    return tuple(near.get(root, root) for root in task.roots) == tuple(root for root, _ in right_outputs(task.manifest))


class NoWrongResult(Invariant):
    """What was accepted is what honest engines compute, unless a quorum of dishonest operators was drawn and stated one
    wrong answer together, and nobody else stated anything as often: no redundancy can tell that from the truth, so it
    is counted; with a referee, only where no honest operator stated anything else and stayed. Nor is a result wrong
    that was believed unchecked, as the policy `adaptive` has it, within its bound."""

    name = "no-wrong-result"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.draws = Draws(world)
        self.wrong_accepted: dict[bytes, None] = {}
        """Tasks that ended wrong with fewer than a quorum of colluders."""
        self.wrong_by_quorum: dict[bytes, None] = {}
        """Tasks that ended wrong with a quorum of them."""
        self.believed: dict[tuple[str, bytes, bytes], dict[bytes, None]] = {}
        """(requester, operator, kernel) -> tasks that ended wrong since that operator's word was taken unchecked."""

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        self.draws.on_event(node, event)
        if event.name == "job.done":
            self._check(event.fields["job"])  # type: ignore[arg-type]

    def at_end(self) -> None:
        for job in self.world.tasks:
            self._check(job)

    def _check(self, job: bytes) -> None:
        task = self.world.tasks[job]
        if not task.done or not task.requester.kind.honest or is_right(task):
            return
        if self.draws.overruled(job, task.roots):
            self.wrong_by_quorum[job] = None
            return
        if self._believed(task):
            return
        self.wrong_accepted[job] = None
        colluders = self.draws.colluders(job, task.roots)
        raise Violation(f"task {task.number} ended with a wrong result that {colluders} dishonest operators stated")

    def _believed(self, task: Task) -> bool:
        """Whether one operator's word was taken for it, as the policy allows: never for more tasks than lie between two
        checks; or a sample missed the blocks that were made up, which it does once in a hundred for a tenth of them."""
        core = task.requester.core
        job = core.requester.jobs.get(task.id) if core is not None else None
        if job is None or job.policy.scheme is Scheme.REPLICATE or job.checked:
            return False
        (replica,) = job.within("judged", "owed", "paying", "paid")
        if job.policy.scheme is Scheme.SAMPLE:
            site = self.world.network.nodes[replica.peer]
            return isinstance(site, Site) and set(task.roots) <= site.fakes.keys()
        tasks = self.believed.setdefault((task.requester.name, replica.operator, job.manifest.ptx_root), {})
        tasks[task.id] = None
        if len(tasks) > MILKED_MAX:
            raise Violation(f"{len(tasks)} wrong results of one operator were believed unchecked, not {MILKED_MAX}")
        return True


class NothingLeaks(Invariant):
    """An opening goes to the requester who asked for it and to nobody else, and no two commitments share a salt: who
    knew the salt could try what a commitment holds."""

    name = "nothing-leaks"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "character.spied":
            raise Violation(f"{node.name} got an opening that was none of its business")

    def at_end(self) -> None:
        salts: dict[bytes, bytes] = {}
        for node in self.world.providers:
            for record in of_kind(node, records.Committed) if node.kind.honest else ():
                if salts.setdefault(record.opening.salt, record.assignment) != record.assignment:
                    raise Violation(f"{node.name} used a salt for two commitments")


class LiarsAreOut(Invariant):
    """Whoever was outvoted, committed twice or opened what it had not committed to is banned by that requester there
    and then, and gets no further work: nothing is assigned to it afterwards."""

    name = "liars-are-out"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._outvoted: dict[tuple[str, bytes], int] = {}

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        key: tuple[str, bytes] = node.name, event.fields.get("operator", b"")  # type: ignore[assignment]
        caught = event.name == "job.lost" and event.fields["reason"] in CAUGHT
        if caught or (event.name == "job.verdict" and event.fields["judgement"] in ("OUTVOTED", "REFUTED")):
            self._outvoted.setdefault(key, now_ms)
            if node.kind.honest and node.core is not None and node.core.reputation.demerits(key[1]) >= 0:
                raise Violation(f"{node.name} caught an operator and does not ban it")
        elif event.name == "job.assigned" and self._outvoted.get(key, now_ms) < now_ms:
            raise Violation(f"an operator caught at {self._outvoted[key]} ms got more work at {now_ms} ms")


class GoodWorkCounts(Invariant):
    """Whoever was silent or failed is asked like others again when a result of it agrees: it rests no more (C5)."""

    name = "good-work-counts"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        agreed = event.name == "job.verdict" and event.fields["judgement"] in ("AGREED", "KERNEL_AT_FAULT")
        if not agreed or not node.kind.honest or node.core is None:
            return
        if node.core.reputation.rests(event.fields["operator"], node.now.mono_ms):  # type: ignore[arg-type]
            raise Violation(f"{node.name} has one rest whose result agreed just now")


class ColludersBounded(Invariant):
    """Where chance alone draws the replicas (all prices are equal), a gang gets no more wrong results accepted than
    999 in 1,000 worlds would let it, given its share of the operators that were not banned when each task came."""

    name = "colluders-bounded"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.draws = Draws(world)
        self.chances: dict[bytes, float] = {}
        """Task -> how likely the gang wins it."""
        self.won: dict[bytes, None] = {}

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        self.draws.on_event(node, event)
        if self.world.scenario.price_step or not node.kind.honest:
            return
        if event.name == "job.submitted":
            self.chances.setdefault(event.fields["job"], self._chance(node))  # type: ignore[arg-type]
        elif event.name == "job.done":
            job: bytes = event.fields["job"]  # type: ignore[assignment]
            colluders = self.draws.colluders(job, self.world.tasks[job].roots)
            if colluders >= self.world.scenario.work.quorum and not is_right(self.world.tasks[job]):
                self.won[job] = None

    def _chance(self, node: Site) -> float:
        banned = node.core.reputation.banned() if node.core is not None else {}
        kinds = [p.kind for p in self.world.providers if p.operator.public not in banned]
        work = self.world.scenario.work
        gang = sum(kind.colludes for kind in kinds)
        return win_chance(gang, gang + sum(kind.honest for kind in kinds), work.replicas, work.quorum)

    def at_end(self) -> None:
        most = wins_max(list(self.chances.values()))
        if not self.world.scenario.price_step and len(self.won) > most:
            raise Violation(f"colluders won {len(self.won)} of {len(self.chances)} tasks; chance gives them {most}")


def win_chance(gang: int, count: int, replicas: int, quorum: int) -> float:
    """How likely `gang` of `count` operators get a quorum before the others do, when they are drawn one by one: with
    2 * quorum - 1 drawn one side has it (hypergeometric; more replicas at once are more draws)."""
    drawn = min(count, max(replicas, 2 * quorum - 1))
    ways = math.comb(count, drawn)
    wins = sum(math.comb(gang, k) * math.comb(count - gang, drawn - k) for k in range(quorum, drawn + 1))
    return wins / ways


def wins_max(chances: Sequence[float], confidence: float = CONFIDENCE) -> int:
    """So many of independent games with these chances are won at the most, with that confidence (the distribution of
    Poisson's binomial, by convolution)."""
    distribution = [1.0]
    for chance in chances:
        lost = [p * (1 - chance) for p in distribution]
        won = [p * chance for p in distribution]
        distribution = [a + b for a, b in zip([*lost, 0.0], [0.0, *won])]
    total = 0.0
    for wins, p in enumerate(distribution):
        total += p
        if total >= confidence:
            return wins
    return len(chances)
