"""Which offers fit a need, and in what order to ask. Pure: same inputs, same answer.

Constraints first, then price, then reputation, then a rendezvous hash: arriving first wins nothing, and two buyers with
different jobs break ties differently, so that they do not herd onto one provider.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from blake3 import blake3

from p2pcompute.wire import multiaddr
from p2pcompute.wire.codec import Document
from p2pcompute.wire.documents import Offer

OfferDocument = Document[Offer]


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What a job asks of a provider. Empty `engine` and zero `price_per_device_s_max` mean any."""

    memory_bytes: int
    device_ms: int
    engine: str = ""
    price_per_device_s_max: int = 0
    regions: tuple[str, ...] = ()


class Listing(msgspec.Struct, frozen=True, gc=False):
    """An offer as the book holds it: with the operator its delegation leads to."""

    offer: OfferDocument
    operator: bytes

    @property
    def peer(self) -> bytes:
        return self.offer.signer

    @property
    def network(self) -> str:
        """Where it is reached, as far as that tells one owner from another: "" says nothing."""
        return network_of(self.offer.body.addresses)


CONSTRAINTS: Final[tuple[tuple[str, Callable[[Offer, Needs], bool]], ...]] = (
    ("engine", lambda o, n: not n.engine or o.engine == n.engine),
    ("memory", lambda o, n: o.memory_bytes_max >= n.memory_bytes),
    ("device time", lambda o, n: o.device_ms_max >= n.device_ms),
    ("region", lambda o, n: not n.regions or o.region in n.regions),
    ("price", lambda o, n: not n.price_per_device_s_max or o.price_per_device_s <= n.price_per_device_s_max),
)
"""In the order in which they are reported; the price comes last, so that it is blamed only when all else fits."""


def misfit(offer: Offer, needs: Needs) -> str:
    """The first constraint the offer breaks; empty when it fits."""
    return next((name for name, holds in CONSTRAINTS if not holds(offer, needs)), "")


def rendezvous(seed: bytes, peer: bytes) -> bytes:
    """Highest-random-weight hash (Thaler and Ravishankar, 1998)."""
    return blake3(seed + peer).digest(length=8)


def rank(listings: Iterable[Listing], needs: Needs, *, seed: bytes, demerits: Callable[[bytes], int]) -> list[Listing]:
    """The fitting listings, best first. `demerits(operator)` is this peer's own evidence; negative: never again."""
    fitting = [
        (x.offer.body.price_per_device_s, demerits(x.operator), rendezvous(seed, x.peer), x.peer, x)
        for x in listings
        if demerits(x.operator) >= 0 and not misfit(x.offer.body, needs)
    ]
    fitting.sort(key=lambda row: row[:4])
    return [row[4] for row in fitting]


def network_of(addresses: Sequence[str]) -> str:
    """The /24 or /48 in the internet that the first address which is no relay's lies in; "" when none does."""
    direct = (text for text in addresses if not multiaddr.is_relayed(text))
    return multiaddr.network_of(next(direct, ""))


def distinct(listings: Iterable[Listing], count: int, *, taken: Iterable[bytes | str]) -> list[Listing]:
    """The first `count` listings of different operators in different networks, none of which is in `taken`: many keys
    are cheap, many networks are not."""
    seen = set(taken)
    chosen: list[Listing] = []
    for x in listings:
        if len(chosen) == count:
            break
        network = x.network
        if x.operator not in seen and (not network or network not in seen):
            seen.update((x.operator, network))
            chosen.append(x)
    return chosen


def explain(listings: Sequence[Listing], needs: Needs, *, demerits: Callable[[bytes], int]) -> str:
    """Why nobody serves this need, in one sentence."""
    if not listings:
        return "no offers have been seen: check that the bootstrap address is right and that providers are serving"
    reasons: dict[str, int] = {}
    nearest = 0
    for x in listings:
        reason = "banned here for wrong results" if demerits(x.operator) < 0 else misfit(x.offer.body, needs)
        reasons[reason or "busy or silent"] = reasons.get(reason or "busy or silent", 0) + 1
        if reason == "price":
            price = x.offer.body.price_per_device_s
            nearest = price if not nearest else min(nearest, price)
    text = ", ".join(f"{n} × {name}" for name, n in reasons.items())
    hint = f"; the nearest price is {nearest} micro-credits per device-second" if nearest else ""
    return f"of {len(listings)} offers none serves this: {text}{hint}"
