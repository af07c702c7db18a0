"""A simulated market of many providers and steady demand: how soon tasks are matched, how many are not, and what they
pay beside what an all-knowing broker would make them pay."""

from __future__ import annotations

import dataclasses
import gc
import heapq
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import decode_manifest, encode_manifest
from simnet.scenario import Scenario, Work
from simnet.site import Site
from simnet.world import World
from tests.bench.settled import settle

REPLICAS: Final = 2
RUN_MS: Final = (9_000, 27_000)
"""A run takes this long at the least and at the most, 18 s on average."""
PRICE: Final = 10_000_000
PRICE_SIGMA: Final = 0.25
"""Prices are log-normal: two thirds lie within a quarter of 10 credits a device-second."""
BUYERS: Final = 100
JOIN_MS: Final = 8_000
"""Until everybody is connected and the meshes have grown."""
PATIENCE_MS: Final = 5_000
"""Who has not all replicas at work after this time is unmatched."""
CREDIT: Final = 10**13


@dataclasses.dataclass(slots=True)
class Purchase:
    """What became of one task: when its replicas were assigned, and at which prices per device-second."""

    number: int
    load: float
    at_ms: int
    run_ms: int
    assigned_ms: list[int] = dataclasses.field(default_factory=list)
    prices: list[int] = dataclasses.field(default_factory=list)

    @property
    def matched_ms(self) -> int | None:
        """From its submission until all replicas were assigned; None when that took longer than anybody waits."""
        if len(self.assigned_ms) < REPLICAS:
            return None
        took_ms = self.assigned_ms[REPLICAS - 1] - self.at_ms
        return took_ms if took_ms <= PATIENCE_MS else None


class Phase(NamedTuple):
    """Demand of one strength: a share of what all providers can do, for so long before it counts, then counted."""

    load: float
    warm_ms: int
    counted_ms: int


class Market(World):
    """Every provider has one slot and a price of its own; buyers come as a Poisson process and ask for two replicas."""

    def __init__(self, providers: int, phases: Sequence[Phase], *, buyers: int = BUYERS, seed: int = 1) -> None:
        work = Work(tasks=0, run_ms_min=RUN_MS[0], run_ms_max=RUN_MS[1], output_kb=1)
        scenario = Scenario(
            providers=providers,
            requesters=buyers,
            acquaintances=4,
            slots=1,
            credit=CREDIT,
            credit_first=CREDIT,
            credit_strangers=CREDIT,
            until_ms=JOIN_MS + sum(p.warm_ms + p.counted_ms for p in phases) + PATIENCE_MS,
            work=work,
        )
        self.prices = [_price(seed, i) for i in range(providers)]
        super().__init__(scenario, seed, keep_events=False)
        self.phases = tuple(phases)
        self.arrivals = _arrivals(random.Random(f"market/{seed}"), providers, phases)
        self.purchases: dict[bytes, Purchase] = {}
        self.probes = 0
        self.observers.append(self._note)

    def start(self) -> None:
        """The providers are settled; then come the buyers."""
        settle(self)
        gc.collect()
        gc.freeze()  # what lasts as long as the world is not looked through again and again for garbage
        for i, node in enumerate(self.requesters):
            self.schedule(i * JOIN_MS // 2 // len(self.requesters), self.boot, node)
        for number, (at_ms, _) in enumerate(self.arrivals):
            self.schedule(at_ms, self._buy, number)

    def settled(self) -> bool:
        """The time is over when it is over."""
        return False

    def terms(self, node: Site, number: int) -> d.Offer:
        """The n-th provider's offer."""
        return msgspec.structs.replace(super().terms(node, number), price_per_device_s=self.prices[number])

    def manifest(self, number: int) -> bytes:
        """The n-th task: one that may run as long as the longest does."""
        manifest = decode_manifest(super().manifest(number))
        return encode_manifest(msgspec.structs.replace(manifest, device_ms_max=RUN_MS[1]))

    def _buy(self, number: int) -> None:
        before = len(self.tasks)
        self._submit(number)
        if len(self.tasks) > before:
            task = next(reversed(self.tasks.values()))
            run_ms = task.requester.work_ms(task.manifest)
            self.purchases[task.id] = Purchase(number, self.arrivals[number][1], self.wheel.now_ms, run_ms)

    def _note(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.assigned":
            purchase = self.purchases[event.fields["job"]]  # type: ignore[index]
            if len(purchase.prices) < REPLICAS:
                purchase.assigned_ms.append(now_ms)
                purchase.prices.append(int(str(event.fields["price_per_device_s"])))
        elif event.name == "job.probing":
            self.probes += len(event.fields["peers"])  # type: ignore[arg-type]

    def counted(self, load: float) -> list[Purchase]:
        """The purchases of one strength of demand, without those that came while it was new."""
        begin_ms = JOIN_MS
        for phase in self.phases:
            if phase.load == load:
                first_ms = begin_ms + phase.warm_ms
                bought = self.purchases.values()
                return [p for p in bought if first_ms <= p.at_ms < begin_ms + phase.warm_ms + phase.counted_ms]
            begin_ms += phase.warm_ms + phase.counted_ms
        raise KeyError(load)

    def brokered(self) -> dict[int, list[int]]:
        """Task number -> the prices that an all-knowing broker would have had it pay: the same tasks come at the same
        time and run as long, and each gets the cheapest providers that are free, at once."""
        free = sorted(self.prices)
        heapq.heapify(free)
        busy: list[tuple[int, int]] = []
        paid: dict[int, list[int]] = {}
        for purchase in self.purchases.values():
            while busy and busy[0][0] <= purchase.at_ms:
                heapq.heappush(free, heapq.heappop(busy)[1])
            paid[purchase.number] = [heapq.heappop(free) for _ in range(min(REPLICAS, len(free)))]
            for price in paid[purchase.number]:
                heapq.heappush(busy, (purchase.at_ms + purchase.run_ms, price))
        return paid

    def price_excess(self, load: float) -> float:
        """How much more was paid on average than the broker's buyers pay, as a share of that."""
        paid, brokered = self.counted(load), self.brokered()
        prices = [price for p in paid if p.matched_ms is not None for price in p.prices]
        best = [price for p in paid for price in brokered[p.number]]
        return (sum(prices) / len(prices)) / (sum(best) / len(best)) - 1


def _price(seed: int, number: int) -> int:
    return int(PRICE * random.Random(f"{seed}/price/{number}").lognormvariate(0, PRICE_SIGMA))


def _arrivals(rng: random.Random, providers: int, phases: Sequence[Phase]) -> list[tuple[int, float]]:
    """When tasks come, and with how strong a demand."""
    times: list[tuple[int, float]] = []
    at_ms = end_ms = float(JOIN_MS)
    for phase in phases:
        end_ms += phase.warm_ms + phase.counted_ms
        mean_ms = sum(RUN_MS) / 2 * REPLICAS / (phase.load * providers)
        while at_ms < end_ms:
            times.append((int(at_ms), phase.load))
            at_ms += rng.expovariate(1 / mean_ms)
    return times
