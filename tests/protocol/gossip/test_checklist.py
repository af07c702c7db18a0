"""Behaviours of go-libp2p-pubsub's gossipsub tests that have no place elsewhere (docs/spec/gossip.md, "Tests")."""

from __future__ import annotations

import random

import msgspec
import pytest
from libp2p.pubsub.pb import rpc_pb2

from p2pcompute.protocol.gossip import GossipParams, codec
from p2pcompute.protocol.gossip.params import DATA_BYTES_MAX
from tests.protocol.gossip.harness import (
    STRANGER,
    TOPIC,
    Network,
    blamed,
    environment,
    join,
    message,
    to_stranger,
    with_stranger,
)

OTHER = environment(1_001)


@pytest.mark.parametrize("links", [3, 10], ids=["sparse", "dense"])
def test_a_random_graph_delivers_everywhere(links: int) -> None:
    network, chance = Network(20), random.Random(links)
    for index in range(1, 20):  # connected, whatever chance adds
        network.link(index, chance.randrange(index))
    for _ in range(20 * (links - 2) // 2):
        left, right = chance.sample(range(20), 2)
        network.link(left, right)
    network.settle()
    network.pass_time(3)
    for index in range(20):
        network.publish(index, b"%d" % index)
    network.pass_time(3)
    assert all(len(node.delivered) == 19 for node in network.nodes.values())


def test_a_tree_delivers_from_the_root_to_every_leaf_and_back() -> None:
    network = Network(15)
    for index in range(1, 15):
        network.link(index, (index - 1) // 2)
    network.settle()
    network.pass_time(3)
    network.publish(0, b"down")
    network.publish(14, b"up and down")
    network.pass_time(3)
    for key in network.keys[1:14]:
        assert sorted(network.nodes[key].delivered) == [b"down", b"up and down"]
    assert network.nodes[network.keys[0]].delivered == [b"up and down"]


def test_a_neighbour_that_gives_the_topic_up_leaves_the_mesh_and_gets_nothing_more() -> None:
    network = with_stranger()
    assert STRANGER.me in network.mesh(0)
    network.inject(0, STRANGER.me, codec.encode_subscription(TOPIC, subscribe=False))
    assert STRANGER.me not in network.mesh(0)
    network.sent.clear()
    network.publish(0, b"x")
    network.pass_time(3)
    assert not any(rpc.messages or rpc.ihave or rpc.graft for rpc in to_stranger(network))


def test_one_rpc_may_graft_several_topics() -> None:
    topics = [f"{TOPIC}/{index}" for index in range(3)]
    network = with_stranger()
    for topic in topics:
        network.run(network.keys[0], network.gossip(0).subscribe(network.now, topic))
    network.inject(0, STRANGER.me, b"".join(codec.encode_subscription(topic, subscribe=True) for topic in topics))
    for topic in topics:
        network.gossip(0)._mesh.topics[topic].pop(STRANGER.me, None)
    network.inject(0, STRANGER.me, b"".join(map(codec.encode_graft, topics)))
    assert all(STRANGER.me in network.gossip(0)._mesh.topics[topic] for topic in topics)


def test_a_promise_that_anybody_keeps_is_kept() -> None:
    network = with_stranger()
    join(network, OTHER.me)
    network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [codec.message_id(TOPIC, b"promised")]))
    network.inject(0, OTHER.me, message(b"promised"))
    network.pass_time(5)
    assert not blamed(network, STRANGER.me)
    assert network.gossip(0).counters.broken_promises == 0


def test_a_promise_kept_in_time_counts_for_nobody_and_the_next_is_not_asked() -> None:
    network = with_stranger()
    join(network, OTHER.me)
    wanted = codec.message_id(TOPIC, b"promised")
    for peer in (STRANGER.me, OTHER.me):
        network.inject(0, peer, codec.encode_ihave(TOPIC, [wanted]))
    network.inject(0, STRANGER.me, message(b"promised"))
    network.sent.clear()
    network.pass_time(5)
    asked = [codec.decode_rpc(frame).iwant for _, receiver, frame in network.sent if receiver == OTHER.me]
    assert not any(asked)
    assert not blamed(network, STRANGER.me)


def test_what_is_already_here_is_not_asked_for() -> None:
    network = with_stranger()
    network.inject(0, STRANGER.me, message(b"known"))
    network.sent.clear()
    network.inject(0, STRANGER.me, codec.encode_ihave(TOPIC, [codec.message_id(TOPIC, b"known")]))
    assert not any(rpc.iwant for rpc in to_stranger(network))


def test_a_message_is_advertised_in_its_first_windows_and_given_in_all() -> None:
    network, params = with_stranger(2), GossipParams()
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 600))
    network.publish(0, b"old")
    wanted = codec.message_id(TOPIC, b"old")
    network.pass_time(params.gossip_windows)
    assert any(wanted in ids for rpc in to_stranger(network) for _, ids in rpc.ihave)
    network.sent.clear()
    network.pass_time(params.history_windows - params.gossip_windows - 1)
    assert not any(wanted in ids for rpc in to_stranger(network) for _, ids in rpc.ihave)
    network.inject(0, STRANGER.me, codec.encode_iwant([wanted]))
    assert [one.data for rpc in to_stranger(network) for one in rpc.messages] == [b"old"]


def test_sequence_numbers_grow_across_a_restart() -> None:
    """Two runs of one peer, a few milliseconds apart."""
    numbers = []
    for pause_s in (0.0, 0.005):
        network = with_stranger()
        network.pass_time(pause_s)
        for data in (b"one", b"two"):
            network.publish(0, data)
        rpcs = [rpc_pb2.RPC.FromString(frame) for _, receiver, frame in network.sent if receiver == STRANGER.me]
        numbers += [int.from_bytes(one.seqno, "big") for rpc in rpcs for one in rpc.publish]
    assert len(numbers) == 4
    assert numbers == sorted(set(numbers))


def test_an_rpc_costs_no_more_signature_checks_than_it_has_new_messages() -> None:
    checks = 0

    def counted(public: bytes, signed: bytes, signature: bytes) -> bool:
        nonlocal checks
        checks += 1
        return verify(public, signed, signature)

    network = with_stranger()
    env = network.nodes[network.keys[0]].env
    verify = env.verify
    network.gossip(0)._env = msgspec.structs.replace(env, verify=counted)
    frame = b"".join(message(b"%d" % index) for index in range(5)) + codec.encode_ihave(TOPIC, [bytes(20)])
    for _ in range(3):
        network.inject(0, STRANGER.me, frame)
    assert checks == 5


def test_the_largest_message_passes_and_is_one_rpc_for_each_neighbour() -> None:
    network = with_stranger(2)
    network.pass_time(2)
    network.sent.clear()
    network.inject(0, STRANGER.me, message(bytes(DATA_BYTES_MAX)))
    assert [receiver for _, receiver, frame in network.sent if codec.decode_rpc(frame).messages] == [network.keys[1]]
