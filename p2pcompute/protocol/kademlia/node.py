"""One peer's part of the DHT: answers questions from its table and its provider records."""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.protocol.kademlia.messages import (
    CLOSER_MAX,
    PROVIDERS_MAX,
    Contact,
    Kind,
    Message,
    decode,
    encode,
    position,
)
from p2pcompute.protocol.kademlia.providers import Providers
from p2pcompute.protocol.kademlia.table import Table
from p2pcompute.wire.multiaddr import reach_of

QUESTIONS_PER_S: Final = 20
"""Of one peer in the long run: a search asks a peer once or twice. An answer costs about 0.2 ms."""
QUESTIONS_BURST: Final = 100
ASKERS_MAX: Final = 4_096


class Kademlia:
    """Table, provider records, and the answers to what peers ask."""

    def __init__(self, me: bytes) -> None:
        self.me = me
        self.table, self.providers = Table(me), Providers()
        self._budgets: dict[bytes, tuple[float, int]] = {}

    def answer(self, peer: bytes, address: str, frame: bytes, now_ms: int) -> bytes | None:
        """What to answer to `peer`, which is connected from `address`; None where nothing is answered.

        Raises DecodeError for what is no question, or one too many: the stream is then reset.
        """
        if not self._spend(peer, now_ms):
            raise DecodeError("the peer asks the DHT for too much")
        message = decode(frame)
        if not message.key and message.kind is not Kind.PING:  # in answers py-libp2p leaves it out
            raise DecodeError("a question to the DHT names no key")
        if message.kind is Kind.ADD_PROVIDER:
            self._take_record(peer, address, message, now_ms)
            return None  # as go-libp2p and js-libp2p do
        if message.kind is Kind.PING:
            return encode(Message(Kind.PING))
        known = (one for one in self.table.closest(position(message.key), CLOSER_MAX + 1) if one.peer != peer)
        closer = tuple(tellable(one, address) for one in known)[:CLOSER_MAX]
        if message.kind is Kind.FIND_NODE:
            return encode(Message(Kind.FIND_NODE, message.key, self._with_wanted(message.key, closer, address)))
        providers = self.providers.get(message.key, PROVIDERS_MAX, now_ms)
        told = tuple(tellable(one, address) for one in providers if one.peer != peer)
        return encode(Message(Kind.GET_PROVIDERS, message.key, closer, told))

    def _with_wanted(self, key: bytes, closer: tuple[Contact, ...], address: str) -> tuple[Contact, ...]:
        """The wanted peer itself comes first, where it is known."""
        wanted = self.table.get(key[len(PEER_ID_PREFIX) :]) if key.startswith(PEER_ID_PREFIX) else None
        if wanted is None or any(one.peer == wanted.peer for one in closer):
            return closer
        return (tellable(wanted, address), *closer)[:CLOSER_MAX]

    def _take_record(self, peer: bytes, address: str, message: Message, now_ms: int) -> None:
        """Everybody speaks for themselves only. Who is in the table has said where it is now, too."""
        for contact in message.providers:
            if contact.peer == peer:
                own = believable(contact, address)
                self.providers.add(message.key, own, now_ms)
                if self.table.get(peer) is not None:
                    self.table.add(own, now_ms)

    def _spend(self, peer: bytes, now_ms: int) -> bool:
        tokens, at = self._budgets.pop(peer, (float(QUESTIONS_BURST), now_ms))
        tokens = min(float(QUESTIONS_BURST), tokens + (now_ms - at) * QUESTIONS_PER_S / 1000)
        self._budgets[peer] = (tokens - 1 if tokens >= 1 else tokens), now_ms
        while len(self._budgets) > ASKERS_MAX:
            del self._budgets[next(iter(self._budgets))]
        return tokens >= 1


def believable(contact: Contact, told_from: str) -> Contact:
    """Without the addresses that somebody connected from `told_from` has no business to name (wire.multiaddr.Reach)."""
    least = reach_of(told_from)
    return Contact(contact.peer, tuple(one for one in contact.addresses if reach_of(one) >= least))


def tellable(contact: Contact, told_to: str) -> Contact:
    """Without the addresses that somebody connected from `told_to` could not use, and should not learn."""
    return believable(contact, told_to)
