"""One iterative search: ask those nearest to the target for peers that are nearer, until nobody knows any.

Source: libp2p specification `kad-dht/README.md` ("Peer routing", "Content provider advertisement and discovery"). The
driver asks whom `next` names, and says what came of it. What is told by others is used for this search only.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from typing import Final

from p2pcompute.protocol.kademlia.messages import ADDRESSES_MAX, Contact, peer_position

ASKED_AT_ONCE: Final = 3
"""alpha of Kademlia."""
NEAREST_ASKED: Final = 3
"""beta: a search is over when the nearest so many that answer have been asked. Sources: the specification's "at least
alpha"; go-libp2p-kad-dht, `lookup.go`."""
RESULT_PEERS: Final = 20
"""k: so many of the nearest a search finds, and a thorough one asks."""
QUESTIONS_MAX: Final = 64
"""Of one search: whoever invents ever nearer peers ends it, and nothing more."""
CANDIDATES_MAX: Final = 256


class _State(enum.Enum):
    NEW = "new"
    ASKED = "asked"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclasses.dataclass(slots=True)
class _Candidate:
    contact: Contact
    distance: int
    state: _State = _State.NEW


class Search:
    """Looks for the peers nearest to `target`, a position."""

    def __init__(self, me: bytes, target: int, start: Iterable[Contact], nearest_asked: int = RESULT_PEERS) -> None:
        """`nearest_asked`: of the nearest peers so many must have been asked."""
        self._me, self._target, self._nearest_asked = me, target, nearest_asked
        self._candidates: dict[bytes, _Candidate] = {}
        self._questions = 0
        self._add(start)

    @property
    def done(self) -> bool:
        """Whether there is nobody left to ask and no answer to wait for."""
        return not self._waiting() and not self._open()

    def next(self) -> list[Contact]:
        """Whom to ask now; each must be followed by `answered` or `failed`."""
        out = []
        for candidate in self._open()[: ASKED_AT_ONCE - self._waiting()]:
            candidate.state = _State.ASKED
            self._questions += 1
            out.append(candidate.contact)
        return out

    def answered(self, peer: bytes, closer: Sequence[Contact]) -> None:
        """A peer named these, with addresses that it may name."""
        self._candidates[peer].state = _State.ANSWERED
        self._add(closer)

    def failed(self, peer: bytes) -> None:
        self._candidates[peer].state = _State.FAILED

    def result(self) -> list[Contact]:
        """The nearest peers, the nearest first: those that did not fail to answer, whether asked or not."""
        return [one.contact for one in self._nearest(RESULT_PEERS)]

    def contact(self, peer: bytes) -> Contact | None:
        """What was said of a peer."""
        candidate = self._candidates.get(peer)
        return candidate.contact if candidate is not None else None

    def _add(self, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            if contact.peer == self._me:
                continue
            known = self._candidates.get(contact.peer)
            if known is None:
                distance = peer_position(contact.peer) ^ self._target
                self._candidates[contact.peer] = _Candidate(contact, distance)
            elif known.state is _State.NEW:  # one liar cannot hide where a peer is
                addresses = tuple(dict.fromkeys((*known.contact.addresses, *contact.addresses)))
                known.contact = Contact(contact.peer, addresses[:ADDRESSES_MAX])
        if len(self._candidates) > CANDIDATES_MAX:
            new = [one for one in self._sorted() if one.state is _State.NEW]
            for one in new[max(0, len(new) - (len(self._candidates) - CANDIDATES_MAX)) :]:
                del self._candidates[one.contact.peer]

    def _sorted(self) -> list[_Candidate]:
        return sorted(self._candidates.values(), key=lambda one: one.distance)

    def _waiting(self) -> int:
        return sum(one.state is _State.ASKED for one in self._candidates.values())

    def _open(self) -> list[_Candidate]:
        """Of the nearest, those that were not asked yet."""
        if self._questions >= QUESTIONS_MAX:
            return []
        near = self._nearest(self._nearest_asked)
        return [one for one in near if one.state is _State.NEW][: QUESTIONS_MAX - self._questions]

    def _nearest(self, count: int) -> list[_Candidate]:
        return [one for one in self._sorted() if one.state is not _State.FAILED][:count]
