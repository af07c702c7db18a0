"""Attacks with gossip and with requests: what is false is refused, who sends it is disconnected, others are served."""

from __future__ import annotations

import itertools
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.identity.keys import KeyPair
from p2pcompute.node.ports import SystemClock
from p2pcompute.protocol.core import RPC_CHANNEL, offers_topic
from p2pcompute.protocol.gossip import CHANNEL
from p2pcompute.protocol.gossip.codec import (
    encode_graft,
    encode_ihave,
    encode_message,
    encode_prune,
    encode_subscription,
    message_id,
)
from p2pcompute.transport.libp2p import IDLE_S, PONG_S
from p2pcompute.wire import limits
from p2pcompute.wire.documents import Author, Cancel, Offer, Probe
from tests.cli.command import serving
from tests.hostile.node import ANSWER_S, Victim, attack, attacker, compare_frame

NETWORK = "main"
TOPIC = offers_topic(NETWORK)
PROMISES_S = 60.0
"""A dozen promises that nobody kept, each with its deadline."""


def author(index: int) -> Author:
    """Documents in the name of `make_peer(index)`."""
    key = KeyPair(index.to_bytes(2, "big") * 16)
    return Author(NETWORK, key.public, bytes(8), key.sign)


def probe(writer: Author) -> bytes:
    body = Probe(delegation=b"", engine="", memory_bytes_max=1, device_ms_max=1, traffic_bytes=1)
    return writer.write(SystemClock().now().wall_ms, body, lifetime_ms=limits.QUOTE_LIFETIME_MS).raw


def offer(index: int, *, ago_ms: int = 0) -> bytes:
    """A valid offer in the name of `make_peer(index)`, issued now or earlier."""
    body = Offer(b"", (), "cpu", "m", "c", "jail", "r", 2**30, 1_000, 1, 1, 1, 1, 1)
    return author(index).write(SystemClock().now().wall_ms - ago_ms, body, lifetime_ms=limits.OFFER_LIFETIME_MS).raw


def cancel(index: int) -> bytes:
    """The end of that offer."""
    return author(index).write(SystemClock().now().wall_ms, Cancel(), lifetime_ms=limits.OFFER_LIFETIME_MS).raw


def published(index: int, data: bytes, sequence: int) -> bytes:
    writer = KeyPair(index.to_bytes(2, "big") * 16)
    return encode_message(writer.public, TOPIC, data, sequence, writer.sign).part


def undecodable(index: int) -> Iterator[bytes]:
    chance = random.Random(index)
    while True:
        yield b"\x0a\xff" + chance.randbytes(100)


def forged(index: int) -> Iterator[bytes]:
    for sequence in itertools.count(1):
        part = bytearray(published(index, sequence.to_bytes(40, "big"), sequence))
        part[-1] ^= 1
        yield bytes(part)


def malformed(index: int) -> Iterator[bytes]:
    for sequence in itertools.count(1):
        yield published(index, sequence.to_bytes(40, "big"), sequence)[:-66]


def invalid(index: int) -> Iterator[bytes]:
    """Well signed, but what it carries is no document."""
    for sequence in itertools.count(1):
        yield published(index, sequence.to_bytes(40, "big"), sequence)


def truncated(index: int) -> Iterator[bytes]:
    """RPCs as they should be, cut at any byte."""
    whole = published(index, bytes(40), 1) + encode_ihave(TOPIC, [bytes(20)]) + encode_prune(TOPIC, 60)
    return itertools.cycle(whole[:size] for size in range(1, len(whole)))


def grafts(index: int) -> Iterator[bytes]:
    """Into the mesh and out of it, and in again before the backoff is over."""
    return itertools.cycle([encode_graft(TOPIC), encode_prune(TOPIC, 60)])


def advertisements(index: int) -> Iterator[bytes]:
    """Many more than a heartbeat allows, of messages that there are."""
    known = message_id(TOPIC, bytes(40))
    return itertools.repeat(encode_ihave(TOPIC, [known] * 200))


