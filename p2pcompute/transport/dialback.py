"""AutoNAT: a peer is asked to dial us back, so that we know whether strangers can. And we do it for others.

Source: libp2p specification `autonat/autonat-v1.md`. We dial nothing but the very IP address that the asker is
connected from, end the handshake as soon as it has named itself there, and do it seldom: nobody can aim us at others.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Sequence
from typing import Final

import trio

from p2pcompute.errors import DecodeError, P2PComputeError, RemoteError, UsageError
from p2pcompute.identity.names import PEER_ID_PREFIX, peer_id_bytes
from p2pcompute.transport import tcp
from p2pcompute.transport.address import Address, parse_address
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Connection, Stream
from p2pcompute.wire import multiaddr
from p2pcompute.wire.protobuf import read_fields, write_field, write_number

log = logging.getLogger(__name__)

PROTOCOL: Final = "/libp2p/autonat/1.0.0"
MESSAGE_BYTES_MAX: Final = 4_096
ADDRESSES_MAX: Final = 3
"""Of one asker that are tried."""
DIAL_S: Final = 5.0
ANSWER_S: Final = 20.0
DIALS_AT_ONCE: Final = 4
PAUSE_S: Final = 10.0
"""Between two calls for one IP address."""
HOSTS_MAX: Final = 1_024
_FIELDS_MAX: Final = 64
_DIAL, _ANSWER = 0, 1


class Answer(enum.IntEnum):
    """Message.ResponseStatus."""

    OK = 0
    NOT_REACHED = 100
    REFUSED = 101
    BAD_REQUEST = 200
    INTERNAL = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """Who wants to be dialled, and where."""

    peer: bytes
    addresses: tuple[str, ...]


def encode_call(call: Call) -> bytes:
    addresses = b"".join(write_field(2, multiaddr.encode(text)) for text in call.addresses)
    return write_number(1, _DIAL) + write_field(2, write_field(1, write_field(1, peer_id_bytes(call.peer)) + addresses))


def decode_call(data: bytes) -> Call:
    """Raises DecodeError."""
    numbers, parts = _read(data)
    if numbers.get(1) != _DIAL or 2 not in parts:
        raise DecodeError("this is no wish to be dialled")
    info = _read(parts[2])[1].get(1, b"")
    peer, addresses = b"", list[str]()
    for number, start, end in read_fields(info, 0, len(info), _FIELDS_MAX):
        if number == 1 and end >= 0:
            peer = info[start:end]
        elif number == 2 and end >= 0:
            addresses.append(multiaddr.decode(info[start:end]))
    if not peer.startswith(PEER_ID_PREFIX) or len(peer) != len(PEER_ID_PREFIX) + 32:
        raise DecodeError("the peer that wants to be dialled is no ed25519 key")
    return Call(peer[len(PEER_ID_PREFIX) :], tuple(text for text in addresses if text))


def encode_answer(answer: Answer, address: str = "") -> bytes:
    reached = write_field(3, multiaddr.encode(address)) if address else b""
    return write_number(1, _ANSWER) + write_field(3, write_number(1, answer) + reached)


def decode_answer(data: bytes) -> Answer:
    """Raises DecodeError."""
    numbers, parts = _read(data)
    if numbers.get(1) != _ANSWER or 3 not in parts:
        raise DecodeError("this is no answer to a wish to be dialled")
    try:
        return Answer(_read(parts[3])[0].get(1, int(Answer.OK)))
    except ValueError:
        return Answer.INTERNAL


def decode_reached(data: bytes) -> tuple[str, int] | None:
    """The host and port in an answer, where we were reached; None when it names none. Raises DecodeError."""
    _, parts = _read(_read(data)[1].get(3, b""))
    at = _parse(multiaddr.decode(parts.get(3, b"")))
    return (at.host, at.port) if at is not None else None


def _read(data: bytes) -> tuple[dict[int, int], dict[int, bytes]]:
    fields = read_fields(data, 0, len(data), _FIELDS_MAX)
    numbers = {number: value for number, value, end in fields if end < 0}
    return numbers, {number: data[start:end] for number, start, end in fields if end >= 0}


class Dialback:
    """The service for others."""

    def __init__(self, identity: tcp.Identity) -> None:
        self._identity = identity
        self._dials = 0
        self._served_s: dict[str, float] = {}

    async def serve(self, connection: Connection, stream: Stream) -> None:
        """One call. Raises RemoteError where the stream must be reset."""
        with trio.fail_after(ANSWER_S):
            call = decode_call(await FrameReader(stream).next(MESSAGE_BYTES_MAX))
            await stream.send_all(pack_frame(await self._answer(connection, call)))

    async def _answer(self, connection: Connection, call: Call) -> bytes:
        if call.peer != connection.peer or connection.is_relayed:
            return encode_answer(Answer.BAD_REQUEST)
        seen = parse_address(connection.address).host
        targets = [one for one in map(_parse, call.addresses) if one is not None and one.host == seen]
        if not targets or not self._may_dial(seen):
            return encode_answer(Answer.REFUSED)
        self._dials += 1
        try:
            for target in targets[:ADDRESSES_MAX]:
                with trio.move_on_after(DIAL_S):
                    try:
                        await tcp.probe(dataclasses.replace(target, peer=call.peer), self._identity)
                        return encode_answer(Answer.OK, str(target))
                    except RemoteError as error:
                        log.debug("dialled back in vain: %s", error)
        finally:
            self._dials -= 1
        return encode_answer(Answer.NOT_REACHED)

    def _may_dial(self, host: str) -> bool:
        now = trio.current_time()
        if self._dials >= DIALS_AT_ONCE or now - self._served_s.get(host, -PAUSE_S) < PAUSE_S:
            return False
        self._served_s.pop(host, None)
        self._served_s[host] = now
        while len(self._served_s) > HOSTS_MAX:
            del self._served_s[next(iter(self._served_s))]
        return True


def _parse(text: str) -> Address | None:
    try:
        address = parse_address(text)
    except UsageError:
        return None
    return address if address.relay is None and address.port else None


REACHED: Final = {Answer.OK: True, Answer.NOT_REACHED: False}
"""What an answer says of us; all others say nothing."""


async def call_back(
    connection: Connection, me: bytes, addresses: Sequence[str]
) -> tuple[Answer, tuple[str, int] | None]:
    """Ask the peer to dial us at these addresses; what it says, and where it reached us. REFUSED also when it does not
    do this, or not now."""
    try:
        with trio.fail_after(ANSWER_S):
            stream = connection.open_protocol(PROTOCOL)
            try:
                await stream.send_all(pack_frame(encode_call(Call(me, tuple(addresses)))))
                message = await FrameReader(stream).next(MESSAGE_BYTES_MAX)
                return decode_answer(message), decode_reached(message)
            finally:
                stream.reset()
    except (P2PComputeError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
        log.debug("%s does not dial back: %r", connection.address, error)
        return Answer.REFUSED, None
