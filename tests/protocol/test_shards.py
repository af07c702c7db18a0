"""Where a peer is: which shard it keeps, and when it goes deeper or back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import shards
from p2pcompute.protocol.shards import (
    DEPTH_MAX,
    OVERLAP_MS,
    SETTLED_MS,
    SHARD_OFFERS_MAX,
    SHARD_OFFERS_MIN,
    WHOLE,
    Membership,
    Shard,
    heard_depth,
    parse_topic,
    shard_of,
    topic_of,
)

ME = bytes(range(32))
FULL = SHARD_OFFERS_MAX + 1


@given(st.binary(min_size=32, max_size=32), st.integers(0, DEPTH_MAX))
def test_a_key_belongs_to_one_shard_of_each_depth_and_deeper_ones_lie_in_it(key: bytes, depth: int) -> None:
    shard = shard_of(key, depth)
    assert shard.holds(key)
    assert not depth or not Shard(depth, shard.bucket ^ 1).holds(key)
    assert shard_of(key, depth + 1).bucket >> 1 == shard.bucket
    assert parse_topic("main", topic_of("main", shard)) == shard


@pytest.mark.parametrize(
    "topic",
    [
        "/p2pcompute/other/offers/any/any/0/0",
        "/p2pcompute/main/offers/any/any/0/1",
        "/p2pcompute/main/offers/any/any/3/8",
        "/p2pcompute/main/offers/any/any/03/1",
        "/p2pcompute/main/offers/any/any/21/0",
        "/p2pcompute/main/offers/any/any/1/-1",
        "/p2pcompute/main/offers/any/any/1/\u0661",
        "/p2pcompute/main/offers/any/any/1",
        "",
    ],
)
def test_other_topics_are_no_shard(topic: str) -> None:
    assert parse_topic("main", topic) is None


def test_one_neighbour_alone_does_not_say_how_deep_the_network_is() -> None:
    assert heard_depth([]) == 0
    assert heard_depth([Shard(3, 1)]) == 3
    assert heard_depth([Shard(20, 1), Shard(3, 1), Shard(3, 2), WHOLE]) == 3


def test_a_small_network_has_one_shard_for_all() -> None:
    for sells in (True, False):
        member = Membership(ME)
        assert not member.review(0, sells=sells, held=SHARD_OFFERS_MAX, depth=0)
        assert member.home == WHOLE


def test_a_seller_goes_deeper_when_its_shard_is_full_and_listens_on_for_one_lifetime() -> None:
    member = Membership(ME)
    assert member.review(SETTLED_MS, sells=True, held=FULL, depth=0)
    assert member.home == shard_of(ME, 1)
    assert list(member.shards) == [shard_of(ME, 1), WHOLE]
    assert not member.review(SETTLED_MS + OVERLAP_MS - 1, sells=True, held=FULL // 2, depth=1)
    assert member.review(SETTLED_MS + OVERLAP_MS, sells=True, held=FULL // 2, depth=1)
    assert list(member.shards) == [shard_of(ME, 1)]


def test_who_was_just_there_leaves_at_once() -> None:
    member = Membership(ME)
    assert member.review(SETTLED_MS - 1, sells=True, held=5, depth=4)
    assert list(member.shards) == [shard_of(ME, 4)]


def test_a_shrunken_shard_is_left_once_after_a_lifetime_and_halves_do_not_go_to_and_fro() -> None:
    member = Membership(ME, 3)
    few = SHARD_OFFERS_MIN - 1
    assert not member.review(OVERLAP_MS - 1, sells=True, held=few, depth=3)
    assert member.review(OVERLAP_MS, sells=True, held=few, depth=3)
    assert member.home == shard_of(ME, 2)
    assert not member.review(3 * OVERLAP_MS, sells=True, held=2 * few, depth=2) or list(member.shards) == [member.home]
    assert member.home == shard_of(ME, 2)


def test_who_was_sent_where_nobody_is_follows_the_others() -> None:
    member = Membership(ME)
    assert member.review(1, sells=True, held=0, depth=20)
    assert member.review(1 + SETTLED_MS, sells=True, held=1, depth=5)
    assert member.home == shard_of(ME, 5)


def test_who_sells_nothing_keeps_no_shard_of_a_large_network_and_looks_again_after_a_lifetime() -> None:
    member = Membership(ME)
    assert member.review(SETTLED_MS, sells=False, held=FULL, depth=0)
    assert member.home is None
    assert list(member.shards) == [WHOLE]
    member.review(SETTLED_MS + OVERLAP_MS - 1, sells=False, held=0, depth=0)
    assert member.home is None
    assert member.review(SETTLED_MS + OVERLAP_MS, sells=False, held=0, depth=0)
    assert member.home == WHOLE
    assert member.review(SETTLED_MS + OVERLAP_MS + 1, sells=False, held=0, depth=2)
    assert member.home is None
    assert member.review(SETTLED_MS + OVERLAP_MS + 2, sells=True, held=0, depth=2)
    assert member.home == shard_of(ME, 2)


def test_depth_has_an_end() -> None:
    member = Membership(ME, DEPTH_MAX)
    assert not member.review(0, sells=True, held=FULL, depth=DEPTH_MAX)
    assert shards.is_full(FULL)
