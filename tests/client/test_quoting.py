from __future__ import annotations

import msgspec
import pytest

from p2pcompute.client.quoting import estimate
from p2pcompute.errors import NoPeersError, UsageError
from p2pcompute.identity import names
from p2pcompute.protocol.matching import ANYBODY, Needs, RankBy
from tests.protocol.stage import key_of, terms


def row(name: str, price: int, operator: str = "", **more: object) -> dict[str, object]:
    """A row of the book, as a node gives it."""
    body = terms(**{"price_minimum": 0, "price_per_device_s": price, **more})
    fields = {key: value for key, value in msgspec.structs.asdict(body).items() if key != "delegation"}
    return {"peer": peer(name), "operator": names.did_key(key_of(operator or name).public), **fields}


def peer(name: str) -> str:
    return names.peer_id(key_of(name).public)


def quote(
    *rows: dict[str, object], replicas: int = 2, needs: Needs = ANYBODY, moved: int = 0
) -> tuple[int, int, tuple[str, ...]]:
    found = estimate(rows, replicas=replicas, expected_s=2.0, limit_s=10.0, traffic_bytes=moved, needs=needs)
    return found.expected, found.worst, found.providers


def test_the_cheapest_distinct_operators_are_counted() -> None:
    rows = (row("c", 30), row("a", 10, "same"), row("b", 20, "same"))
    assert quote(*rows) == (2 * 10 + 2 * 30, 10 * 10 + 10 * 30, (peer("a"), peer("c")))


def test_a_minimum_price_counts_when_it_is_higher() -> None:
    assert quote(row("a", 10, price_minimum=50), replicas=1) == (50, 100, (peer("a"),))


def test_bytes_that_travel_count_for_every_replica() -> None:
    rows = (row("a", 10, price_per_gb=100), row("b", 20, price_per_gb=5), row("c", 25))
    assert quote(*rows) == (2 * 10 + 2 * 20, 10 * 10 + 10 * 20, (peer("a"), peer("b")))
    assert quote(*rows, moved=2 * 10**9) == (2 * 20 + 10 + 2 * 25, 10 * 20 + 10 + 10 * 25, (peer("b"), peer("c")))


def test_ranked_by_work_the_fast_are_cheaper() -> None:
    rows = (row("slow", 10, mflops=1_000), row("fast", 15, mflops=2_000), row("silent", 1, mflops=0))
    assert quote(*rows, needs=Needs(rank_by=RankBy.GFLOP)) == (50, 250, (peer("fast"), peer("slow")))
    assert quote(*rows) == (22, 110, (peer("silent"), peer("slow")))


def test_who_cannot_hold_the_job_is_left_out() -> None:
    rows = (row("small", 1, memory_bytes_max=10), row("short", 1, device_ms_max=9_999), row("fits", 5))
    assert quote(*rows, replicas=1, needs=Needs(memory_bytes=11))[2] == (peer("fits"),)


def test_what_is_asked_of_providers_counts() -> None:
    rows = (row("far", 1, region="there"), row("near", 5, region="here"))
    assert quote(*rows, replicas=1, needs=Needs(regions=("here",)))[2] == (peer("near"),)
    with pytest.raises(NoPeersError, match="of 2 offers 1 fit, of 1 distinct operators; 2 are needed; 1 × region"):
        quote(*rows, needs=Needs(regions=("here",)))


def test_too_few_operators_are_told() -> None:
    with pytest.raises(NoPeersError, match="of 2 offers 2 fit, of 1 distinct operators; 2 are needed"):
        quote(row("a", 1, "same"), row("b", 1, "same"))


@pytest.mark.parametrize(("replicas", "expected_s"), [(0, 1.0), (17, 1.0), (1, 0.0), (1, 11.0)])
def test_a_senseless_question_is_a_usage_error(replicas: int, expected_s: float) -> None:
    with pytest.raises(UsageError):
        estimate([row("a", 1)], replicas=replicas, expected_s=expected_s, limit_s=10.0, traffic_bytes=0, needs=ANYBODY)
