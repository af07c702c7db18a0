from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import UsageError
from p2pcompute.node.sharing import Bounds, Sample, Sharer, When, Word, parse_when

NOON, NIGHT = 12 * 60, 23 * 60
BOUNDS = Bounds(resume_s=30)


def sharer(when: str = "idle", bounds: Bounds = BOUNDS) -> Sharer:
    return Sharer(parse_when(when), bounds)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("always", When(always=True)),
        ("idle", When(idle=True)),
        ("22:00-07:00", When(windows=((1320, 420),))),
        ("idle, 12:00-13:30,22:00-24:00", When(idle=True, windows=((720, 810), (1320, 1440)))),
    ],
)
def test_times_are_read(text: str, when: When) -> None:
    assert parse_when(text) == when


@pytest.mark.parametrize(
    "text", ["", "sometimes", "25:00-07:00", "7-9", "08:00-08:00", "00:00-24:01", "idle,", "1:00-2:00"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="when"):
        parse_when(text)


def test_too_many_times_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 16"):
        parse_when(",".join(["idle"] * 17))


def test_hours_may_span_midnight() -> None:
    when = parse_when("22:00-07:00")
    assert [when.is_hour(minute) for minute in (1319, 1320, 1439, 0, 419, 420)] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]


@given(begin=st.integers(0, 1439), length=st.integers(1, 1439), minute=st.integers(0, 1439))
def test_a_window_holds_as_many_minutes_as_it_spans(begin: int, length: int, minute: int) -> None:
    end = (begin + length) % 1440
    when = parse_when(f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}")
    assert when.is_hour(minute) == ((minute - begin) % 1440 < length)


def test_an_unused_machine_is_shared_at_once() -> None:
    assert sharer().look(Sample(0, NOON)) == Word(True)


@pytest.mark.parametrize(
    ("used", "why"),
    [
        (Sample(1_000, NOON, input_s=3.2), "its owner was there 3 s ago"),
        (Sample(1_000, NOON, strangers=2), "2 other processes use a GPU"),
        (Sample(1_000, NOON, gpu_percent=11), "others use 11 % of a GPU"),
        (Sample(1_000, NOON, cpu_percent=25.5), "others use 26 % of the processors"),
    ],
)
def test_use_ends_sharing_with_the_first_sample_and_rest_brings_it_back(used: Sample, why: str) -> None:
    judge = sharer()
    assert judge.look(Sample(500, NOON)).share
    assert judge.look(used) == Word(False, why)
    assert judge.look(Sample(1_500, NOON)) == Word(False, "quiet for less than 30 s")
    assert not judge.look(Sample(30_999, NOON)).share
    assert judge.look(Sample(31_000, NOON)) == Word(True)


def test_within_the_bounds_it_is_shared() -> None:
    quiet = Sample(0, NOON, cpu_percent=25.0, gpu_percent=10, strangers=0, input_s=300.0, celsius=99, watts=999)
    assert sharer().look(quiet).share


def test_use_does_not_count_in_hours_that_are_given() -> None:
    used = Sample(0, NIGHT, cpu_percent=90.0, strangers=1, input_s=0.0)
    assert sharer("22:00-07:00").look(used).share
    assert sharer("always").look(used).share
    assert sharer("idle,22:00-07:00").look(used).share
    assert sharer("22:00-07:00").look(Sample(0, NOON)) == Word(False, "it is not the hour")


def test_heat_and_power_count_at_any_hour() -> None:
    judge = sharer("always", Bounds(celsius_max=80, watts_max=300, resume_s=0))
    assert judge.look(Sample(0, NOON, celsius=80, watts=300)).share
    assert judge.look(Sample(1, NOON, celsius=81)) == Word(False, "a GPU has 81 degrees, more than 80")
    assert judge.look(Sample(2, NOON, watts=301, celsius=50)) == Word(False, "a GPU draws 301 W, more than 300")


def test_a_device_that_was_too_hot_cools_before_it_is_shared() -> None:
    judge = sharer("always", Bounds(celsius_max=80, resume_s=0))
    assert not judge.look(Sample(0, NOON, celsius=81)).share
    assert not judge.look(Sample(1, NOON, celsius=76)).share
    assert judge.look(Sample(2, NOON, celsius=75)).share
    assert judge.look(Sample(3, NOON, celsius=80)).share
