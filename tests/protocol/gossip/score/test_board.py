"""Each part of the score by itself, with the numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from p2pcompute.protocol.gossip import ScoreParams, TopicScore
from p2pcompute.protocol.gossip.score import Scores
from p2pcompute.protocol.gossip.score.board import RETAINED_MAX

PEER, OTHER, TOPIC = b"p" * 32, b"o" * 32, "t"
NOTHING = TopicScore(
    time_in_mesh_weight=0,
    first_deliveries_weight=0,
    invalid_weight=0,
    first_deliveries_decay=0.9,
    mesh_deliveries_decay=0.9,
    mesh_failure_decay=0.9,
    invalid_decay=0.9,
)
PUBLIC = "/ip4/8.8.4.4/tcp/1"


def board(topic: TopicScore = NOTHING, **params: object) -> Scores:
    scores = Scores(ScoreParams(topics={TOPIC: topic}, topic_cap=0, **params))  # type: ignore[arg-type]
    scores.connected(PEER, "")
    return scores


def beat(scores: Scores, count: int = 1, start_ms: int = 0) -> None:
    for index in range(1, count + 1):
        scores.refresh(start_ms + index * 1_000)


def messages(scores: Scores, count: int, now_ms: int = 0, peer: bytes = PEER) -> None:
    for index in range(count):
        scores.delivered(peer, TOPIC, b"m%d" % index, now_ms)


# P1 ---------------------------------------------------------------------------------------------------------------


def test_time_in_the_mesh_counts_by_the_quantum() -> None:
    scores = board(dataclasses.replace(NOTHING, weight=0.5, time_in_mesh_weight=1, time_in_mesh_quantum_ms=2_000))
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 9)
    assert scores.score(PEER) == 0.5 * 4


def test_time_in_the_mesh_is_capped() -> None:
    topic = dataclasses.replace(NOTHING, time_in_mesh_weight=1, time_in_mesh_quantum_ms=1_000, time_in_mesh_cap=10)
    scores = board(topic)
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 40)
    assert scores.score(PEER) == 10


def test_time_outside_the_mesh_does_not_count() -> None:
    scores = board(dataclasses.replace(NOTHING, time_in_mesh_weight=1, time_in_mesh_quantum_ms=1_000))
    beat(scores, 5)
    assert scores.score(PEER) == 0
    scores.grafted(PEER, TOPIC, 5_000)
    beat(scores, 5, start_ms=5_000)
    scores.pruned(PEER, TOPIC)
    assert scores.score(PEER) == 0


# P2 ---------------------------------------------------------------------------------------------------------------

FIRST = dataclasses.replace(NOTHING, first_deliveries_weight=2, first_deliveries_cap=50)


def test_first_deliveries_count() -> None:
    scores = board(FIRST)
    messages(scores, 20)
    beat(scores)
    assert scores.score(PEER) == pytest.approx(2 * 20 * 0.9)


def test_first_deliveries_are_capped() -> None:
    scores = board(FIRST)
    messages(scores, 200)
    beat(scores)
    assert scores.score(PEER) == pytest.approx(2 * 50 * 0.9)


def test_first_deliveries_decay_to_zero() -> None:
    scores = board(FIRST)
    messages(scores, 20)
    beat(scores, 5)
    assert scores.score(PEER) == pytest.approx(2 * 20 * 0.9**5)
    beat(scores, 100)
    assert scores.score(PEER) == 0


# P3 and P3b -------------------------------------------------------------------------------------------------------

MESH = dataclasses.replace(
    NOTHING,
    mesh_deliveries_weight=-1,
    mesh_deliveries_threshold=20,
    mesh_deliveries_cap=100,
    mesh_deliveries_window_ms=10,
    mesh_deliveries_activation_ms=1_000,
)


def test_a_mesh_peer_that_brings_too_little_is_punished_by_the_square() -> None:
    scores = board(MESH)
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 2)
    messages(scores, 5, 2_000)
    beat(scores, 1, start_ms=2_000)
    assert scores.score(PEER) == pytest.approx(-((20 - 5 * 0.9) ** 2))


def test_a_deficit_counts_only_after_the_activation_time() -> None:
    scores = board(MESH)
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 1)
    assert scores.score(PEER) == 0
    beat(scores, 1, start_ms=1_000)
    assert scores.score(PEER) < 0


def test_a_peer_that_brings_enough_is_not_punished_until_it_decays() -> None:
    scores = board(MESH)
    scores.grafted(PEER, TOPIC, 0)
    messages(scores, 40)
    beat(scores, 3)
    assert scores.score(PEER) == 0
    beat(scores, 10, start_ms=3_000)
    assert scores.score(PEER) < 0


def test_copies_within_the_window_are_deliveries_and_later_ones_are_not() -> None:
    scores = board(MESH)
    scores.connected(OTHER, "")
    for peer in (PEER, OTHER):
        scores.grafted(peer, TOPIC, 0)
    messages(scores, 30, 2_000)
    for index in range(30):
        scores.duplicate(OTHER, TOPIC, b"m%d" % index, 2_010 if index < 5 else 2_011)
    beat(scores, 1, start_ms=2_000)
    assert scores.score(PEER) == 0
    assert scores.score(OTHER) == pytest.approx(-((20 - 5 * 0.9) ** 2))


def test_one_message_sent_often_is_one_delivery() -> None:
    scores = board(MESH)
    scores.connected(OTHER, "")
    scores.grafted(OTHER, TOPIC, 0)
    messages(scores, 1)
    for _ in range(30):
        scores.duplicate(OTHER, TOPIC, b"m0", 5)
        scores.duplicate(PEER, TOPIC, b"m0", 5)
    beat(scores, 2)
    assert scores.score(OTHER) == pytest.approx(-((20 - 0.9**2) ** 2))


def test_leaving_the_mesh_in_deficit_stays_as_a_failure_and_decays() -> None:
    scores = board(dataclasses.replace(MESH, mesh_failure_weight=-1))
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 2)
    scores.pruned(PEER, TOPIC)
    assert scores.score(PEER) == -400
    beat(scores, 1, start_ms=2_000)
    assert scores.score(PEER) == pytest.approx(-400 * 0.9)


def test_leaving_the_mesh_before_activation_is_no_failure() -> None:
    scores = board(dataclasses.replace(MESH, mesh_failure_weight=-1))
    scores.grafted(PEER, TOPIC, 0)
    beat(scores)
    scores.pruned(PEER, TOPIC)
    assert scores.score(PEER) == 0


# P4 ---------------------------------------------------------------------------------------------------------------


def test_invalid_messages_count_by_the_square_and_at_once() -> None:
    scores = board(dataclasses.replace(NOTHING, invalid_weight=-1))
    for _ in range(10):
        scores.invalid(PEER, TOPIC)
    assert scores.score(PEER) == -100
    beat(scores, 3)
    assert scores.score(PEER) == pytest.approx(-((10 * 0.9**3) ** 2))


# P5 to P7 ---------------------------------------------------------------------------------------------------------


def test_the_nodes_own_opinion_counts_both_ways() -> None:
    opinion = {PEER: -3.0}
    scores = Scores(ScoreParams(app_weight=10), opinion.__getitem__)
    scores.connected(PEER, "")
    assert scores.score(PEER) == -30
    opinion[PEER] = 2.0
    beat(scores)
    assert scores.score(PEER) == 20


def crowd(scores: Scores, count: int, address: str) -> list[bytes]:
    peers = [bytes([index + 1]) * 32 for index in range(count)]
    for peer in peers:
        scores.connected(peer, address)
    beat(scores)
    return peers


@pytest.mark.parametrize(("count", "expected"), [(3, 0), (4, -1), (6, -9)])
def test_peers_of_one_address_are_punished_by_the_square_of_their_excess(count: int, expected: int) -> None:
    scores = board(colocation_weight=-1, colocation_threshold=3)
    assert {scores.score(peer) for peer in crowd(scores, count, PUBLIC)} == {expected}


@pytest.mark.parametrize(
    "address", ["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip6/::1/tcp/1", "", "/dns/x"]
)
def test_peers_may_share_addresses_that_are_not_public(address: str) -> None:
    scores = board(colocation_weight=-1, colocation_threshold=1)
    assert {scores.score(peer) for peer in crowd(scores, 5, address)} == {0}


def test_exempt_networks_may_share_addresses() -> None:
    scores = board(colocation_weight=-1, colocation_threshold=1, colocation_exempt=("8.8.0.0/16",))
    assert {scores.score(peer) for peer in crowd(scores, 5, PUBLIC)} == {0}


def test_addresses_of_one_ip6_customer_are_one() -> None:
    scores = board(colocation_weight=-1, colocation_threshold=1)
    for index in range(3):
        scores.connected(bytes([index]) * 32, f"/ip6/2600:1::{index}/tcp/1")
    scores.connected(OTHER, "/ip6/2600:2::1/tcp/1")
    beat(scores)
    assert scores.score(bytes(32)) == -4
    assert scores.score(OTHER) == 0


def test_a_crowd_that_left_is_not_counted() -> None:
    scores = board(colocation_weight=-1, colocation_threshold=3)
    peers = crowd(scores, 3, PUBLIC)
    scores.connected(OTHER, PUBLIC)
    beat(scores)
    assert scores.score(peers[0]) == -1
    scores.set_topic(TOPIC, NOTHING)
    for peer in peers[1:]:
        scores.disconnected(peer, 1_000)
    beat(scores, 3_700, start_ms=1_000)
    assert scores.score(peers[0]) == 0


def test_bad_behaviour_counts_squared_beyond_what_is_forgiven() -> None:
    scores = board(behaviour_weight=-1, behaviour_threshold=2, behaviour_decay=0.9)
    scores.misbehaved(PEER, 2)
    assert scores.score(PEER) == 0
    scores.misbehaved(PEER, 3)
    assert scores.score(PEER) == -9
    beat(scores)
    assert scores.score(PEER) == pytest.approx(-((5 * 0.9 - 2) ** 2))
    beat(scores, 200)
    assert scores._records[PEER].behaviour == 0


# Life -------------------------------------------------------------------------------------------------------------


def test_a_bad_score_outlives_the_connection_without_decay_and_then_goes() -> None:
    scores = board(dataclasses.replace(NOTHING, invalid_weight=-1), retain_ms=10_000)
    scores.invalid(PEER, TOPIC)
    scores.disconnected(PEER, 0)
    beat(scores, 9)
    assert scores.score(PEER) == -1
    scores.connected(PEER, "")
    assert scores.score(PEER) == -1
    scores.disconnected(PEER, 9_000)
    beat(scores, 10, start_ms=9_000)
    assert scores.score(PEER) == 0


def test_a_good_score_ends_with_the_connection() -> None:
    scores = board(FIRST)
    messages(scores, 20)
    beat(scores)
    scores.disconnected(PEER, 1_000)
    scores.connected(PEER, "")
    beat(scores, 1, start_ms=1_000)
    assert scores.score(PEER) == 0


def test_what_is_retained_holds_nothing_that_speaks_for_the_peer() -> None:
    scores = board(dataclasses.replace(FIRST, invalid_weight=-100))
    messages(scores, 20)
    scores.invalid(PEER, TOPIC)
    beat(scores)
    scores.disconnected(PEER, 1_000)
    assert scores.score(PEER) == pytest.approx(-100 * 0.81)


def test_disconnecting_in_deficit_is_a_failure() -> None:
    scores = board(dataclasses.replace(MESH, mesh_failure_weight=-1))
    scores.grafted(PEER, TOPIC, 0)
    beat(scores, 2)
    scores.disconnected(PEER, 2_000)
    assert scores.score(PEER) == -400


def test_retained_scores_are_bounded() -> None:
    scores = board(dataclasses.replace(NOTHING, invalid_weight=-1))
    for index in range(RETAINED_MAX + 10):
        peer = index.to_bytes(32, "big")
        scores.connected(peer, "")
        scores.invalid(peer, TOPIC)
        scores.disconnected(peer, 0)
    assert len(scores) == RETAINED_MAX + 1  # and the one that is connected
    assert scores.score(bytes(32)) == 0


def test_topics_together_are_capped() -> None:
    scores = Scores(ScoreParams(default_topic=FIRST, topic_cap=30))
    scores.connected(PEER, "")
    for topic in ("a", "b"):
        for index in range(50):
            scores.delivered(PEER, topic, b"%d" % index, 0)
    beat(scores)
    assert scores.score(PEER) == 30


def test_new_parameters_of_a_topic_bring_their_caps_at_once() -> None:
    scores = board(FIRST)
    messages(scores, 40)
    scores.set_topic(TOPIC, dataclasses.replace(FIRST, first_deliveries_cap=10, first_deliveries_weight=1))
    assert scores.score(PEER) == 10


def test_a_peer_nobody_knows_has_no_score() -> None:
    scores = board()
    scores.invalid(OTHER, TOPIC)
    scores.misbehaved(OTHER, 100)
    scores.disconnected(OTHER, 0)
    assert scores.score(OTHER) == 0
    assert len(scores) == 1


def test_a_breakdown_adds_up() -> None:
    scores = Scores(ScoreParams(default_topic=FIRST), lambda peer: 3.0)
    scores.connected(PEER, "")
    messages(scores, 5)
    scores.misbehaved(PEER, 8)
    beat(scores)
    parts = scores.breakdown(PEER)
    assert parts.total == pytest.approx(scores.score(PEER))
    assert (parts.app, parts.topics_capped, list(parts.topics)) == (3.0, pytest.approx(9.0), [TOPIC])
