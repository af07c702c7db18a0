"""What a world looked like over time: the numbers behind a report."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pcompute.protocol.machine import Emit
from simnet.site import Site
from simnet.world import World

SECOND_MS: Final = 1_000


class Sample(msgspec.Struct, frozen=True):
    """The world in one virtual second. `known` is how much of what honest nodes should know they know: 1 when every
    book of a node that is up holds the offer of every honest provider that is up."""

    at_ms: int
    up: int
    bytes_out: int
    known: float
    waiting: int


class Recorder:
    """Attach it before the world runs; read it after."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.samples: list[Sample] = []
        self.deliveries_ms: list[int] = []
        """From the moment in which a provider publishes a first offer until another node has it."""
        self.prices: list[tuple[int, int]] = []
        """(when, micro-credits per device-second) of every assignment."""
        self.device_us = 0
        """All that engines computed and providers committed to."""
        self._published_ms: dict[object, int] = {}
        self._sent = 0
        world.observers.append(self._on_event)
        world.schedule(SECOND_MS, self._on_second)

    def _on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "offer.new":
            peer = event.fields["peer"]
            if peer == node.peer:
                self._published_ms.setdefault(peer, now_ms)
            elif peer in self._published_ms:
                self.deliveries_ms.append(now_ms - self._published_ms[peer])
        elif event.name == "job.assigned":
            self.prices.append((now_ms, int(str(event.fields["price_per_device_s"]))))
        elif event.name == "provider.committed":
            self.device_us += int(str(event.fields["device_us"]))

    def _on_second(self) -> None:
        world = self._world
        up = [node for node in world.nodes if node.core is not None]
        wanted = {node.peer for node in up if node.terms is not None and node.kind.honest}
        honest = [node.core for node in up if node.kind.honest and node.core is not None]
        known = sum(len(wanted.intersection(x.peer for x in core.book.listings())) for core in honest)
        sent = sum(node.bytes_out for node in world.nodes)
        self.samples.append(
            Sample(
                at_ms=world.wheel.now_ms,
                up=len(up),
                bytes_out=sent - self._sent,
                known=known / max(1, len(wanted) * len(honest)),
                waiting=sum(task.ended_ms < 0 for task in world.tasks.values()),
            )
        )
        self._sent = sent
        world.schedule(world.wheel.now_ms + SECOND_MS, self._on_second)

    @property
    def cost(self) -> float:
        """What was computed, over what one honest run of every accepted task takes: what believing costs."""
        needed_ms = sum(task.requester.work_ms(task.manifest) for task in self._world.tasks.values() if task.done)
        return self.device_us / (1_000 * needed_ms) if needed_ms else 0.0


def percentile(values: list[int], share: float) -> int:
    """The value below which this share of them lies; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0
