"""Who was drawn for each task, and who of them stated what: what the bound on wrong results is measured by."""

from __future__ import annotations

from p2pcompute.protocol import pricing
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire.manifest import decode_manifest
from simnet.site import Site
from simnet.world import DEVICE_MS, Task, World

Roots = tuple[bytes, ...]


class Draws:
    """Feed it every event; it takes those that came before from the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.operators = {site.operator.public: site for site in world.nodes}
        self._assigned: dict[bytes, dict[bytes, None]] = {}
        self._stated: dict[bytes, dict[Roots, dict[bytes, None]]] = {}
        self._lost: dict[tuple[bytes, bytes], None] = {}
        """(task, operator) whose replica was lost after it stated something."""
        names = {site.name: site for site in world.nodes}
        for _, name, event, fields in world.events:
            self.on_event(names[name], Emit(event, fields))

    def on_event(self, node: Site, event: Emit) -> None:
        """A node said something."""
        if event.name == "job.assigned":
            job, operator = _of(event)
            self._assigned.setdefault(job, {})[operator] = None
        elif event.name == "job.revealed":
            job, operator = _of(event)
            roots: Roots = event.fields["roots"]  # type: ignore[assignment]
            self._stated.setdefault(job, {}).setdefault(roots, {})[operator] = None
            self._lost.pop((job, operator), None)
        elif event.name == "job.lost":
            self._lost[_of(event)] = None

    def _is_honest(self, operator: bytes) -> bool:
        site = self.operators.get(operator)
        return site is not None and site.kind.honest

    def dishonest(self, job: bytes) -> int:
        """How many dishonest operators were drawn."""
        return sum(not self._is_honest(one) for one in self._assigned.get(job, ()))

    def colluders(self, job: bytes, roots: Roots) -> int:
        """How many dishonest operators stated this together."""
        return sum(not self._is_honest(one) for one in self._stated.get(job, {}).get(roots, ()))

    def stated(self, job: bytes) -> dict[Roots, dict[bytes, None]]:
        """What was stated, and by which operators."""
        return self._stated.get(job, {})

    def overruled(self, job: bytes, roots: Roots) -> bool:
        """Whether a quorum of colluders stated this together, and more of them than stated anything else: then the
        policy has it that they are right. With a referee one honest replica is enough that they are not."""
        if self._world.scenario.work.referee and self.opposed(job, roots):
            return False
        colluders = self.colluders(job, roots)
        others = [len(operators) for stated, operators in self.stated(job).items() if stated != roots]
        return colluders >= self._world.scenario.work.quorum and colluders > max(others, default=0)

    def opposed(self, job: bytes, roots: Roots) -> bool:
        """Whether an honest operator stated another result and stayed. That the kernel failed, which has no roots, no
        referee decides (V30)."""
        return any(
            self._is_honest(one) and (job, one) not in self._lost
            for stated, operators in self.stated(job).items()
            if stated and stated != roots
            for one in operators
        )

    def undermined(self, job: bytes) -> bool:
        """Whether a quorum of dishonest operators was drawn: then the policy promises nothing."""
        return self.dishonest(job) >= self._world.scenario.work.quorum

    def convicting(self, job: bytes) -> bool:
        """Whether colluders overruled the others, and may have had honest peers banned."""
        return any(self.overruled(job, roots) for roots in self.stated(job))


def is_feasible(world: World, task: Task) -> bool:
    """Whether honest providers can do a task for what its user pays: enough of them, cheap enough, and every replica's
    ceiling within the budget."""
    work = world.scenario.work
    offers = [site.terms for site in world.providers if site.kind.honest and site.terms is not None]
    offers = [o for o in offers if not work.price_max or o.price_per_device_s <= work.price_max]
    if len(offers) < work.quorum:
        return False
    moved = pricing.traffic_bytes(decode_manifest(task.manifest), len(task.manifest), with_outputs=True)
    ceilings = [pricing.price_ceiling(o, DEVICE_MS, moved) for o in offers]
    return max(ceilings) * work.replicas <= work.budget


def _of(event: Emit) -> tuple[bytes, bytes]:
    job, operator = event.fields["job"], event.fields["operator"]
    assert isinstance(job, bytes)
    assert isinstance(operator, bytes)
    return job, operator
