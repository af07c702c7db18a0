from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.cli.money import format_bytes, format_credits, parse_bytes, parse_credits
from p2pcompute.errors import UsageError


@given(st.integers(0, 10**15))
def test_every_amount_survives_writing_and_reading(micro: int) -> None:
    assert parse_credits(format_credits(micro)) == micro


@pytest.mark.parametrize(("text", "micro"), [("1.25", 1_250_000), ("0", 0), ("0.000001", 1), ("1e3", 10**9)])
def test_credits_become_whole_micro_credits(text: str, micro: int) -> None:
    assert parse_credits(text) == micro


@pytest.mark.parametrize("text", ["", "abc", "-1", "0.0000001", "NaN", "Infinity", "1e30", "1,5"])
def test_what_is_no_amount_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_credits(text)


@pytest.mark.parametrize(("text", "size"), [("64MiB", 2**26), ("4 GiB", 2**32), ("1000", 1000), ("2kb", 2000)])
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5GiB", "-1", "4 parsecs"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bytes(text)


def test_sizes_are_written_in_the_largest_fitting_unit() -> None:
    assert [format_bytes(n) for n in (5, 2048, 2**32)] == ["5 B", "2.0 KiB", "4.0 GiB"]
