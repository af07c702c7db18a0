from __future__ import annotations

import random

from p2pcompute.node.company import JITTER, REDIAL_S_MAX, REDIAL_S_MIN, Backoff

ADDRESS = "/ip4/127.0.0.1/tcp/1"


def test_an_address_is_due_until_it_fails() -> None:
    backoff = Backoff(random.Random(1))
    assert backoff.is_due(ADDRESS, 0.0)
    assert backoff.failed(ADDRESS, 0.0) == 1
    assert not backoff.is_due(ADDRESS, REDIAL_S_MIN)
    assert backoff.is_due(ADDRESS, 2 * REDIAL_S_MIN * (1 + JITTER))


def test_pauses_grow_to_a_bound() -> None:
    backoff, now = Backoff(random.Random(2)), 0.0
    for _ in range(100):
        backoff.failed(ADDRESS, now)
    assert not backoff.is_due(ADDRESS, now + REDIAL_S_MAX * (1 - JITTER) - 0.001)
    assert backoff.is_due(ADDRESS, now + REDIAL_S_MAX * (1 + JITTER))


def test_success_clears_the_record() -> None:
    backoff = Backoff(random.Random(3))
    backoff.failed(ADDRESS, 0.0)
    backoff.succeeded(ADDRESS)
    assert backoff.is_due(ADDRESS, 0.0)
    assert backoff.failed(ADDRESS, 0.0) == 1


def test_pauses_of_two_nodes_differ() -> None:
    pauses = set()
    for seed in range(8):
        backoff = Backoff(random.Random(seed))
        backoff.failed(ADDRESS, 0.0)
        pauses.add(next(t / 1_000 for t in range(10_000) if backoff.is_due(ADDRESS, t / 1_000)))
    assert len(pauses) > 4
