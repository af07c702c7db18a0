"""A network larger than a shard: where its peers go, what their books hold, and that buyers find who sells."""

from __future__ import annotations

import pytest

from p2pcompute.protocol import shards
from p2pcompute.protocol.shards import WHOLE, Shard, shard_of
from simnet.invariants import Watch
from simnet.scenario import Scenario, Work
from simnet.virtual import VirtualWorld
from simnet.world import World

CHECKS = ("no-task-lost", "liveness", "no-wrong-result", "no-double-booking", "paid-once")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at eight offers."""
    monkeypatch.setattr(shards, "SHARD_OFFERS_MAX", 8)
    monkeypatch.setattr(shards, "SHARD_OFFERS_MIN", 2)


def grown(kind: type[World] = World, providers: int = 24, **changes: object) -> World:
    scenario = Scenario(
        providers=providers,
        acquaintances=3,
        checks=CHECKS,
        until_ms=60_000,
        linger_ms=20_000,
        work=Work(tasks=4, first_ms=15_000, every_ms=1_000),
        **changes,  # type: ignore[arg-type]
    )
    world = kind(scenario, 1, hashing=True)
    watch = Watch(world)
    world.run()
    watch.end()
    return world


def test_sellers_part_into_shards_whose_offers_they_all_hold_and_tasks_are_done() -> None:
    world = grown()
    homes: dict[Shard, list[bytes]] = {}
    for node in world.providers:
        assert node.core is not None
        assert node.core.home is not None
        assert node.core.home == shard_of(node.peer, node.core.home.depth) != WHOLE
        homes.setdefault(node.core.home, []).append(node.peer)
    assert max(map(len, homes.values())) <= 8
    for node in world.providers:
        assert node.core is not None
        assert node.core.home is not None
        missing = [peer for peer in homes[node.core.home] if node.core.book.get(peer) is None]
        assert missing == [], node.name
    assert all(task.done for task in world.tasks.values())


def test_who_sells_nothing_keeps_no_shard_and_finds_providers_all_the_same() -> None:
    world = grown()
    core = world.requester.core
    assert core is not None
    assert core.home is None
    assert len(core.book) > 0, "candidates were pulled"


def test_both_drivers_see_the_same_network() -> None:
    assert grown(providers=16).trace.digest() == grown(VirtualWorld, providers=16).trace.digest()
