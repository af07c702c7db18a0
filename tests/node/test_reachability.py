from __future__ import annotations

from p2pcompute.node.reachability import OBSERVERS_MAX, Sightings, describe

PRIVATE, LOOPBACK = "/ip4/192.168.1.5/tcp/9471", "/ip4/127.0.0.1/tcp/9471"


def test_a_node_on_loopback_says_so() -> None:
    assert describe([LOOPBACK], [], 3, announced=False) == ("reached from this machine only", "")


def test_a_node_that_others_dialled_is_reached() -> None:
    found, fix = describe([LOOPBACK, PRIVATE], ["8.8.8.8"], 2, announced=False)
    assert found.startswith("reached: others hold 2")
    assert not fix


def test_a_node_behind_a_router_is_told_what_to_forward() -> None:
    found, fix = describe([PRIVATE], ["8.8.8.8"], 0, announced=False)
    assert "8.8.8.8" in found
    assert fix.endswith("/ip4/8.8.8.8/tcp/9471")


def test_nothing_is_guessed_where_an_address_is_announced() -> None:
    assert describe([PRIVATE], ["8.8.8.8"], 0, announced=True) == ("nobody has dialled this node yet", "")


def test_the_host_seen_most_often_comes_first_and_few_are_asked() -> None:
    sightings = Sightings()
    for index in range(OBSERVERS_MAX):
        assert sightings.wants(bytes([index]))
        sightings.add(bytes([index]), "10.0.0.1" if index else "10.0.0.2")
    assert sightings.hosts() == ["10.0.0.1", "10.0.0.2"]
    assert not sightings.wants(b"another")
