"""Own evidence only: silence pushes down until it is forgiven, a wrong result ends business."""

from __future__ import annotations

import pytest

from p2pcompute.protocol import reputation
from p2pcompute.protocol.reputation import Reputation


def test_silence_adds_up_to_a_bound_and_good_work_halves_it() -> None:
    r = Reputation()
    for _ in range(reputation.SILENCE_DEMERITS_MAX + 9):
        r.slow(b"o", 0)
    assert r.demerits(b"o") == reputation.SILENCE_DEMERITS_MAX
    r.good(b"o")
    assert r.demerits(b"o") == reputation.SILENCE_DEMERITS_MAX // 2


def test_an_unknown_operator_has_no_demerits_and_praise_buys_none() -> None:
    r = Reputation()
    r.good(b"o")
    assert r.demerits(b"o") == 0


def test_a_ban_lasts_until_it_is_lifted() -> None:
    r = Reputation()
    r.ban(b"o", "lied")
    r.good(b"o")
    assert r.demerits(b"o") == -1
    assert r.banned() == {b"o": "lied"}
    assert [r.pardon(b"o"), r.pardon(b"o"), r.demerits(b"o")] == [True, False, 0]


def test_the_operator_longest_unheard_of_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reputation, "OPERATORS_MAX", 2)
    r = Reputation()
    for operator in (b"a", b"b", b"a", b"c"):
        r.slow(operator, 0)
    assert [r.demerits(o) for o in (b"a", b"b", b"c")] == [2, 0, 1]


def test_who_goes_silent_rests_ever_longer_until_it_does_good_work() -> None:
    r = Reputation()
    r.slow(b"o", 1_000)
    assert [r.rests(b"o", ms) for ms in (1_000, 15_999, 16_000)] == [True, True, False]
    r.slow(b"o", 20_000)
    assert [r.rests(b"o", ms) for ms in (49_999, 50_000)] == [True, False]
    for _ in range(50):
        r.slow(b"o", 100_000)
    assert [r.rests(b"o", ms) for ms in (699_999, 700_000)] == [True, False]
    r.good(b"o")
    assert not r.rests(b"o", 100_000)
    assert not r.rests(b"stranger", 0)


def test_demerits_halve_with_every_half_life_without_a_further_one() -> None:
    r, half = Reputation(), reputation.HALF_LIFE_MS
    for _ in range(5):
        r.slow(b"o", 0)
    r.fade(half - 1)
    assert r.demerits(b"o") == 5
    counts = []
    for n in range(1, 5):
        r.fade(n * half)
        counts.append(r.demerits(b"o"))
    assert counts == [2, 1, 0, 0]


def test_a_further_demerit_begins_the_half_life_anew_and_leaves_others_theirs() -> None:
    r, half = Reputation(), reputation.HALF_LIFE_MS
    for operator in (b"a", b"a", b"b", b"b"):
        r.slow(operator, 0)
    r.slow(b"a", half - 1)
    r.fade(half)
    assert [r.demerits(o) for o in (b"a", b"b")] == [3, 1]
    r.fade(2 * half - 1)
    assert [r.demerits(o) for o in (b"a", b"b")] == [1, 1]


def test_time_lifts_no_ban() -> None:
    r = Reputation()
    r.slow(b"o", 0)
    r.ban(b"o", "lied")
    for n in range(100):
        r.fade(n * reputation.HALF_LIFE_MS)
    assert r.demerits(b"o") == -1
