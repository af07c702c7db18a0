from __future__ import annotations

import dataclasses

from p2pcompute.identity.names import peer_id
from p2pcompute.node.reachability import (
    ASK_AGAIN_S,
    ASKED_MAX,
    OBSERVERS_MAX,
    VERDICT_S,
    Evidence,
    Sightings,
    Verdicts,
    describe,
    inbound_directly,
)
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.wire.multiaddr import Reach

PRIVATE, LOOPBACK = "/ip4/192.168.1.5/tcp/9471", "/ip4/127.0.0.1/tcp/9471"
RELAYED = f"/ip4/8.8.4.4/tcp/1/p2p/{peer_id(bytes(32))}/p2p-circuit/p2p/{peer_id(bytes(range(32)))}"
NOTHING = Evidence(addresses=[PRIVATE], observed=[], inbound=0, reached=0, missed=0, relays=0, announced=False)


def with_(**changes: object) -> Evidence:
    return dataclasses.replace(NOTHING, **changes)  # type: ignore[arg-type]


def test_a_node_on_loopback_says_so() -> None:
    assert describe(with_(addresses=[LOOPBACK], inbound=3)) == ("reached from this machine only", "")


def test_a_node_that_others_dialled_is_reached() -> None:
    found, fix = describe(with_(addresses=[LOOPBACK, PRIVATE], observed=["8.8.8.8"], inbound=2))
    assert found.startswith("reached: others hold 2")
    assert not fix


def test_being_dialled_back_is_the_best_evidence() -> None:
    assert describe(with_(reached=2, missed=1, relays=1)) == ("reached: 2 peers dialled back", "")


def test_a_node_that_nobody_can_dial_is_told_what_to_do() -> None:
    found, fix = describe(with_(missed=3))
    assert found == "only outbound: 3 peers could not dial this node"
    assert "relays" in fix


def test_a_relay_is_named_and_what_would_be_better() -> None:
    assert describe(with_(addresses=[RELAYED, PRIVATE], missed=1, relays=1)) == ("reached through 1 relays only", "")
    found, fix = describe(with_(addresses=[RELAYED, PRIVATE], observed=["8.8.8.8"], missed=1, relays=2))
    assert found == "reached through 2 relays only"
    assert fix.endswith("/ip4/8.8.8.8/tcp/9471")


def test_a_node_behind_a_router_is_told_what_to_forward() -> None:
    found, fix = describe(with_(observed=["8.8.8.8"]))
    assert "8.8.8.8" in found
    assert fix.endswith("/ip4/8.8.8.8/tcp/9471")


def test_nothing_is_guessed_where_an_address_is_announced() -> None:
    assert describe(with_(observed=["8.8.8.8"], announced=True)) == ("nobody has dialled this node yet", "")


def test_only_a_node_that_wants_to_be_dialled_can_be_only_outbound() -> None:
    assert with_(missed=1).only_outbound
    assert not with_(missed=1, reached=1).only_outbound
    assert not with_(missed=1, inbound=1).only_outbound
    assert not with_(missed=1, addresses=[LOOPBACK]).only_outbound
    assert not with_().only_outbound


def test_who_comes_through_a_relay_does_not_show_that_we_are_reached() -> None:
    peers = {
        b"1": PeerInfo(b"1", up=True, outbound=True, address=PRIVATE),
        b"2": PeerInfo(b"2", up=True, address=RELAYED),
        b"3": PeerInfo(b"3", up=True, address=PRIVATE),
    }
    assert inbound_directly(peers) == 1


def test_the_host_seen_most_often_comes_first_and_few_are_asked() -> None:
    sightings = Sightings()
    for index in range(OBSERVERS_MAX):
        assert sightings.wants(bytes([index]))
        sightings.add(bytes([index]), "10.0.0.1" if index else "10.0.0.2")
    assert sightings.hosts() == ["10.0.0.1", "10.0.0.2"]
    assert not sightings.wants(b"another")


def test_verdicts_grow_old() -> None:
    verdicts = Verdicts()
    assert verdicts.wants(b"a", 0.0, Reach.OFFICE)
    verdicts.add(b"a", True, 0.0, Reach.OFFICE)
    assert not verdicts.wants(b"a", ASK_AGAIN_S - 1, Reach.OFFICE)
    assert verdicts.wants(b"a", ASK_AGAIN_S, Reach.OFFICE)
    verdicts.add(b"b", False, 1.0, Reach.OFFICE)
    verdicts.add(b"c", None, 1.0, Reach.OFFICE)
    assert verdicts.counts(2.0) == (1, 1)
    assert verdicts.counts(VERDICT_S + 0.5) == (0, 1)


def test_a_crowd_of_neighbours_is_not_asked_round_and_round() -> None:
    verdicts = Verdicts()
    for index in range(OBSERVERS_MAX):
        assert verdicts.wants(bytes([index]), 1.0, Reach.OFFICE)
        verdicts.add(bytes([index]), True, 1.0, Reach.OFFICE)
    assert not verdicts.wants(b"another", 2.0, Reach.OFFICE)
    assert verdicts.wants(b"farther away", 2.0, Reach.INTERNET)
    assert verdicts.wants(b"another", 1.0 + ASK_AGAIN_S, Reach.OFFICE)


def test_who_says_nothing_takes_the_place_of_no_answer_but_not_for_ever() -> None:
    verdicts = Verdicts()
    for index in range(ASKED_MAX):
        assert verdicts.wants(bytes([index]), 1.0, Reach.INTERNET)
        verdicts.add(bytes([index]), None, 1.0, Reach.INTERNET)
    assert not verdicts.wants(b"another", 2.0, Reach.INTERNET)
    assert verdicts.wants(b"another", 1.0 + ASK_AGAIN_S, Reach.INTERNET)
    verdicts.add(b"another", True, VERDICT_S + 2.0, Reach.INTERNET)
    assert verdicts.counts(VERDICT_S + 2.0) == (1, 0)


def test_neighbours_prove_nothing_where_strangers_are_met() -> None:
    verdicts = Verdicts()
    verdicts.add(b"neighbour", True, 0.0, Reach.OFFICE)
    assert verdicts.counts(0.0) == (1, 0)
    verdicts.add(b"silent", None, 0.0, Reach.INTERNET)
    assert verdicts.counts(0.0) == (1, 0)
    verdicts.add(b"stranger", False, 0.0, Reach.INTERNET)
    assert verdicts.counts(0.0) == (0, 1)
    neighbour = PeerInfo(b"1", up=True, address=PRIVATE)
    assert inbound_directly({b"1": neighbour}) == 1
    stranger = PeerInfo(b"2", up=True, outbound=True, address="/ip4/8.8.8.8/tcp/1")
    assert inbound_directly({b"1": neighbour, b"2": stranger}) == 0
