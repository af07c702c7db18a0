"""A peer may cause so much work and no more."""

from __future__ import annotations

import pytest

from p2pcompute.protocol import budget
from p2pcompute.protocol.budget import BURST, RATE_PER_S, Budget
from p2pcompute.protocol.machine import Now


def spend(b: Budget, mono_ms: int, peer: bytes, times: int) -> int:
    """How many of so many tries are granted."""
    return sum(b.spend(Now(mono_ms, 0), peer) for _ in range(times))


def test_a_burst_is_granted_and_then_the_rate() -> None:
    b = Budget()
    assert spend(b, 0, b"p", BURST + 50) == BURST
    assert spend(b, 1_000, b"p", RATE_PER_S + 50) == RATE_PER_S


def test_tokens_do_not_pile_up_above_the_burst() -> None:
    b = Budget()
    spend(b, 0, b"p", BURST)
    assert spend(b, 10**9, b"p", 2 * BURST) == BURST


def test_refused_tries_cost_nothing() -> None:
    b = Budget()
    spend(b, 0, b"p", 10 * BURST)
    assert spend(b, 1_000 // RATE_PER_S, b"p", 5) == 1


def test_one_peers_flood_is_not_held_against_another() -> None:
    b = Budget()
    spend(b, 0, b"p", 2 * BURST)
    assert spend(b, 0, b"q", 5) == 5


def test_the_peer_unheard_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "PEERS_MAX", 2)
    b = Budget()
    for peer in (b"a", b"b"):
        spend(b, 0, peer, BURST)
    b.spend(Now(0, 0), b"a")
    b.spend(Now(0, 0), b"c")
    assert [spend(b, 0, peer, 1) for peer in (b"a", b"b")] == [0, 1]
