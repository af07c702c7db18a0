"""Books under loss, among peers that swallow everything, and across a healed partition: over many seeds."""

from __future__ import annotations

import random

import pytest

from p2pcompute.protocol.commands import Publish
from simnet.characters.swindlers import BlackHole
from simnet.links import Links
from simnet.node import Node
from simnet.scenario import Scenario, Work
from simnet.world import World

CLEAN, LOSSY = Links(), Links(loss=0.2)
ROUGH = Links(loss=0.2, request_loss=0.1)
"""Requests vanish too, and answers: one exchange in five comes to nothing and is noticed only by its deadline."""
SEEDS = range(8)
SEEDS_NIGHTLY = range(8, 200)
JOINED_MS_MAX = 2_000
HEALED_MS_MAX = 3_000
ROUGH_MS_MAX = 40_000
"""A few deadlines in a row."""
END_MS = 60_000
QUIET_MS = 8_000
"""Long enough that nothing is on its way any more."""
WORLDS = pytest.mark.parametrize(("links", "holes"), [(CLEAN, True), (LOSSY, False), (LOSSY, True)])


def world(seed: int, count: int, links: Links, *, holes: bool) -> World:
    """Every other provider swallows what it gets, when `holes`."""
    made = World(Scenario(providers=count, work=Work(tasks=0), links=links), seed)
    for node in made.providers[1::2] if holes else ():
        node.kind = BlackHole
    return made


def honest(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.kind is not BlackHole]


def boot(made: World, nodes: list[Node], rng: random.Random) -> None:
    """Everyone knows three others by chance, and each honest one the honest one before it: they are connected."""
    before: list[bytes] = []
    for index, node in enumerate(nodes):
        node.bootstrap = [*before, *(other.peer for other in rng.sample(nodes, 3) if other is not node)]
        before = before if node.kind is BlackHole else [node.peer]
        node.start([Publish(made.terms(node, index))])


def level_ms(made: World, nodes: list[Node]) -> int:
    """Virtual milliseconds until the book of each of these holds the offers of all honest ones that are up."""
    offers = {node.peer for node in honest(made.providers) if node.up}
    begin = made.wheel.now_ms

    def level() -> bool:
        return all(node.core and offers <= {x.peer for x in node.core.book.listings()} for node in nodes)

    made.wheel.run(begin + END_MS, level)
    return made.wheel.now_ms - begin


def deliver_ms(seed: int, links: Links, *, holes: bool) -> int:
    made = world(seed, 16, links, holes=holes)
    boot(made, made.providers, random.Random(seed))
    return level_ms(made, honest(made.providers))


def join_ms(seed: int, links: Links, *, holes: bool) -> int:
    """A newcomer that knows four peers, half of them holes where there are any."""
    made, rng = world(seed, 16, links, holes=holes), random.Random(seed)
    boot(made, made.providers, rng)
    level_ms(made, honest(made.providers))
    made.wheel.run(made.wheel.now_ms + QUIET_MS, lambda: False)
    others = [node for node in made.providers if node.kind is BlackHole]
    known = [*rng.sample(honest(made.providers), 2), *rng.sample(others, min(2, len(others)))]
    made.requester.bootstrap = [node.peer for node in known]
    made.requester.start()
    return level_ms(made, [made.requester])


def heal_ms(seed: int, links: Links, *, holes: bool) -> int:
    """Two halves that never heard of each other, and one new connection between them."""
    made, rng = world(seed, 24, links, holes=holes), random.Random(seed)
    one, two = made.providers[:12], made.providers[12:]
    for half in (one, two):
        boot(made, half, rng)
    made.wheel.run(2 * QUIET_MS, lambda: False)
    made.network.connect(rng.choice(honest(one)), rng.choice(honest(two)).peer, lambda up: None)
    return level_ms(made, honest(made.providers))


@WORLDS
@pytest.mark.parametrize("seed", SEEDS)
def test_every_offer_reaches_every_book(seed: int, links: Links, holes: bool) -> None:
    assert deliver_ms(seed, links, holes=holes) < HEALED_MS_MAX


@WORLDS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_newcomer_has_the_whole_book_within_two_seconds(seed: int, links: Links, holes: bool) -> None:
    assert join_ms(seed, links, holes=holes) < JOINED_MS_MAX


@WORLDS
@pytest.mark.parametrize("seed", SEEDS)
def test_books_are_equal_within_three_seconds_after_a_partition_heals(seed: int, links: Links, holes: bool) -> None:
    assert heal_ms(seed, links, holes=holes) < HEALED_MS_MAX


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_for_good_when_requests_vanish_too(seed: int) -> None:
    assert deliver_ms(seed, ROUGH, holes=True) < ROUGH_MS_MAX
    assert heal_ms(seed, ROUGH, holes=True) < ROUGH_MS_MAX


@pytest.mark.nightly
@WORLDS
def test_the_same_over_many_seeds(links: Links, holes: bool) -> None:
    slow = [
        (name, seed, took_ms)
        for seed in SEEDS_NIGHTLY
        for name, measure, most_ms in (
            ("deliver", deliver_ms, HEALED_MS_MAX),
            ("join", join_ms, JOINED_MS_MAX),
            ("heal", heal_ms, HEALED_MS_MAX),
        )
        if (took_ms := measure(seed, links, holes=holes)) >= most_ms
    ]
    assert slow == []
