"""Taking up and leaving topics, and publishing to those we do not take (v1.0 "Fanout", "Joining and leaving")."""

from __future__ import annotations

from p2pcompute.protocol.gossip import GossipParams
from tests.protocol.gossip.harness import STRANGER, TOPIC, Network, to_stranger, with_stranger

PUBLISHER = 0


def outside(size: int = 12) -> Network:
    """A publisher that does not take the topic, among peers that do."""
    network = Network(size, GossipParams(flood_publish=False))
    network.run(network.keys[PUBLISHER], network.gossip(PUBLISHER).unsubscribe(network.now, TOPIC))
    network.link_all()
    network.pass_time(2)
    return network


def fanout(network: Network) -> set[bytes]:
    known = network.gossip(PUBLISHER)._mesh._fanout.get(TOPIC)
    return set(known[0]) if known else set()


def test_a_fanout_stays_the_same_from_one_message_to_the_next() -> None:
    network = outside()
    network.publish(PUBLISHER, b"one")
    first = fanout(network)
    assert len(first) == GossipParams().degree
    network.pass_time(10)
    network.publish(PUBLISHER, b"two")
    assert fanout(network) == first


def test_a_lost_fanout_peer_is_replaced_with_the_next_message() -> None:
    network = outside()
    network.publish(PUBLISHER, b"one")
    lost = min(fanout(network))
    network.gossip(PUBLISHER)._mesh.remove(lost)
    assert lost not in fanout(network)
    network.publish(PUBLISHER, b"two")
    assert lost not in fanout(network)
    assert len(fanout(network)) == GossipParams().degree


def test_a_fanout_that_is_not_used_is_forgotten() -> None:
    network = outside()
    network.publish(PUBLISHER, b"one")
    network.pass_time(GossipParams().fanout_ms / 1_000 - 5)
    assert fanout(network)
    network.pass_time(10)
    assert not fanout(network)


def test_who_takes_up_a_topic_grafts_its_fanout() -> None:
    network = outside()
    network.pass_time(GossipParams().unsubscribe_backoff_ms / 1_000 + 5)
    network.publish(PUBLISHER, b"one")
    known = fanout(network)
    network.run(network.keys[PUBLISHER], network.gossip(PUBLISHER).subscribe(network.now, TOPIC))
    assert set(network.mesh(PUBLISHER)) == known
    assert not fanout(network)
    network.settle()
    assert all(network.keys[PUBLISHER] in network.mesh(network.keys.index(peer)) for peer in known)


def test_who_leaves_a_topic_prunes_its_mesh_for_a_short_time() -> None:
    network = with_stranger()
    network.pass_time(2)
    assert STRANGER.me in network.mesh(0)
    network.sent.clear()
    network.run(network.keys[0], network.gossip(0).unsubscribe(network.now, TOPIC))
    (prune,) = [one for rpc in to_stranger(network) for one in rpc.prune]
    assert (prune.topic, prune.backoff_s) == (TOPIC, GossipParams().unsubscribe_backoff_ms // 1_000)


def test_who_takes_a_topic_up_again_waits_before_it_grafts_those_it_left() -> None:
    network = with_stranger()
    network.pass_time(2)
    for step in ("unsubscribe", "subscribe"):
        network.run(network.keys[0], getattr(network.gossip(0), step)(network.now, TOPIC))
    network.sent.clear()
    backoff_s = GossipParams().unsubscribe_backoff_ms // 1_000
    network.pass_time(backoff_s - 1)
    assert not any(rpc.graft for rpc in to_stranger(network))
    network.pass_time(5)
    assert any(rpc.graft for rpc in to_stranger(network))


def test_a_star_delivers_from_every_leaf_to_every_leaf() -> None:
    network = Network(20)
    for leaf in range(1, 20):
        network.link(0, leaf)
    network.settle()
    network.pass_time(5)
    for leaf in range(1, 20):
        network.publish(leaf, b"from %d" % leaf)
    network.pass_time(5)
    for leaf in range(1, 20):
        delivered = network.nodes[network.keys[leaf]].delivered
        assert sorted(delivered) == sorted(b"from %d" % other for other in range(1, 20) if other != leaf)
