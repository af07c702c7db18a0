"""Identify push: connected peers learn at once that a peer is reached elsewhere, and nobody tells lies of others."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.envelope import consume_envelope
from trio.testing import MockClock

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import peer_id
from p2pcompute.protocol.gossip.exchange import PeerRecord, decode_record, encode_record
from p2pcompute.transport import identify, noise, push, tcp
from p2pcompute.transport.channels import pack_frame
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.push import PUSHES_BURST, Whereabouts, read
from p2pcompute.transport.relay import RelayLimits
from tests.transport.harness import LOOPBACK, REQUEST, Recorder, make, running

ME, SIGN = noise.signer(bytes([7]) * 32)
OTHER, OTHERS_SIGN = noise.signer(bytes([8]) * 32)
FAR = "/ip4/203.0.113.77/tcp/1"


def message(*addresses: str, sequence: int = 0, peer: bytes = ME) -> bytes:
    """An identify message; signed where it has a sequence."""
    record = encode_record(PeerRecord(peer, sequence, addresses), SIGN if peer == ME else OTHERS_SIGN)
    return identify.encode(ME, addresses, ["/a"], record if sequence else b"")


class Listener(Recorder):
    """A transport that keeps what it was told."""

    def __init__(self, index: int, *, relay: RelayLimits | None = None, libp2p_host: bool = False) -> None:
        super().__init__()
        self.told: list[Whereabouts] = []
        self.transport = Libp2pTransport(
            bytes([index]) * 32,
            listen=[LOOPBACK],
            events=self,
            requests={REQUEST: 1_024},
            libp2p_host=libp2p_host,
            relay=relay,
            told=self._hear,
        )

    def _hear(self, where: Whereabouts) -> None:
        self.told.append(where)
        self._wake()


def test_another_implementation_reads_what_we_push() -> None:
    found = Identify()
    found.ParseFromString(message("/ip4/1.2.3.4/tcp/5", sequence=9))
    envelope, record = consume_envelope(found.signedPeerRecord, "libp2p-peer-record")
    assert envelope.public_key.to_bytes() == ME
    assert [str(one) for one in record.addrs] == ["/ip4/1.2.3.4/tcp/5"]
    assert list(found.protocols) == ["/a"]


def test_the_signed_record_counts_more_than_the_list_beside_it() -> None:
    record = encode_record(PeerRecord(ME, 4, (FAR,)), SIGN)
    data = identify.encode(ME, ["/ip4/198.51.100.1/tcp/2"], [], record)
    assert read(data, ME, FAR) == Whereabouts(ME, (f"{FAR}/p2p/{peer_id(ME)}",), record, 4)


def test_without_a_record_the_list_counts() -> None:
    assert read(message(FAR), ME, FAR).addresses == (f"{FAR}/p2p/{peer_id(ME)}",)


def test_what_it_may_not_name_is_left_out() -> None:
    told = message("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.0.9/tcp/1", "/ip4/8.8.8.8/tcp/1", sequence=1)
    assert read(told, ME, "/ip4/8.8.4.4/tcp/9").addresses == (f"/ip4/8.8.8.8/tcp/1/p2p/{peer_id(ME)}",)
    assert len(read(told, ME, "/ip4/127.0.0.1/tcp/9").addresses) == 3


@pytest.mark.parametrize(
    "data",
    [
        message(FAR, sequence=1, peer=OTHER),
        message(FAR, sequence=1)[:-1] + b"\0",
        identify.encode(OTHER, [FAR], [], b""),
        b"\xff" * 9,
    ],
    ids=["another's record", "a bad signature", "another's key", "garbage"],
)
def test_what_is_not_its_own_word_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data, ME, FAR)


async def test_a_place_won_and_lost_is_told_to_all_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "SETTLE_S", 0.0)
    monkeypatch.setattr(push, "TOLD_PAUSE_S", 0.0)
    mover, hub = Listener(1), Listener(2, relay=RelayLimits())
    friend, stock = Listener(3), Listener(4, libp2p_host=True)
    everyone = (mover, hub, friend, stock)
    async with running(*(one.transport for one in everyone)):
        address = hub.transport.addresses()[0]
        for one in (friend, stock):
            await mover.transport.connect(one.transport.addresses()[0])
        await mover.transport.reserve(address)
        for one in (friend, stock, hub):
            await one.until(lambda: len(one.told) == 1)  # noqa: B023
            assert one.told[0].addresses == mover.transport.addresses()
            assert "p2p-circuit" in one.told[0].addresses[0]
            assert one.transport.told_by(mover.transport.peer) == one.told[0].addresses
        mover.transport.give_up_place(hub.transport.peer)
        await friend.until(lambda: len(friend.told) == 2)
        assert friend.told[1].addresses == mover.transport.addresses()
        assert decode_record(friend.told[1].record, lambda *_: True).sequence > friend.told[0].sequence
    assert not mover.told


class Crowd:
    """Addresses that change, and peers that count what they are told. Each takes a second to be told."""

    def __init__(self, peers: int) -> None:
        self.own: tuple[str, ...] = ()
        self.peers: list[Any] = [self] * peers
        self.address = FAR
        self.told_at: list[float] = []
        self.telling = self.telling_most = 0

    def addresses(self) -> tuple[str, ...]:
        return self.own

    def connections(self) -> list[Any]:
        return self.peers

    def open_protocol(self, protocol: str) -> Any:
        assert protocol == push.PROTOCOL
        self.telling += 1
        self.telling_most = max(self.telling_most, self.telling)
        return self

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(1)

    async def aclose(self) -> None:
        self.told_at.append(trio.current_time())
        self.telling -= 1

    def reset(self) -> None:
        self.telling -= 1


async def test_many_changes_are_told_together_and_the_last_one_always(autojump_clock: MockClock) -> None:
    crowd = Crowd(1)
    announcer = push.Announcer(crowd, tcp.Identity(ME, SIGN), [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        for index in range(100):
            await trio.sleep(0.1)
            crowd.own = (f"/ip4/8.8.8.8/tcp/{index}/p2p/{peer_id(ME)}",)
            announcer.moved()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    first, last = crowd.told_at
    assert last - first >= push.TOLD_PAUSE_S


async def test_what_did_not_change_is_not_told(autojump_clock: MockClock) -> None:
    crowd = Crowd(1)
    announcer = push.Announcer(crowd, tcp.Identity(ME, SIGN), [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        await trio.sleep(1)
        announcer.moved()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert not crowd.told_at


async def test_few_are_told_at_a_time(autojump_clock: MockClock) -> None:
    crowd = Crowd(100)
    announcer = push.Announcer(crowd, tcp.Identity(ME, SIGN), [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        await trio.sleep(1)
        crowd.own = (f"{FAR}/p2p/{peer_id(ME)}",)
        announcer.moved()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert len(crowd.told_at) == 100
    assert crowd.telling_most == push.SENT_AT_ONCE


async def send_push(attacker: Libp2pTransport, peer: bytes, data: bytes) -> None:
    stream = await attacker.open_stream(peer, push.PROTOCOL)
    await stream.send_all(pack_frame(data))
    await stream.send_eof()
    try:
        await stream.receive_some()
    except trio.BrokenResourceError:
        pass


async def test_a_flood_of_pushes_costs_the_sender_its_connection() -> None:
    victim, events = Listener(1), Recorder()
    attacker, friend = make(7, events), make(8, Recorder())
    async with running(victim.transport, attacker, friend):
        address = victim.transport.addresses()[0]
        peer = await attacker.connect(address)
        await friend.connect(address)
        for sequence in range(1, 1_000):
            if not events.up():
                break
            try:
                await send_push(attacker, peer, message(FAR, sequence=sequence))
            except Exception:  # whatever way the connection ends
                break
        await events.until(lambda: not events.up())
        assert len(victim.told) <= PUSHES_BURST + 1
        assert len(victim.transport._inbox._accounts) == 1
        assert await friend.request(peer, REQUEST, b"still there", timeout_s=10) == b"still there"


async def test_an_overtaken_record_changes_nothing() -> None:
    victim, attacker = Listener(1), make(7, Recorder())
    async with running(victim.transport, attacker):
        peer = await attacker.connect(victim.transport.addresses()[0])
        for sequence in (5, 4, 5, 6):
            await send_push(attacker, peer, message(f"/ip4/127.0.0.1/tcp/{sequence}", sequence=sequence))
        await victim.until(lambda: len(victim.told) == 2)
    assert [where.sequence for where in victim.told] == [5, 6]


async def test_a_lie_costs_the_stream_only() -> None:
    victim, events = Listener(1), Recorder()
    attacker = make(7, events)
    async with running(victim.transport, attacker):
        peer = await attacker.connect(victim.transport.addresses()[0])
        await send_push(attacker, peer, message(FAR, sequence=1, peer=OTHER))
        await send_push(attacker, peer, message(FAR, sequence=2))
        await victim.until(lambda: bool(victim.told))
        assert [where.sequence for where in victim.told] == [2]
        assert events.up() == {peer}
