"""Where others reach this peer: where it listens or is announced, where peers found it when they dialled back, and
through which relays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pcompute.transport.address import Address, parse_address, reachable_hosts
from p2pcompute.transport.relayed import Place
from p2pcompute.wire.multiaddr import network_of

CONFIRMED_BY: Final = 3
"""Peers of different networks that have to find us at an address where we do not listen ourselves: one that lies must
not make us send others to a stranger."""
CONFIRMED_S: Final = 3_600.0
"""How long what one peer found counts; it is asked again long before."""
CANDIDATES_MAX: Final = 8
FINDERS_MAX: Final = 8


class Location:
    """One peer's addresses. `public` is its own key."""

    def __init__(self, public: bytes, announce: Sequence[str]) -> None:
        self._public = public
        self.announce = tuple(Address(a.host, a.port, public) for a in map(parse_address, announce))
        self.bound: tuple[Address, ...] = ()
        """Of our sockets; empty before we listen."""
        self.places: dict[bytes, Place] = {}
        """By the relay."""
        self._listening: tuple[tuple[str, int], ...] = ()
        self._found: dict[tuple[str, int], dict[str, float]] = {}
        """Where peers found us: by whose network, and until when that counts."""

    def listen(self, sockets: Sequence[tuple[str, int]]) -> None:
        """We listen on these hosts and ports."""
        self._listening = tuple(sockets)
        self.follow()

    def follow(self) -> None:
        """Look again which addresses this machine has."""
        self.bound = tuple(
            Address(host, port, self._public) for bound, port in self._listening for host in reachable_hosts(bound)
        )

    def asked(self, seen: str | None) -> tuple[Address, ...]:
        """Where a peer that sees us at the host `seen` is asked to dial: a forwarded port often has the same number."""
        if self.announce:
            return self.announce
        guessed = [Address(seen, one.port, self._public) for one in self.bound] if seen is not None else []
        return tuple(dict.fromkeys((*self.bound, *guessed)))

    def found(self, at: Address, finder: str, now_s: float) -> None:
        """A peer, whose own address is `finder`, reached us at `at`, one of those asked for."""
        if at in self.announce or at in self.bound:
            return
        finders = self._found.setdefault((at.host, at.port), {})
        finders[network_of(finder) or finder] = now_s + CONFIRMED_S
        while len(finders) > FINDERS_MAX:
            del finders[next(iter(finders))]
        while len(self._found) > CANDIDATES_MAX:
            del self._found[next(iter(self._found))]

    def expire(self, now_s: float) -> None:
        """Forget what was found too long ago."""
        for at, finders in list(self._found.items()):
            self._found[at] = {who: until_s for who, until_s in finders.items() if until_s > now_s}
            if not self._found[at]:
                del self._found[at]

    def addresses(self) -> tuple[Address, ...]:
        """All, those through a relay first: who holds a place there cannot be reached otherwise."""
        at = [(p.relay, one) for p in self.places.values() for one in (p.address, *p.others)]
        relayed = [Address(one.host, one.port, self._public, relay) for relay, one in at]
        return tuple(dict.fromkeys((*relayed, *(self.announce or (*self.bound, *self._confirmed())))))

    def _confirmed(self) -> list[Address]:
        sure = [at for at, finders in self._found.items() if len(finders) >= CONFIRMED_BY]
        return [Address(host, port, self._public) for host, port in sure]
