"""gossipsub v1.2: large messages are announced before they are sent, so that others need not send them."""

from __future__ import annotations

import pytest

from p2pcompute.protocol.gossip import GossipParams, codec
from p2pcompute.protocol.gossip.params import UNWANTED_PER_PEER_MAX
from p2pcompute.protocol.machine import Ruling
from tests.protocol.gossip.harness import (
    STRANGER,
    TOPIC,
    V10,
    V11,
    V12,
    Network,
    environment,
    join,
    message,
    to_stranger,
    with_stranger,
)

LARGE = bytes(GossipParams().idontwant_bytes_min)
LARGE_ID = codec.message_id(TOPIC, LARGE)
FRIEND = environment(2_000)


def meshed(channel: str = V12) -> Network:
    """The first node, with the stranger and a friend in its mesh."""
    network = with_stranger(channel=channel)
    join(network, FRIEND.me)
    assert set(network.mesh(0)) == {STRANGER.me, FRIEND.me}
    network.sent.clear()
    return network


def from_friend(data: bytes) -> bytes:
    return codec.encode_message(FRIEND.me, TOPIC, data, 1, FRIEND.sign).part


def test_a_large_message_is_announced_before_it_is_sent() -> None:
    network = meshed()
    network.inject(0, FRIEND.me, from_friend(LARGE))
    notice, forwarded = to_stranger(network)
    assert (notice.idontwant, notice.messages) == ([[LARGE_ID]], [])
    assert [one.id for one in forwarded.messages] == [LARGE_ID]


def test_its_sender_is_told_nothing() -> None:
    network = meshed()
    network.inject(0, STRANGER.me, message(LARGE))
    assert to_stranger(network) == []


def test_a_small_message_is_not_announced() -> None:
    network = meshed()
    network.inject(0, FRIEND.me, from_friend(LARGE[1:]))
    assert not any(rpc.idontwant for rpc in to_stranger(network))


@pytest.mark.parametrize("channel", [V11, V10])
def test_peers_of_older_versions_are_told_nothing(channel: str) -> None:
    network = meshed(channel)
    network.inject(0, FRIEND.me, from_friend(LARGE))
    assert [len(rpc.messages) for rpc in to_stranger(network)] == [1]
    assert not any(rpc.idontwant for rpc in to_stranger(network))


def test_peers_outside_the_mesh_are_told_nothing() -> None:
    network = meshed()
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 60))
    network.inject(0, FRIEND.me, from_friend(LARGE))
    assert to_stranger(network) == []


def test_a_copy_is_not_announced_again() -> None:
    network = meshed()
    network.inject(0, FRIEND.me, from_friend(LARGE))
    network.sent.clear()
    network.inject(0, FRIEND.me, from_friend(LARGE))
    assert network.sent == []


def test_a_forged_copy_is_not_announced() -> None:
    network = meshed()
    bad = bytearray(from_friend(LARGE))
    bad[-1] ^= 1
    network.inject(0, FRIEND.me, bytes(bad))
    assert to_stranger(network) == []


def test_what_is_not_valid_is_announced_all_the_same() -> None:
    network = meshed()
    network.nodes[network.keys[0]].ruling = lambda data: Ruling.IGNORE
    network.inject(0, FRIEND.me, from_friend(LARGE))
    assert [rpc.idontwant for rpc in to_stranger(network)] == [[[LARGE_ID]]]


def test_a_message_that_a_peer_has_is_not_forwarded_to_it() -> None:
    network = meshed()
    network.inject(0, STRANGER.me, codec.encode_idontwant([LARGE_ID]))
    network.inject(0, FRIEND.me, from_friend(LARGE))
    assert not any(rpc.messages for rpc in to_stranger(network))
    assert network.gossip(0).counters.suppressed == 1


def test_a_message_of_ours_that_a_peer_has_is_not_sent_to_it() -> None:
    network = meshed()
    network.inject(0, STRANGER.me, codec.encode_idontwant([LARGE_ID]))
    network.publish(0, LARGE)
    assert not any(rpc.messages for rpc in to_stranger(network))


def test_what_a_peer_does_not_want_is_forgotten_after_some_heartbeats() -> None:
    network = meshed()
    network.inject(0, STRANGER.me, codec.encode_idontwant([LARGE_ID]))
    network.pass_time(GossipParams().idontwant_heartbeats + 1)
    assert network.gossip(0)._mesh.neighbours[STRANGER.me].unwanted == {}


def test_what_a_peer_does_not_want_is_bounded() -> None:
    network = meshed()
    for batch in range(5):
        ids = [b"%d/%d" % (batch, index) for index in range(500)]
        network.inject(0, STRANGER.me, codec.encode_idontwant(ids))
    assert len(network.gossip(0)._mesh.neighbours[STRANGER.me].unwanted) == UNWANTED_PER_PEER_MAX
