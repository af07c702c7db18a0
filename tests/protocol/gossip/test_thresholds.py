"""What a peer may still do at which score. The score is set through the node's own opinion (P5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pcompute.protocol.gossip import GossipParams, ScoreParams, Thresholds, TopicScore, codec
from p2pcompute.protocol.machine import Disconnect, PeerInfo, Ruling
from tests.protocol.gossip.harness import (
    STRANGER,
    TOPIC,
    Network,
    environment,
    join,
    message,
    score,
    to_stranger,
    with_stranger,
)

LIMITS = Thresholds()


def rated(value: float, size: int = 2) -> Network:
    """The stranger at a score that its deeds do not move much, after a heartbeat."""
    network = with_stranger(size)
    network.nodes[network.keys[0]].opinion[STRANGER.me] = value
    network.pass_time(1.5)
    network.sent.clear()
    return network


def forged(data: bytes) -> bytes:
    bad = bytearray(message(data))
    bad[-1] ^= 1
    return bytes(bad)


# Thresholds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "asks"), [(LIMITS.gossip, True), (LIMITS.gossip - 1, False)])
def test_advertisements_are_read_above_the_gossip_threshold(value: float, asks: bool) -> None:
    network = rated(value)
    network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [b"id"]))
    assert any(rpc.iwant for rpc in to_stranger(network)) is asks


@pytest.mark.parametrize(("value", "answered"), [(LIMITS.gossip, True), (LIMITS.gossip - 1, False)])
def test_requests_are_answered_above_the_gossip_threshold(value: float, answered: bool) -> None:
    network = rated(value)
    network.publish(1, b"x")
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_iwant([codec.message_id(TOPIC, b"x")]))
    assert any(rpc.messages for rpc in to_stranger(network)) is answered


@pytest.mark.parametrize(("value", "told"), [(LIMITS.gossip, True), (LIMITS.gossip - 1, False)])
def test_messages_are_advertised_above_the_gossip_threshold(value: float, told: bool) -> None:
    network = rated(value)
    network.publish(1, b"x")
    network.pass_time(1.5)
    assert any(rpc.ihave for rpc in to_stranger(network)) is told


@pytest.mark.parametrize(("value", "sent"), [(LIMITS.publish, True), (LIMITS.publish - 1, False)])
def test_our_own_messages_go_to_peers_above_the_publish_threshold(value: float, sent: bool) -> None:
    network = rated(value)
    network.publish(0, b"ours")
    assert any(rpc.messages for rpc in to_stranger(network)) is sent


@pytest.mark.parametrize(("value", "read"), [(LIMITS.graylist, True), (LIMITS.graylist - 1, False)])
def test_nothing_is_read_below_the_graylist_threshold(value: float, read: bool) -> None:
    network = rated(value)
    network.inject(0, STRANGER.me, message(b"x"))
    assert network.nodes[network.keys[0]].delivered == ([b"x"] if read else [])
    assert network.gossip(0).counters.unread == (not read)


def test_a_graylisted_peer_that_comes_back_is_refused_for_as_long_as_its_score_is_kept() -> None:
    network = with_stranger(2)
    gossip = network.gossip(0)
    for number in range(6):
        network.inject(0, STRANGER.me, forged(b"%d" % number))
    down, up = PeerInfo(STRANGER.me, up=False), PeerInfo(STRANGER.me, up=True, address="/ip4/9.9.9.9/tcp/1")
    gossip.on_peer(network.now, down)
    assert Disconnect(STRANGER.me, "gossip: too many faults, the last one in an earlier connection") in gossip.on_peer(
        network.now, up
    )
    gossip.on_peer(network.now, down)
    network.pass_time(GossipParams().score.retain_ms / 1_000 + 2)
    assert not [e for e in gossip.on_peer(network.now, up) if isinstance(e, Disconnect)]


def test_the_state_tells_meshes_and_totals() -> None:
    network = with_stranger(2)
    network.publish(1, b"x")
    state = network.gossip(0).state()
    assert state["mesh"] == {TOPIC: len(network.mesh(0))}
    assert (state["accepted"], state["rejected"], state["dropped"]) == (1, 0, 0)


def test_a_fanout_has_no_peers_below_the_publish_threshold() -> None:
    network = Network(1, GossipParams(flood_publish=False))
    join(network, STRANGER.me)
    network.run(network.keys[0], network.gossip(0).unsubscribe(network.now, TOPIC))
    network.publish(0, b"1")
    network.nodes[network.keys[0]].opinion[STRANGER.me] = LIMITS.publish - 1
    network.pass_time(1.5)
    network.publish(0, b"2")
    assert [m.data for rpc in to_stranger(network) for m in rpc.messages] == [b"1"]


# The mesh ---------------------------------------------------------------------------------------------------------


def test_a_peer_with_a_negative_score_leaves_the_mesh_without_recommendations() -> None:
    network = rated(-1, size=6)
    assert STRANGER.me not in network.mesh(0)
    network.inject(0, STRANGER.me, codec.encode_graft(TOPIC))
    assert STRANGER.me not in network.mesh(0)
    assert to_stranger(network)[-1].prune == [codec.Prune(TOPIC, 60)]


def test_a_peer_with_a_negative_score_is_not_grafted() -> None:
    network = Network(1)
    network.nodes[network.keys[0]].opinion[STRANGER.me] = -1
    join(network, STRANGER.me)
    network.pass_time(3)
    assert network.mesh(0) == []


def test_a_thinned_mesh_keeps_the_best_and_some_that_we_dialled() -> None:
    params = GossipParams()
    network = Network(1, params)
    others = [environment(2_000 + index).me for index in range(20)]
    node = network.nodes[network.keys[0]]
    for index, peer in enumerate(others):
        join(network, peer, outbound=index in (18, 19))
        node.opinion[peer] = float(20 - index)
    network.pass_time(1.5)
    for index, peer in enumerate(others):
        network.gossip(0)._mesh._enter(TOPIC, peer, network.now.mono_ms)
        node.opinion[peer] = float(20 - index)
    network.pass_time(1)
    mesh = network.mesh(0)
    assert len(mesh) == params.degree
    assert set(others[: params.degree_score]) <= set(mesh)
    assert {others[18], others[19]} <= set(mesh)


@pytest.mark.parametrize(("poor", "gains"), [(0.5, 2), (2.0, 0)])
def test_a_mesh_with_a_low_median_gets_better_peers(poor: float, gains: int) -> None:
    network = Network(1, GossipParams(opportunistic_heartbeats=5))
    node = network.nodes[network.keys[0]]
    weak = [environment(2_000 + index).me for index in range(GossipParams().degree_low)]
    for peer in weak:
        node.opinion[peer] = poor
        join(network, peer)
    network.pass_time(2)
    assert set(network.mesh(0)) == set(weak)
    strong = [environment(3_000 + index).me for index in range(4)]
    for peer in strong:
        node.opinion[peer] = 8.0
        join(network, peer)
    network.pass_time(5)
    assert len(set(network.mesh(0)) & set(strong)) == gains


def test_a_peer_that_withholds_messages_leaves_the_mesh() -> None:
    topic = TopicScore(
        mesh_deliveries_weight=-1,
        mesh_deliveries_threshold=5,
        mesh_deliveries_activation_ms=2_000,
        mesh_deliveries_cap=20,
    )
    network = with_stranger(4, GossipParams(score=ScoreParams(topics={TOPIC: topic})))
    assert STRANGER.me in network.mesh(0)
    for index in range(60):
        network.publish(1 + index % 3, b"%d" % index)
        network.pass_time(0.1)
    assert STRANGER.me not in network.mesh(0)
    assert len(network.mesh(0)) == 3


# Deeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ruling", "sign"),
    [(Ruling.ACCEPT, 1), (Ruling.IGNORE, 0), (Ruling.REJECT, -1)],
    ids=["accept", "ignore", "reject"],
)
def test_rulings_decide_what_a_message_counts(ruling: Ruling, sign: int) -> None:
    network = with_stranger(1, GossipParams(score=ScoreParams(default_topic=TopicScore(time_in_mesh_weight=0))))
    network.nodes[network.keys[0]].ruling = lambda data: ruling
    network.inject(0, STRANGER.me, message(b"x"))
    value = score(network, STRANGER.me)
    assert (value > 0) - (value < 0) == sign


def floods() -> dict[str, Callable[[int], bytes]]:
    return {
        "garbage": lambda index: b"\xff",
        "malformed messages": lambda index: b"\x12\x02\x0a\x00",
        "forged signatures": lambda index: forged(b"%d" % index),
        "grafts": lambda index: codec.encode_prune(TOPIC, 60) + codec.encode_graft(TOPIC),
        "advertisements": lambda index: codec.encode_ihave(TOPIC, [b"%d" % index]),
    }


@pytest.mark.parametrize("name", list(floods()))
def test_whoever_floods_is_disconnected_and_then_not_read(name: str) -> None:
    network = with_stranger()
    for index in range(100):
        network.inject(0, STRANGER.me, floods()[name](index))
    assert STRANGER.me in network.nodes[network.keys[0]].disconnected
    for up in (False, True):
        network.run(network.keys[0], network.gossip(0).on_peer(network.now, PeerInfo(STRANGER.me, up=up)))
    network.inject(0, STRANGER.me, message(b"please"))
    assert network.nodes[network.keys[0]].delivered == []


def test_whoever_advertises_what_does_not_exist_is_disconnected() -> None:
    network = with_stranger()
    for second in range(10):
        for index in range(8):
            network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [b"%d/%d" % (second, index)]))
        network.pass_time(1)
    assert STRANGER.me in network.nodes[network.keys[0]].disconnected


def test_one_lost_answer_is_one_broken_promise_however_many_messages_it_held() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [b"%d" % index for index in range(1_000)]))
    network.pass_time(5)
    assert network.gossip(0).counters.broken_promises == 1
    assert score(network, STRANGER.me) >= 0


def test_a_graft_right_after_a_prune_counts_twice() -> None:
    def behaviour(wait_s: float) -> float:
        network = with_stranger()
        network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 60))
        network.pass_time(wait_s)
        network.inject(0, STRANGER.me, codec.encode_graft(TOPIC))
        return network.gossip(0)._scores._records[STRANGER.me].behaviour

    assert behaviour(1) == 2
    assert behaviour(20) == 1


def test_asking_again_and_again_is_answered_only_so_often_and_harms_nobody() -> None:
    network = with_stranger()
    network.publish(0, b"x")
    network.sent.clear()
    for _ in range(1_000):
        network.inject(0, STRANGER.me, codec.encode_iwant([codec.message_id(TOPIC, b"x")]))
    assert len(to_stranger(network)) == GossipParams().retransmissions


def test_honest_peers_keep_their_standing_next_to_a_liar() -> None:
    network = with_stranger(12)
    network.pass_time(3)
    for index in range(30):
        network.inject(0, STRANGER.me, forged(b"bad %d" % index))
        network.inject(0, STRANGER.me, message(b"good %d" % index, index))
        network.publish(1 + index % 11, b"honest %d" % index)
        network.pass_time(0.5)
    assert STRANGER.me in network.nodes[network.keys[0]].disconnected
    assert all(score(network, other) > 0 for other in network.keys[1:])
    assert all(score(network, network.keys[0], at) > 0 for at in range(1, 12))


# Explicit peering -------------------------------------------------------------------------------------------------


def agreed(size: int = 2) -> Network:
    """Two peers with an agreement, and strangers to both."""
    one, two = environment(1).me, environment(2).me
    network = Network(size, GossipParams(flood_publish=False), direct={0: [two], 1: [one]})
    network.link_all()
    network.pass_time(2)
    return network


def test_peers_by_agreement_exchange_everything_outside_of_meshes() -> None:
    network = agreed()
    assert network.mesh(0) == network.mesh(1) == []
    network.publish(0, b"x")
    network.publish(1, b"y")
    assert network.nodes[network.keys[1]].delivered == [b"x"]
    assert network.nodes[network.keys[0]].delivered == [b"y"]


def test_a_graft_of_a_peer_by_agreement_is_refused() -> None:
    network = agreed()
    network.sent.clear()
    network.inject(0, network.keys[1], codec.encode_graft(TOPIC))
    assert network.mesh(0) == []
    assert [codec.decode_rpc(frame).prune[0].topic for _, _, frame in network.sent] == [TOPIC]


def test_a_peer_by_agreement_is_read_whatever_its_score() -> None:
    network = agreed()
    network.nodes[network.keys[0]].opinion[network.keys[1]] = -10_000
    network.pass_time(2)
    network.publish(1, b"x")
    assert network.nodes[network.keys[0]].delivered == [b"x"]


def test_messages_of_others_are_forwarded_to_a_peer_by_agreement() -> None:
    network = Network(3, GossipParams(flood_publish=False), direct={1: [environment(3).me], 2: [environment(2).me]})
    network.link(0, 1)
    network.link(1, 2)
    network.settle()
    network.pass_time(2)
    network.publish(0, b"far")
    assert network.nodes[network.keys[2]].delivered == [b"far"]


def test_a_fanout_reaches_peers_by_agreement() -> None:
    network = agreed()
    network.run(network.keys[0], network.gossip(0).unsubscribe(network.now, TOPIC))
    network.settle()
    network.publish(0, b"x")
    assert network.nodes[network.keys[1]].delivered == [b"x"]