def promises(index: int) -> Iterator[bytes]:
    """Of messages that do not exist; whoever asks for them waits."""
    chance = random.Random(index)
    while True:
        yield encode_ihave(TOPIC, [chance.randbytes(20) for _ in range(5)])


KINDS = [undecodable, forged, malformed, invalid, truncated, grafts, advertisements]


async def gossips_until_disconnected(
    victim: Victim, index: int, frames: Iterator[bytes], pause_s: float, most_s: float = ANSWER_S
) -> None:
    """The offender is disconnected, and again when it comes back, unread: that is what the graylist is for."""
    async with attack(victim), attacker(victim, index) as (peer, events):
        peer.send(victim.key, CHANNEL, encode_subscription(TOPIC, subscribe=True))
        with trio.fail_after(most_s):
            for frame in frames:
                if not events.up():
                    break
                peer.send(victim.key, CHANNEL, frame)
                await trio.sleep(pause_s)
        offers = (await victim.control.status())["offers"]
        await peer.connect(str(victim.address), timeout_s=ANSWER_S)
        peer.send(victim.key, CHANNEL, published(index, offer(index), 10**9))
        with trio.fail_after(ANSWER_S):
            while events.up():
                await trio.sleep(0.02)
        assert (await victim.control.status())["offers"] == offers


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_of_false_gossip_is_disconnected(victim: Victim, kind: Callable[[int], Iterator[bytes]]) -> None:
    index = 6_000 + KINDS.index(kind)
    await gossips_until_disconnected(victim, index, kind(index), 0.005)


async def test_who_breaks_promise_after_promise_is_disconnected(victim: Victim) -> None:
    """Each is given three seconds to be kept, so this takes some heartbeats."""
    await gossips_until_disconnected(victim, 6_009, promises(6_009), 0.15, PROMISES_S)


async def test_who_sends_the_same_again_and_again_gains_nothing(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_012) as (peer, events):
        peer.send(victim.key, CHANNEL, encode_subscription(TOPIC, subscribe=True))
        frame = published(6_012, offer(6_012), 1)
        before = (await victim.control.status())["offers"]
        for _ in range(2_000):
            peer.send(victim.key, CHANNEL, frame)
        with trio.fail_after(ANSWER_S):
            while (await victim.control.status())["offers"] == before:
                await trio.sleep(0.02)
        assert (await victim.control.status())["offers"] == int(str(before)) + 1
        assert events.up() == {victim.key}
        peer.send(victim.key, CHANNEL, published(6_012, cancel(6_012), 2))


async def test_an_honest_forwarder_of_what_is_out_of_date_stays(victim: Victim) -> None:
    """Old, replaced and strangers' documents need context to be refused: whoever passes them on is not to blame."""
    async with attack(victim), attacker(victim, 6_013) as (peer, events):
        peer.send(victim.key, CHANNEL, encode_subscription(TOPIC, subscribe=True))
        for sequence in range(300):
            old = offer(6_100 + sequence % 50, ago_ms=3_600_000 + sequence)
            peer.send(victim.key, CHANNEL, published(6_100 + sequence % 50, old, sequence))
        assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)
        assert events.up() == {victim.key}
        before = (await victim.control.status())["offers"]
        peer.send(victim.key, CHANNEL, published(6_014, offer(6_014), 1))
        with trio.fail_after(ANSWER_S):
            while (await victim.control.status())["offers"] == before:
                await trio.sleep(0.02)
        peer.send(victim.key, CHANNEL, published(6_014, cancel(6_014), 2))


async def test_an_overlong_gossip_frame_costs_its_stream_only(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_010) as (peer, events):
        stream = await peer.open_stream(victim.key, CHANNEL)
        await stream.send_all(b"\xff\xff\xff\x7f" + bytes(1_000))
        with trio.fail_after(ANSWER_S), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1_000_000)
        assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)
        assert events.up() == {victim.key}


async def test_a_frame_that_never_ends_holds_no_more_than_its_limit(victim: Victim) -> None:
    async with attack(victim):
        async with attacker(victim, 6_011) as (peer, _):
            for _ in range(50):
                stream = await peer.open_stream(victim.key, CHANNEL)
                await stream.send_all(b"\x80\x80\x10" + bytes(limits.GOSSIP_RPC_BYTES_MAX - 1))
            assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)


