"""Which offers fit a need, and in what order to ask. Pure: same inputs, same answer.

Constraints first, then price, then reputation, then a rendezvous hash: arriving first wins nothing, and two buyers with
different jobs break ties differently, so that they do not herd onto one provider.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from p2pcompute.protocol import pricing
from p2pcompute.wire import limits, multiaddr
from p2pcompute.wire.codec import Document
from p2pcompute.wire.documents import Needs as Needs
from p2pcompute.wire.documents import Offer
from p2pcompute.wire.documents import RankBy as RankBy

OfferDocument = Document[Offer]


ISOLATION: Final = ("none", "jail")
"""Levels of isolation, weakest first; what is not named here counts as none."""

ANYBODY: Final = Needs()


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


RoundTrip = Callable[[bytes], int | None]
"""Milliseconds to a peer and back, as measured here; None when never measured."""


def unmeasured(peer: bytes) -> int | None:
    """Nothing is known of any round trip."""
    return None


Test = Callable[[Offer, Listing], bool]
"""Whether a listing, its offer first, gives what one constraint of a need asks."""


class Constraint(NamedTuple):
    """One thing a need can ask: in which field, and the test that its value makes when it is not empty."""

    name: str
    field: str
    test: Callable[[Any, RoundTrip], Test]


QUANTITIES: Final = {
    "memory": ("memory_bytes_max", "memory_bytes"),
    "device time": ("device_ms_max", "device_ms"),
    "compute capability": ("compute_capability", "compute_capability"),
    "throughput": ("mflops", "mflops"),
    "double precision": ("mflops_f64", "mflops_f64"),
    "copy rate": ("copy_mb_s", "copy_mb_s"),
}
"""Constraint -> the field of the offer that must be at least the field of the need."""

quantities: Final[Callable[[Offer], tuple[int, ...]]] = operator.attrgetter(*(o for o, _ in QUANTITIES.values()))
_wanted: Final[Callable[[Needs], tuple[int, ...]]] = operator.attrgetter(*(n for _, n in QUANTITIES.values()))

Floor = tuple[int, int]
"""The number of a quantity, and the least of it that serves."""


def floors(needs: Needs) -> list[Floor]:
    """What a need asks of the quantities."""
    return [(number, least) for number, least in enumerate(_wanted(needs)) if least]


def _at_least(name: str, offered: str, wanted: str) -> Constraint:
    value_of = operator.attrgetter(offered)
    return Constraint(name, wanted, lambda least, _: lambda o, x: value_of(o) >= least)


def _same(name: str) -> Constraint:
    value_of = operator.attrgetter(name)
    return Constraint(name, name, lambda value, _: lambda o, x: value_of(o) == value)


def _level(label: str) -> int:
    return ISOLATION.index(label) if label in ISOLATION else 0


CONSTRAINTS: Final = (
    _same("engine"),
    _same("model"),
    *(_at_least(name, *fields) for name, fields in QUANTITIES.items()),
    Constraint("isolation", "isolation", lambda label, _: lambda o, x: _level(o.isolation) >= _level(label)),
    _same("toolchain"),
    Constraint("region", "regions", lambda names, _: lambda o, x: o.region in names),
    Constraint("denied region", "regions_denied", lambda names, _: lambda o, x: o.region not in names),
    Constraint("jurisdiction", "jurisdictions", lambda names, _: lambda o, x: any(j in names for j in o.jurisdictions)),
    Constraint(
        "denied jurisdiction",
        "jurisdictions_denied",
        lambda names, _: lambda o, x: not any(j in names for j in o.jurisdictions),
    ),
    Constraint("power", "watts_max", lambda most, _: lambda o, x: 0 < o.watts <= most),
    Constraint("carbon", "gco2_per_kwh_max", lambda most, _: lambda o, x: 0 < o.gco2_per_kwh <= most),
    Constraint("operator", "operators", lambda keys, _: lambda o, x: x.operator in keys),
    Constraint("denied operator", "operators_denied", lambda keys, _: lambda o, x: x.operator not in keys),
    Constraint("round trip", "rtt_ms_max", lambda most, rtt: lambda o, x: (rtt(x.peer) or 0) <= most),
    Constraint("price per gigabyte", "price_per_gb_max", lambda most, _: lambda o, x: o.price_per_gb <= most),
    Constraint("price", "price_per_device_s_max", lambda most, _: lambda o, x: o.price_per_device_s <= most),
)
"""In the order in which they are reported; the price comes last, so that it is blamed only when all else fits."""
_fields: Final[Callable[[Needs], tuple[Any, ...]]] = operator.attrgetter(*(c.field for c in CONSTRAINTS))


def bind(needs: Needs, rtt: RoundTrip = unmeasured) -> list[tuple[str, Test]]:
    """The tests a need makes, by the names of their constraints."""
    return [(c.name, c.test(value, rtt)) for c, value in zip(CONSTRAINTS, _fields(needs), strict=True) if value]


def misfit(x: Listing, tests: Iterable[tuple[str, Test]]) -> str:
    """The first constraint the listing breaks; empty when it fits."""
    offer = x.offer.body
    return next((name for name, holds in tests if not holds(offer, x)), "")


def rendezvous(seed: bytes, peer: bytes) -> bytes:
    """Highest-random-weight hash (Thaler and Ravishankar, 1998)."""
    return blake3(seed + peer).digest(length=8)


MFLOP_IN_TFLOP: Final = 10**6


def price_per_tflop(offer: Offer) -> int:
    """Micro-credits for 10^12 operations at the stated throughput, rounded up; above all prices where none is."""
    if not offer.mflops:
        return limits.PRICE_MAX * MFLOP_IN_TFLOP + 1
    return -(-offer.price_per_device_s * MFLOP_IN_TFLOP // offer.mflops)


RUNGS: Final[Mapping[RankBy, Callable[[Offer], int]]] = {
    RankBy.DEVICE_SECOND: operator.attrgetter("price_per_device_s"),
    RankBy.GFLOP: price_per_tflop,
}
"""What comes first in each order: the least."""


def expected_prices(
    needs: Needs, terms: Sequence[tuple[Offer, pricing.Rates]], device_ms: int, moved_bytes: int
) -> list[int]:
    """What a replica would cost at each of these, to compare them by, bytes included: for so much device time, or, by
    GFLOP, for the work that takes the slowest of them so much."""
    us = device_ms * 1_000
    slowest = min((offer.mflops for offer, _ in terms if offer.mflops), default=0)
    if needs.rank_by is RankBy.DEVICE_SECOND or not slowest:
        return [pricing.price(rates, us, moved_bytes) for _, rates in terms]
    return [
        pricing.price(rates, us * slowest // offer.mflops, moved_bytes) if offer.mflops else limits.PRICE_MAX + 1
        for offer, rates in terms
    ]


def rank(
    listings: Iterable[Listing],
    needs: Needs,
    *,
    seed: bytes,
    demerits: Callable[[bytes], int],
    rtt: RoundTrip = unmeasured,
) -> list[Listing]:
    """The fitting listings, best first. `demerits(operator)` is this peer's own evidence; negative: never again.

    Book.ranked gives the same without looking at them all.
    """
    tests = bind(needs, rtt)
    fitting = [x for x in listings if demerits(x.operator) >= 0 and not misfit(x, tests)]
    rung = RUNGS[needs.rank_by]
    return sorted(fitting, key=lambda x: (rung(x.offer.body), *merit(x, seed, demerits)))


def merit(x: Listing, seed: bytes, demerits: Callable[[bytes], int]) -> tuple[int, bytes, bytes]:
    """What decides between listings of one rank; the least is best."""
    return demerits(x.operator), rendezvous(seed, x.peer), x.peer


@functools.lru_cache(maxsize=16_384)
def network_of(addresses: tuple[str, ...]) -> str:
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


Nearest = tuple[Callable[[Offer, int], int], Callable[[int, int], int], Callable[[int], str]]
"""The number that a constraint is about, of an offer and a round trip (0 when not stated or measured); which of two is
nearer to what was wanted; and how it is said."""


def _numbers(field: str) -> Callable[[Offer, int], int]:
    value_of = operator.attrgetter(field)
    return lambda offer, _: int(value_of(offer))


NEAREST: Final[Mapping[str, Nearest]] = {
    "memory": (_numbers("memory_bytes_max"), max, "{} bytes".format),
    "device time": (_numbers("device_ms_max"), max, "{} ms".format),
    "compute capability": (_numbers("compute_capability"), max, lambda tenths: f"{tenths / 10}"),
    "throughput": (_numbers("mflops"), max, "{} MFLOP/s".format),
    "double precision": (_numbers("mflops_f64"), max, "{} MFLOP/s".format),
    "copy rate": (_numbers("copy_mb_s"), max, "{} MB/s".format),
    "power": (_numbers("watts"), min, "{} W".format),
    "carbon": (_numbers("gco2_per_kwh"), min, "{} g of CO2 per kWh".format),
    "round trip": (lambda _, rtt: rtt, min, "{} ms".format),
    "price per gigabyte": (_numbers("price_per_gb"), min, "{} micro-credits".format),
    "price": (_numbers("price_per_device_s"), min, "{} micro-credits per device-second".format),
}
"""The constraints that ask for a number."""


def explain(
    listings: Sequence[Listing], needs: Needs, *, demerits: Callable[[bytes], int], rtt: RoundTrip = unmeasured
) -> str:
    """Why nobody serves this need, in one sentence, with the nearest number that would do for each constraint that some
    offer breaks and no other."""
    if not listings:
        return "no offers have been seen: check that the bootstrap address is right and that providers are serving"
    tests = bind(needs, rtt)
    reasons: dict[str, int] = {}
    nearest: dict[str, int] = {}
    for x in listings:
        offer = x.offer.body
        broken = ["banned here for wrong results"] if demerits(x.operator) < 0 else []
        broken += [name for name, holds in tests if not holds(offer, x)]
        reason = broken[0] if broken else "busy or silent"
        reasons[reason] = reasons.get(reason, 0) + 1
        if len(broken) == 1 and reason in NEAREST:
            value_of, nearer, _ = NEAREST[reason]
            value = value_of(offer, rtt(x.peer) or 0)
            if value:
                nearest[reason] = nearer(value, nearest.get(reason, value))
    text = ", ".join(f"{n} × {name}" for name, n in reasons.items())
    hints = [
        f"the nearest {name} is {said(nearest[name])}" for name, (_, _, said) in NEAREST.items() if name in nearest
    ]
    return f"of {len(listings)} offers none serves this: {text}" + "".join(f"; {hint}" for hint in hints)
