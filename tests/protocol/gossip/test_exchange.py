"""Signed peer records, checked against another implementation, and whom a router dials on another's word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import consume_envelope, seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord as StockRecord
from multiaddr import Multiaddr

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.protocol.gossip import GossipParams, codec
from p2pcompute.protocol.gossip.exchange import (
    ADDRESSES_MAX,
    PeerRecord,
    Records,
    decode_record,
    encode_record,
)
from p2pcompute.protocol.gossip.params import EXCHANGED_PEERS_MAX, RECORD_BYTES_MAX, RECORDS_MAX
from p2pcompute.protocol.machine import Environment
from tests.protocol.gossip.harness import (
    STRANGER,
    TOPIC,
    Network,
    blamed,
    environment,
    join,
    to_stranger,
    with_stranger,
)

OTHER = environment(2_000)
PUBLIC, PRIVATE = "/ip4/8.8.4.4/tcp/4001", "/ip4/127.0.0.1/tcp/4001"


def envelope(env: Environment = OTHER, *addresses: str, sequence: int = 1) -> bytes:
    return encode_record(PeerRecord(env.me, sequence, addresses or (PUBLIC,)), env.sign)


# Records ----------------------------------------------------------------------------------------------------------


def test_what_we_write_we_read() -> None:
    record = PeerRecord(OTHER.me, 7, (PUBLIC, "/ip6/2600::1/tcp/65535"))
    assert decode_record(encode_record(record, OTHER.sign), OTHER.verify) == record


def test_our_record_is_read_by_another_implementation() -> None:
    _, record = consume_envelope(envelope(OTHER, PUBLIC, sequence=9), "libp2p-peer-record")
    assert record.peer_id.to_bytes() == PEER_ID_PREFIX + OTHER.me
    assert (record.seq, [str(one) for one in record.addrs]) == (9, [PUBLIC])


def test_a_record_of_another_implementation_is_read() -> None:
    keys = create_new_key_pair(b"\x07" * 32)
    me = ID.from_pubkey(keys.public_key)
    named, other = f"/ip6/2600::1/tcp/2/p2p/{me}", f"{PUBLIC}/p2p/{ID(PEER_ID_PREFIX + OTHER.me)}"
    addresses = [
        Multiaddr(PUBLIC),
        Multiaddr(named),
        Multiaddr(other),
        Multiaddr("/dns4/example.org/tcp/1"),
        Multiaddr("/ip4/8.8.8.8/udp/1/quic-v1"),
    ]
    stock = seal_record(StockRecord(me, addresses, 5), keys.private_key)
    record = decode_record(stock.marshal_envelope(), OTHER.verify)
    assert record == PeerRecord(keys.public_key.to_bytes(), 5, (PUBLIC, "/ip6/2600::1/tcp/2"))


def test_a_changed_record_is_refused() -> None:
    data = bytearray(envelope())
    data[-70] ^= 1
    with pytest.raises(DecodeError):
        decode_record(bytes(data), OTHER.verify)


def test_a_record_that_names_another_peer_is_refused() -> None:
    forged = encode_record(PeerRecord(STRANGER.me, 1, (PUBLIC,)), OTHER.sign)
    own_key = forged.replace(PEER_ID_PREFIX[2:] + STRANGER.me, PEER_ID_PREFIX[2:] + OTHER.me, 1)
    with pytest.raises(DecodeError):
        decode_record(own_key, OTHER.verify)


def test_a_record_that_is_too_long_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_record(bytes(RECORD_BYTES_MAX + 1), OTHER.verify)


def test_addresses_of_a_record_are_bounded() -> None:
    many = [f"/ip4/8.8.4.4/tcp/{port}" for port in range(1, 30)]
    assert len(decode_record(envelope(OTHER, *many), OTHER.verify).addresses) == ADDRESSES_MAX


def test_an_address_of_another_kind_cannot_be_written() -> None:
    with pytest.raises(UsageError):
        envelope(OTHER, "/dns/example.org/tcp/1")


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_record_raises_only_decode_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(envelope())
    for at, value in changes:
        data[at % len(data)] = value
    try:
        decode_record(bytes(data), lambda key, text, signature: True)
    except DecodeError:
        return


def test_only_the_newest_record_is_kept() -> None:
    records = Records()
    for sequence in (2, 5, 3):
        records.learn(PeerRecord(OTHER.me, sequence, ()), b"%d" % sequence)
    assert records.get(OTHER.me) == b"5"
    assert records.get(STRANGER.me) == b""


def test_kept_records_are_bounded() -> None:
    records = Records()
    for index in range(RECORDS_MAX + 5):
        records.learn(PeerRecord(index.to_bytes(32, "big"), 1, ()), b"x")
    assert len(records) == RECORDS_MAX


# PRUNE ------------------------------------------------------------------------------------------------------------


def full() -> Network:
    """A router whose mesh takes nobody any more, and that knows the record of one of its neighbours."""
    network = Network(1)
    for index in range(13):
        peer = environment(2_000 + index)
        join(network, peer.me)
        network.inject(0, peer.me, codec.encode_graft(TOPIC))
    network.gossip(0).on_record(network.now, OTHER.me, envelope())
    join(network, STRANGER.me)
    network.sent.clear()
    return network


def test_a_peer_that_finds_the_mesh_full_is_told_of_others() -> None:
    network = full()
    network.inject(0, STRANGER.me, codec.encode_graft(TOPIC))
    (prune,) = to_stranger(network)[0].prune
    assert len(prune.peers) == 13
    assert codec.Exchanged(OTHER.me, envelope()) in prune.peers
    assert STRANGER.me not in [one.peer for one in prune.peers]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", envelope()[:-1] + b"\0", envelope(environment(2_001))],
    ids=["none", "garbage", "forged", "another's"],
)
def test_a_record_that_does_not_hold_is_not_handed_on(data: bytes) -> None:
    network = Network(1)
    join(network, OTHER.me)
    network.gossip(0).on_record(network.now, OTHER.me, data)
    assert len(network.gossip(0)._records) == 0


def test_without_peer_exchange_nobody_is_named() -> None:
    network = Network(8, GossipParams(peer_exchange=False))
    network.link_all()
    network.pass_time(2)
    network.sent.clear()
    network.run(network.keys[0], network.gossip(0).unsubscribe(network.now, TOPIC))
    prunes = [one for _, _, frame in network.sent for one in codec.decode_rpc(frame).prune]
    assert prunes
    assert not any(one.peers for one in prunes)


def recommended(peers: list[codec.Exchanged], opinion: float = 20, address: str = "/ip4/1.1.1.1/tcp/1") -> Network:
    network = with_stranger(address=address)
    network.nodes[network.keys[0]].opinion[STRANGER.me] = opinion
    network.pass_time(1.5)
    network.inject(0, STRANGER.me, codec.encode_prune(TOPIC, 60, peers))
    return network


def test_a_trusted_peers_word_is_followed() -> None:
    network = recommended([codec.Exchanged(OTHER.me, envelope())])
    assert network.nodes[network.keys[0]].dialled == {OTHER.me: (PUBLIC,)}


@pytest.mark.parametrize(
    "peers",
    [
        [codec.Exchanged(OTHER.me)],
        [codec.Exchanged(STRANGER.me, envelope(STRANGER))],
        [codec.Exchanged(environment(1).me, envelope(environment(1)))],
        [codec.Exchanged(OTHER.me, envelope(environment(2_001)))],
        [codec.Exchanged(OTHER.me, envelope(OTHER, PRIVATE))],
    ],
    ids=["no record", "a neighbour", "ourselves", "another's record", "private address"],
)
def test_whom_we_cannot_or_need_not_dial_is_left_alone(peers: list[codec.Exchanged]) -> None:
    network = recommended(peers)
    assert network.nodes[network.keys[0]].dialled == {}


def test_private_addresses_are_followed_within_a_private_network() -> None:
    network = recommended([codec.Exchanged(OTHER.me, envelope(OTHER, PRIVATE))], address=PRIVATE)
    assert network.nodes[network.keys[0]].dialled == {OTHER.me: (PRIVATE,)}


def test_nobody_is_dialled_on_the_word_of_a_peer_below_the_threshold() -> None:
    network = recommended([codec.Exchanged(OTHER.me, envelope())], opinion=5)
    assert network.nodes[network.keys[0]].dialled == {}


def test_a_forged_record_counts_against_whoever_sent_it() -> None:
    bad = bytearray(envelope())
    bad[-1] ^= 1
    network = recommended([codec.Exchanged(OTHER.me, bytes(bad))])
    assert network.nodes[network.keys[0]].dialled == {}
    assert blamed(network, STRANGER.me)


def test_dials_on_anothers_word_are_bounded() -> None:
    others = [environment(2_000 + index) for index in range(30)]
    frames = [codec.Exchanged(other.me, envelope(other)) for other in others]
    network = recommended(frames)
    assert len(network.nodes[network.keys[0]].dialled) == GossipParams().exchange_dials_per_heartbeat


def test_peers_named_in_one_prune_are_bounded() -> None:
    many = [codec.Exchanged(bytes([index]) * 32) for index in range(100)]
    (prune,) = codec.decode_rpc(codec.encode_prune(TOPIC, 1, many)).prune
    assert len(prune.peers) == EXCHANGED_PEERS_MAX
