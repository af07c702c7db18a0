"""Routers pumped in memory. Names follow the rules of docs/spec/gossip.md."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.errors import UsageError
from p2pcompute.protocol.gossip import GossipParams, codec
from p2pcompute.protocol.gossip.params import DATA_BYTES_MAX
from p2pcompute.protocol.machine import Now, PeerInfo, Priority, Ruling, Send, SendOutcome
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX
from tests.protocol.gossip.harness import (
    STRANGER,
    TOPIC,
    Network,
    blamed,
    environment,
    message,
    to_stranger,
    with_stranger,
)


def two() -> Network:
    network = Network(2)
    network.link_all()
    network.pass_time(2)
    return network


# Delivery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood_publish", [True, False])
def test_every_subscriber_gets_every_message_once(flood_publish: bool) -> None:
    network = Network(20, GossipParams(flood_publish=flood_publish))
    network.link_all()
    network.pass_time(3)
    sent = [b"message %d" % index for index in range(20)]
    for index, data in enumerate(sent):
        network.publish(index, data)
    network.pass_time(2)
    for index, node in enumerate(network.nodes.values()):
        assert sorted(node.delivered) == sorted(data for at, data in enumerate(sent) if at != index)


def test_messages_cross_a_line_of_peers() -> None:
    network = Network(8)
    for left, right in pairwise(range(8)):
        network.link(left, right)
    network.settle()
    network.pass_time(2)
    network.publish(0, b"far")
    assert network.nodes[network.keys[7]].delivered == [b"far"]


def test_a_peer_without_subscription_publishes_through_its_fanout() -> None:
    network = Network(5, GossipParams(flood_publish=False))
    network.run(network.keys[0], network.gossip(0).unsubscribe(network.now, TOPIC))
    network.link_all()
    network.publish(0, b"from outside")
    assert all(network.nodes[key].delivered == [b"from outside"] for key in network.keys[1:])


def test_an_unsubscribed_peer_is_delivered_nothing() -> None:
    network = two()
    network.run(network.keys[1], network.gossip(1).unsubscribe(network.now, TOPIC))
    network.settle()
    network.publish(0, b"x")
    assert network.nodes[network.keys[1]].delivered == []
    assert network.mesh(0) == []


def test_the_same_content_is_published_once() -> None:
    network = two()
    network.publish(0, b"same")
    network.publish(0, b"same")
    network.publish(1, b"same")
    assert network.nodes[network.keys[1]].delivered == [b"same"]
    assert network.nodes[network.keys[0]].delivered == []


def test_what_one_input_causes_is_one_frame_per_peer() -> None:
    network = Network(6)
    network.link_all()
    network.pass_time(3)
    network.sent.clear()
    sender = network.keys[1]
    several = b"".join(
        codec.encode_message(sender, TOPIC, b"%d" % index, index, network.nodes[sender].env.sign).part
        for index in range(10)
    )
    network.inject(0, sender, several)
    receivers = [receiver for _, receiver, _ in network.sent]
    assert len(receivers) == len(set(receivers)) == 4


def test_no_frame_is_longer_than_an_rpc_may_be() -> None:
    network = with_stranger()
    for index in range(20):
        network.publish(0, bytes([index]) * 60_000)
    wanted = [codec.message_id(TOPIC, bytes([index]) * 60_000) for index in range(20)]
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_iwant(wanted))
    frames = [frame for _, receiver, frame in network.sent if receiver == STRANGER.me]
    assert len(frames) > 1
    assert max(map(len, frames)) <= GOSSIP_RPC_BYTES_MAX


def test_publishing_more_than_a_document_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        two().publish(0, bytes(DATA_BYTES_MAX + 1))


@pytest.mark.parametrize("topic", ["", "x" * 257, "a\0b"])
def test_a_topic_that_cannot_be_one_is_a_usage_error(topic: str) -> None:
    network = two()
    with pytest.raises(UsageError):
        network.gossip(0).subscribe(network.now, topic)


# Mesh -------------------------------------------------------------------------------------------------------------


def test_meshes_stay_within_their_bounds_and_are_mutual() -> None:
    network = Network(30)
    network.link_all()
    network.pass_time(10)
    params = GossipParams()
    for index, key in enumerate(network.keys):
        mesh = network.mesh(index)
        assert params.degree_low <= len(mesh) <= params.degree_high
        assert all(key in network.mesh(network.keys.index(other)) for other in mesh)


def test_a_mesh_keeps_peers_that_we_dialled() -> None:
    network = Network(30)
    network.link_all()
    network.pass_time(10)
    neighbours = network.gossip(0)._mesh.neighbours
    assert sum(neighbours[peer].outbound for peer in network.mesh(0)) >= GossipParams().degree_outbound


def test_a_lost_mesh_peer_is_replaced() -> None:
    network = Network(12)
    network.link_all()
    network.pass_time(3)
    for gone in network.mesh(0)[:4]:
        network.run(network.keys[0], network.gossip(0).on_peer(network.now, PeerInfo(gone, up=False)))
    network.pass_time(2)
    assert len(network.mesh(0)) >= GossipParams().degree_low


def test_a_graft_in_backoff_is_pruned_again_and_counts() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 60))
    assert STRANGER.me not in network.mesh(0)
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_graft(TOPIC))
    assert STRANGER.me not in network.mesh(0)
    assert [rpc.prune for rpc in to_stranger(network)] == [[codec.Prune(TOPIC, 60)]]
    assert blamed(network, STRANGER.me)


def test_we_do_not_graft_before_a_backoff_is_over() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 30))
    network.sent.clear()
    network.pass_time(29)
    assert not any(rpc.graft for rpc in to_stranger(network))
    network.pass_time(4)
    assert any(rpc.graft for rpc in to_stranger(network))


def test_reconnecting_does_not_end_a_backoff() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 30))
    for up in (False, True):
        network.run(network.keys[0], network.gossip(0).on_peer(network.now, PeerInfo(STRANGER.me, up=up)))
    network.inject(0, STRANGER.me, codec.encode_subscription(TOPIC, subscribe=True))
    assert STRANGER.me not in network.mesh(0)


def test_a_graft_for_a_topic_we_do_not_take_is_ignored() -> None:
    network = with_stranger()
    assert network.inject(0, STRANGER.me, codec.encode_graft("other")) == []


# Repair -----------------------------------------------------------------------------------------------------------


def test_a_message_lost_on_every_link_is_repaired_by_ihave() -> None:
    network = Network(10)
    network.link_all()
    network.pass_time(3)
    victim = network.keys[9]
    network.lossy = lambda sender, receiver, frame: receiver == victim and bool(codec.decode_rpc(frame).messages)
    network.publish(0, b"lost at first")
    assert network.nodes[victim].delivered == []
    network.lossy = lambda sender, receiver, frame: False
    network.pass_time(4)
    assert network.nodes[victim].delivered == [b"lost at first"]


def test_a_network_that_loses_a_third_of_its_frames_still_delivers() -> None:
    network = Network(20)
    network.link_all()
    network.pass_time(3)
    chance = environment(77).rng
    network.lossy = lambda sender, receiver, frame: chance.random() < 0.33
    for index in range(10):
        network.publish(index, b"message %d" % index)
        network.pass_time(0.5)
    network.pass_time(8)
    assert all(len(node.delivered) == (9 if index < 10 else 10) for index, node in enumerate(network.nodes.values()))


def test_a_broken_promise_counts_and_the_next_peer_is_asked() -> None:
    network = with_stranger(2)
    wanted = codec.message_id(TOPIC, b"promised")
    other = network.keys[1]
    network.lossy = lambda sender, receiver, frame: receiver == other
    network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [wanted]))
    network.inject(0, other, codec.encode_ihave(TOPIC, [wanted]))
    assert sum(bool(rpc.iwant) for rpc in to_stranger(network)) == 1
    network.sent.clear()
    network.pass_time(5)
    assert blamed(network, STRANGER.me)
    assert any(codec.decode_rpc(frame).iwant == [[wanted]] for _, receiver, frame in network.sent if receiver == other)


def test_a_message_is_sent_again_only_so_often() -> None:
    network = with_stranger()
    network.publish(0, b"again")
    network.sent.clear()
    for _ in range(10):
        network.inject(0, STRANGER.me, codec.encode_iwant([codec.message_id(TOPIC, b"again")]))
    assert sum(len(rpc.messages) for rpc in to_stranger(network)) == GossipParams().retransmissions


def test_what_is_sent_on_request_is_bounded_by_the_heartbeat() -> None:
    params = GossipParams(iwant_bytes_per_heartbeat=100_000)
    network = with_stranger(params=params)
    bodies = [bytes([index]) * 40_000 for index in range(10)]
    for body in bodies:
        network.publish(0, body)
    network.sent.clear()
    ids = [codec.message_id(TOPIC, body) for body in bodies]
    network.inject(0, STRANGER.me, codec.encode_iwant(ids))
    assert sum(len(rpc.messages) for rpc in to_stranger(network)) == 3
    network.pass_time(1)
    network.inject(0, STRANGER.me, codec.encode_iwant(ids))
    assert sum(len(rpc.messages) for rpc in to_stranger(network)) == 6


def test_advertisements_beyond_the_limit_are_not_read() -> None:
    network = with_stranger()
    for index in range(30):
        network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [b"id %d" % index]))
    assert sum(len(rpc.iwant) for rpc in to_stranger(network)) == GossipParams().ihaves_per_heartbeat


def test_a_message_can_be_asked_for_only_in_its_windows() -> None:
    network = with_stranger()
    network.publish(0, b"old")
    network.pass_time(GossipParams().history_windows + 1)
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_iwant([codec.message_id(TOPIC, b"old")]))
    assert to_stranger(network) == []


def test_a_mesh_peer_that_missed_a_frame_is_told_at_the_next_heartbeat_what_it_held() -> None:
    network = with_stranger()
    assert STRANGER.me in network.mesh(0)
    network.publish(0, b"lost")
    network.gossip(0).on_sent(network.now, STRANGER.me, SendOutcome.DROPPED)
    network.sent.clear()
    network.pass_time(3)
    assert [rpc.ihave for rpc in to_stranger(network)] == [[(TOPIC, [codec.message_id(TOPIC, b"lost")])]]
    assert network.gossip(0).counters.dropped == 1


# Judgement --------------------------------------------------------------------------------------------------------


def test_a_bad_signature_is_rejected_and_counts() -> None:
    network = with_stranger(2)
    bad = bytearray(message(b"forged"))
    bad[-1] ^= 1
    network.inject(0, STRANGER.me, bytes(bad))
    network.settle()
    assert all(node.delivered == [] for node in network.nodes.values())
    assert blamed(network, STRANGER.me)


def test_a_bad_signature_does_not_keep_the_true_message_out() -> None:
    network = with_stranger()
    bad = bytearray(message(b"true"))
    bad[-1] ^= 1
    network.inject(0, STRANGER.me, bytes(bad))
    network.inject(0, STRANGER.me, message(b"true"))
    assert network.nodes[network.keys[0]].delivered == [b"true"]


def test_a_message_with_its_content_changed_is_rejected() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, message(b"pay 10").replace(b"pay 10", b"pay 99"))
    assert network.nodes[network.keys[0]].delivered == []


@pytest.mark.parametrize(("ruling", "counts"), [(Ruling.REJECT, True), (Ruling.IGNORE, False)])
def test_what_is_not_accepted_goes_no_further(ruling: Ruling, counts: bool) -> None:
    network = with_stranger(3)
    network.pass_time(2)
    network.nodes[network.keys[0]].ruling = lambda data: ruling
    network.sent.clear()
    network.inject(0, STRANGER.me, message(b"x"))
    assert network.sent == []
    assert blamed(network, STRANGER.me) is counts


def test_a_rejected_message_counts_again_from_the_next_sender_without_a_second_check() -> None:
    network = with_stranger(2)
    asked: list[bytes] = []

    def reject(data: bytes) -> Ruling:
        asked.append(data)
        return Ruling.REJECT

    network.nodes[network.keys[0]].ruling = reject
    network.inject(0, STRANGER.me, message(b"x"))
    network.inject(0, network.keys[1], message(b"x"))
    assert asked == [b"x"]
    assert blamed(network, network.keys[1])


def test_a_peer_that_goes_on_is_disconnected() -> None:
    network = with_stranger()
    for index in range(10):
        bad = bytearray(message(b"%d" % index))
        bad[-1] ^= 1
        network.inject(0, STRANGER.me, bytes(bad))
    assert "invalid" in network.nodes[network.keys[0]].disconnected[STRANGER.me]


def test_faults_fade() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, b"\xff")
    assert blamed(network, STRANGER.me)
    network.pass_time(600)
    assert not blamed(network, STRANGER.me)


def test_a_distrusted_peer_leaves_the_mesh_and_gets_no_answers() -> None:
    network = with_stranger()
    assert STRANGER.me in network.mesh(0)
    network.publish(0, b"x")
    network.inject(0, STRANGER.me, b"\xff")
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_iwant([codec.message_id(TOPIC, b"x")]))
    assert to_stranger(network) == []
    network.pass_time(1)
    assert STRANGER.me not in network.mesh(0)


def test_two_frames_that_are_none_cost_the_connection() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, b"\xff")
    assert STRANGER.me not in network.nodes[network.keys[0]].disconnected
    network.inject(0, STRANGER.me, bytes(GOSSIP_RPC_BYTES_MAX + 1))
    assert STRANGER.me in network.nodes[network.keys[0]].disconnected


def test_signatures_beyond_the_budget_are_not_checked() -> None:
    network = with_stranger(params=GossipParams(verifies_per_second=10, verifies_burst=5))
    for index in range(20):
        network.inject(0, STRANGER.me, message(b"%d" % index))
    assert len(network.nodes[network.keys[0]].delivered) == 5
    network.pass_time(0.5)
    for index in range(20):
        network.inject(0, STRANGER.me, message(b"%d" % index))
    assert len(network.nodes[network.keys[0]].delivered) == 10


def test_a_frame_of_an_unknown_peer_is_ignored() -> None:
    network = two()
    assert network.inject(0, STRANGER.me, message(b"x")) == []


def test_a_message_that_comes_back_to_its_publisher_is_ignored() -> None:
    network = with_stranger()
    own = network.nodes[network.keys[0]].env
    echoed = codec.encode_message(own.me, TOPIC, b"never said", 1, own.sign)
    assert network.inject(0, STRANGER.me, echoed.part) == []
    assert network.nodes[network.keys[0]].delivered == []


# Bounds and order -------------------------------------------------------------------------------------------------


def test_topics_of_a_peer_are_bounded() -> None:
    network = with_stranger()
    flood = b"".join(codec.encode_subscription(f"t{index}", subscribe=True) for index in range(1_000))
    network.inject(0, STRANGER.me, flood)
    assert len(network.gossip(0)._mesh.neighbours[STRANGER.me].topics) == 256


def test_state_is_sent_first_and_repairs_last() -> None:
    network = with_stranger()
    network.sent.clear()
    effects = network.gossip(0).publish(network.now, TOPIC, b"x")
    assert [effect.priority for effect in effects if isinstance(effect, Send)] == [Priority.NORMAL]
    effects = network.gossip(0).subscribe(network.now, "second")
    assert [effect.priority for effect in effects if isinstance(effect, Send)] == [Priority.HIGH]
    effects = network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [b"id"]))
    assert [effect.priority for effect in effects if isinstance(effect, Send)] == [Priority.LOW]


def test_the_same_inputs_give_the_same_frames() -> None:
    def trace() -> list[tuple[bytes, bytes, bytes]]:
        network = Network(15)
        network.link_all()
        network.pass_time(3)
        network.publish(3, b"x")
        network.pass_time(3)
        return network.sent

    assert trace() == trace()


PARTS = st.sampled_from(
    [
        message(b"a"),
        message(b"b", 2),
        codec.encode_subscription(TOPIC, subscribe=True),
        codec.encode_subscription(TOPIC, subscribe=False),
        codec.encode_graft(TOPIC),
        codec.encode_prune(TOPIC, 2**40),
        codec.encode_ihave(TOPIC, [b"1", b"2"]),
        codec.encode_iwant([codec.message_id(TOPIC, b"a")]),
        b"\x12\x02\x0a\x00",
    ]
)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.lists(PARTS, max_size=5), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3)
        ),
        max_size=12,
    )
)
def test_no_frame_makes_the_router_raise(frames: list[tuple[list[bytes], list[tuple[int, int]]]]) -> None:
    network = with_stranger()
    router = network.gossip(0)
    for step, (parts, changes) in enumerate(frames):
        frame = bytearray(b"".join(parts))
        for at, value in changes:
            if frame:
                frame[at % len(frame)] = value
        router.on_frame(Now(step * 400, step * 400), STRANGER.me, bytes(frame))
        router.on_timer(Now(step * 400, step * 400), "gossip.heartbeat")
