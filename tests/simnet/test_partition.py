"""A network in two halves, and what happens when it heals."""

from __future__ import annotations

from p2pcompute.protocol.commands import Publish
from simnet.links import Links
from simnet.scenario import Scenario, Work
from simnet.world import World

HALF = 6


def books(world: World) -> list[set[bytes]]:
    """Who each provider's book knows."""
    return [{x.peer for x in p.core.book.listings()} for p in world.providers if p.core is not None]


def partitioned(loss: float) -> World:
    """Two halves that never heard of each other, each with a full book of its own."""
    world = World(Scenario(providers=2 * HALF, work=Work(tasks=0), links=Links(loss=loss)), seed=3)
    one, two = world.providers[:HALF], world.providers[HALF:]
    for half in (one, two):
        for i, node in enumerate(half):
            node.bootstrap = [half[0].peer] if i else []
            node.start([Publish(world.terms(node, i))])
    world.wheel.run(8_000, lambda: False)
    assert books(world) == [{n.peer for n in one}] * HALF + [{n.peer for n in two}] * HALF
    return world


def heal_ms(world: World) -> int:
    """Virtual milliseconds from one new connection between the halves until all books are equal."""
    begin = world.wheel.now_ms
    world.network.connect(world.providers[2], world.providers[HALF + 3].peer, lambda up: None)
    everybody = {n.peer for n in world.providers}
    world.wheel.run(begin + 60_000, lambda: all(book == everybody for book in books(world)))
    return world.wheel.now_ms - begin


def test_books_converge_within_three_seconds_after_a_partition_heals() -> None:
    assert heal_ms(partitioned(0.0)) < 3_000


def test_books_converge_after_a_partition_heals_although_a_fifth_of_all_frames_is_lost() -> None:
    assert heal_ms(partitioned(0.2)) < 3_000


def test_a_newcomer_has_a_book_within_two_seconds() -> None:
    world = partitioned(0.2)
    newcomer = world.requester
    newcomer.bootstrap = [world.providers[1].peer]
    newcomer.start()
    begin = world.wheel.now_ms
    core = newcomer.core
    assert core is not None
    world.wheel.run(begin + 60_000, lambda: len(core.book) == HALF)
    assert world.wheel.now_ms - begin < 2_000
