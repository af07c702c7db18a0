from __future__ import annotations

import pytest

from p2pcompute.client.quoting import estimate
from p2pcompute.errors import NoPeersError, UsageError


def row(peer: str, price: int, operator: str = "", **more: int) -> dict[str, object]:
    terms = {"price_minimum": 0, "memory_bytes": 2**30, "device_ms_max": 60_000, **more}
    return {"peer": peer, "operator": operator or peer, "price_per_device_s": price, **terms}


def quote(*rows: dict[str, object], replicas: int = 2, memory_bytes: int = 1) -> tuple[int, int, tuple[str, ...]]:
    found = estimate(rows, replicas=replicas, expected_s=2.0, limit_s=10.0, memory_bytes=memory_bytes)
    return found.expected, found.worst, found.providers


def test_the_cheapest_distinct_operators_are_counted() -> None:
    rows = (row("c", 30), row("a", 10, "same"), row("b", 20, "same"))
    assert quote(*rows) == (2 * 10 + 2 * 30, 10 * 10 + 10 * 30, ("a", "c"))


def test_a_minimum_price_counts_when_it_is_higher() -> None:
    assert quote(row("a", 10, price_minimum=50), replicas=1) == (50, 100, ("a",))


def test_who_cannot_hold_the_job_is_left_out() -> None:
    rows = (row("small", 1, memory_bytes=10), row("short", 1, device_ms_max=9_999), row("fits", 5))
    assert quote(*rows, replicas=1, memory_bytes=11)[2] == ("fits",)


def test_too_few_operators_are_told() -> None:
    with pytest.raises(NoPeersError, match="of 2 offers 2 fit, of 1 distinct operators; 2 are needed"):
        quote(row("a", 1, "same"), row("b", 1, "same"))


@pytest.mark.parametrize(("replicas", "expected_s"), [(0, 1.0), (17, 1.0), (1, 0.0), (1, 11.0)])
def test_a_senseless_question_is_a_usage_error(replicas: int, expected_s: float) -> None:
    with pytest.raises(UsageError):
        estimate([row("a", 1)], replicas=replicas, expected_s=expected_s, limit_s=10.0, memory_bytes=1)
