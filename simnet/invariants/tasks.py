"""Tasks: none is lost, none waits for ever, none costs more than it may."""

from __future__ import annotations

from typing import Final

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Emit
from simnet.invariants.base import Invariant, Violation, of_kind, opened, written
from simnet.invariants.draws import Draws, is_feasible
from simnet.site import TRAPPED, Site, traps
from simnet.world import Task, World

LIVE_MS: Final = 90_000
"""A replica that commits to nothing holds a task up until its `commit_by`, 65 s after the assignment."""


class _WithDraws(Invariant):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.draws = Draws(world)

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        self.draws.on_event(node, event)

    def excused(self, task: Task) -> bool:
        """Whether nobody can hold it against the protocol that a task fails."""
        return task.stopped_ms >= 0 or not is_feasible(self.world, task) or self.draws.undermined(task.id)


class NoTaskLost(_WithDraws):
    """Every task ends, and well: the faults are over in time, and honest providers can do it. Only a task that its user
    stopped, or for which a quorum of dishonest operators was drawn, may fail; and one whose kernel traps on every
    machine has to, with the words of a machine that was right."""

    name = "no-task-lost"

    def at_end(self) -> None:
        for task in self.world.tasks.values():
            if not task.requester.kind.honest:
                continue
            if task.ended_ms < 0:
                raise Violation(f"task {task.number} of {task.requester.name} never ended")
            if not task.done and not self.excused(task) and not self._has_to_fail(task):
                raise Violation(f"task {task.number} of {task.requester.name} failed: {task.error or 'unknown'}")

    def _has_to_fail(self, task: Task) -> bool:
        """Under the policy sample the words are an inspection's, which a crash forgets."""
        words = (TRAPPED, "the kernel ended in a trap") if self.world.scenario.work.samples else (TRAPPED,)
        return traps(task.manifest) and task.error in words


class NoAcknowledgedTaskLost(Invariant):
    """A task that was once in its requester's journal is known to the requester whenever it is up, and is over there
    exactly when the journal says so."""

    name = "no-acknowledged-task-lost"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._acknowledged: dict[tuple[str, bytes], None] = {}

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "node.crashed":
            self._look(node)

    def on_second(self, now_ms: int) -> None:
        for node in self.world.requesters:
            self._look(node)

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    def _look(self, node: Site) -> None:
        if not node.kind.honest:
            return
        self._acknowledged |= {(node.name, record.job): None for record in of_kind(node, records.JobSubmitted)}
        if node.core is None:
            return
        over = {record.job for record in written(node, records.JobEnded)}
        for name, job in self._acknowledged:
            if name != node.name:
                continue
            held = node.core.requester.jobs.get(job)
            if held is None:
                raise Violation(f"{name} took a task on and does not know it any more")
            if held.over != (job in over):
                raise Violation(f"{name} takes a task for {held.state}, and its journal says otherwise")


class Liveness(_WithDraws):
    """Once the faults are over, whatever can be done is done in time."""

    name = "liveness"

    def on_second(self, now_ms: int) -> None:
        for task in self.world.tasks.values():
            since_ms = max(task.submitted_ms, self.world.calm_ms)
            took_ms = (now_ms if task.ended_ms < 0 else task.ended_ms) - since_ms
            if task.requester.kind.honest and took_ms > LIVE_MS and not self.excused(task):
                raise Violation(f"task {task.number} took {took_ms} ms after the last fault, more than {LIVE_MS}")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


class StopIsFinal(Invariant):
    """A task that its user stopped ends, and nobody new is set to work for it."""

    name = "stop-is-final"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.assigned":
            task = self.world.tasks.get(event.fields["job"])  # type: ignore[call-overload]
            if task is not None and 0 <= task.stopped_ms < now_ms and task.requester.kind.honest:
                raise Violation(f"task {task.number} was stopped at {task.stopped_ms} ms and assigned at {now_ms} ms")

    def at_end(self) -> None:
        for task in self.world.tasks.values():
            if task.stopped_ms >= 0 and task.requester.kind.honest and task.requester.up and task.ended_ms < 0:
                raise Violation(f"task {task.number} was stopped at {task.stopped_ms} ms and goes on")


class WithinBudget(Invariant):
    """What the replicas of a task can cost at the most is within its budget, nobody dearer than its user allowed or
    other than those it named is set to work, and no two replicas at work are one operator's."""

    name = "within-budget"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.assigned" and node.kind.honest:
            self._check(node, event.fields["job"])  # type: ignore[arg-type]

    def at_end(self) -> None:
        for task in self.world.tasks.values():
            if task.requester.kind.honest:
                self._check(task.requester, task.id)

    def _check(self, node: Site, job: bytes) -> None:
        work = self.world.scenario.work
        lost = {record.assignment for record in written(node, records.ReplicaLost)}
        ceilings, operators = 0, set[bytes]()
        for record in written(node, records.Assigned):
            assignment = opened(record.assignment)
            if record.job != job or assignment.id in lost:
                continue
            if record.operator in operators:
                raise Violation(f"{node.name} set one operator to work twice on one task")
            operators.add(record.operator)
            if self.world.named and record.operator not in self.world.named:
                raise Violation(f"{node.name} set somebody to work on a task for others")
            ceilings += assignment.body.price_ceiling
            if 0 < work.price_max < assignment.body.price_per_device_s:
                raise Violation(f"{node.name} assigned at {assignment.body.price_per_device_s}, above {work.price_max}")
        if ceilings > work.budget:
            raise Violation(f"{node.name} bound itself to {ceilings} for one task, its budget is {work.budget}")