async def test_a_signed_request_is_worth_nothing_in_others_hands(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_020) as (honest, _), attacker(victim, 6_021) as (thief, _):
        letter = probe(author(6_020))
        assert await honest.request(victim.key, RPC_CHANNEL, letter, timeout_s=ANSWER_S)
        for _ in range(50):
            with pytest.raises(RemoteError):
                await thief.request(victim.key, RPC_CHANNEL, letter, timeout_s=ANSWER_S)
        assert await honest.request(victim.key, RPC_CHANNEL, probe(author(6_020)), timeout_s=ANSWER_S)


async def test_a_request_of_yesterday_is_not_answered(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_022) as (peer, _):
        body = Probe(delegation=b"", engine="", memory_bytes_max=1, device_ms_max=1, traffic_bytes=1)
        yesterday_ms = SystemClock().now().wall_ms - 24 * 3600 * 1000
        old = author(6_022).write(yesterday_ms, body, lifetime_ms=limits.QUOTE_LIFETIME_MS).raw
        with pytest.raises(RemoteError):
            await peer.request(victim.key, RPC_CHANNEL, old, timeout_s=ANSWER_S)


async def test_requests_with_false_signatures_are_not_answered(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_023) as (peer, _):
        for _ in range(50):
            letter = bytearray(probe(author(6_023)))
            letter[-1] ^= 1
            with pytest.raises(RemoteError):
                await peer.request(victim.key, RPC_CHANNEL, bytes(letter), timeout_s=ANSWER_S)
        assert await peer.request(victim.key, RPC_CHANNEL, probe(author(6_023)), timeout_s=ANSWER_S)


async def test_pushed_documents_that_are_false_stay_out_of_the_book(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 6_024) as (peer, _):
        offers = (await victim.control.status())["offers"]
        letter = bytearray(probe(author(6_024)))
        letter[-1] ^= 1
        frame = b"\x04" + msgspec.msgpack.encode([bytes(letter)] * 200)
        for _ in range(10):
            try:
                await peer.request(victim.key, RPC_CHANNEL, frame, timeout_s=ANSWER_S)
            except RemoteError:
                pass
        assert (await victim.control.status())["offers"] == offers


def _stop_and_serve(victim: Victim, tmp_path: Path) -> None:
    """A neighbour that the kernel keeps alive and that reads nothing."""
    with serving(tmp_path / "stopped", "--bootstrap", str(victim.address), "--threads", "1") as neighbour:

        async def run() -> None:
            async with attack(victim):
                neighbour.process.send_signal(signal.SIGSTOP)
                async with attacker(victim, 6_030) as (peer, events):
                    for sequence in range(200):
                        peer.send(victim.key, CHANNEL, published(6_030, bytes(60_000), sequence))
                        await trio.sleep(0.001)
                        if not events.up():
                            break
                await victim.serves()
                neighbour.process.send_signal(signal.SIGKILL)

        trio.run(run)


def test_a_stopped_neighbour_disturbs_nobody(victim: Victim, tmp_path: Path) -> None:
    _stop_and_serve(victim, tmp_path)


@pytest.mark.nightly
def test_a_stopped_neighbour_is_given_up_and_comes_back(victim: Victim, tmp_path: Path) -> None:
    with serving(tmp_path / "stopped", "--bootstrap", str(victim.address), "--threads", "1") as neighbour:

        async def until_known(*, known: bool) -> None:
            with trio.fail_after(2 * (IDLE_S + PONG_S)):
                while (neighbour.listening["peer"] in await peers()) is not known:
                    await trio.sleep(0.2)

        async def peers() -> list[object]:
            return [row["peer"] for row in await victim.control.table("peers")]

        async def run() -> None:
            async with attack(victim):
                await until_known(known=True)
                neighbour.process.send_signal(signal.SIGSTOP)
                await until_known(known=False)
                neighbour.process.send_signal(signal.SIGCONT)
                await until_known(known=True)
                neighbour.process.send_signal(signal.SIGKILL)

        trio.run(run)
