"""How far up from the cheapest a requester looks."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import reach
from p2pcompute.protocol.reach import Reach, Reaches
from p2pcompute.wire import limits


def test_with_everybody_free_only_the_cheapest_are_asked() -> None:
    one = Reach()
    for _ in range(20):
        one.learn(16, 16, 2, 1_000)
    assert one.window == limits.PROBES_MAX
    assert one.probes(2) == limits.PROBES_MAX


def test_fruitless_rounds_widen_the_window_to_all_there_are_and_more_are_asked() -> None:
    one = Reach()
    for _ in range(40):
        one.learn(16, 0, 2, 1_000)
    assert one.window == 1_000
    assert one.probes(2) == limits.PROBES_BUSY_MAX


def test_the_window_settles_where_some_of_those_asked_are_free() -> None:
    """The cheapest 600 of 1,000 are busy but for one in ten; all others are free."""
    rng, one, widths = random.Random(1), Reach(), list[int]()
    for _ in range(400):
        asked = [rng.randrange(one.window) for _ in range(one.probes(2))]
        one.learn(len(asked), sum(rng.random() < 0.1 if rank < 600 else True for rank in asked), 2, 1_000)
        widths.append(one.window)
    assert 500 < sum(widths[100:]) / 300 < 900


@given(
    st.lists(st.tuples(st.integers(1, 48), st.integers(0, 48), st.integers(1, 16), st.integers(0, 10**6)), max_size=50)
)
def test_bounds_hold_whatever_the_rounds_say(rounds: list[tuple[int, int, int, int]]) -> None:
    one = Reach()
    for asked, quotes, wanted, known in rounds:
        one.learn(asked, min(asked, quotes), wanted, known)
        assert one.window >= limits.PROBES_MAX
        assert limits.PROBES_MAX <= one.probes(wanted) <= limits.PROBES_BUSY_MAX


def test_each_class_has_its_own_and_the_oldest_is_forgotten() -> None:
    known = Reaches()
    known.of("cpu", "").widen(1_000)
    assert known.of("cpu", "").window > limits.PROBES_MAX == known.of("cuda", "").window
    for number in range(reach.CLASSES_MAX):
        known.of("cuda", str(number))
    assert known.of("cpu", "").window == limits.PROBES_MAX


def test_silence_teaches_nothing() -> None:
    reach = Reach()
    for _ in range(20):
        reach.learn(0, 0, 3, 1_000)
    assert (reach.window, reach.probes(3)) == (Reach().window, Reach().probes(3))
