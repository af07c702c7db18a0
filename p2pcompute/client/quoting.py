"""What the book would charge, before anything is signed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from p2pcompute.errors import NoPeersError, UsageError
from p2pcompute.identity import names
from p2pcompute.protocol.matching import Listing, Needs, Test, bind, expected_prices, misfit
from p2pcompute.protocol.pricing import price_ceiling
from p2pcompute.wire import limits
from p2pcompute.wire.codec import Document
from p2pcompute.wire.documents import Kind, Offer


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Micro-credits for all replicas together: `expected` if the kernel runs as long as was guessed, `worst` if every
    replica runs up to the limit. `providers` are the peers it was made from, cheapest first."""

    expected: int
    worst: int
    providers: tuple[str, ...]


def estimate(
    book: Iterable[Mapping[str, object]],
    *,
    replicas: int,
    expected_s: float,
    limit_s: float,
    traffic_bytes: int,
    needs: Needs,
) -> Estimate:
    """From the rows of a node's book: the cheapest providers of distinct operators that fit the needs. `traffic_bytes`
    travel for each replica.

    Prices may have changed when a provider is asked. Replicas that disagree make the job ask more providers, each of
    which can cost as much again; the job's budget bounds that. Raises UsageError, and NoPeersError when too few fit.
    """
    if not 1 <= replicas <= limits.REPLICAS_MAX or not 0 < expected_s <= limit_s:
        raise UsageError(f"a quote needs 1 to {limits.REPLICAS_MAX} replicas and 0 < seconds <= limit")
    limit_ms = int(limit_s * 1000)
    tests = bind(msgspec.structs.replace(needs, device_ms=max(needs.device_ms, limit_ms)))
    listings = [_listing(row) for row in book]
    fitting = [x for x in listings if not misfit(x, tests)]
    prices = expected_prices(needs, [(x.offer.body, x.offer.body) for x in fitting], limit_ms, traffic_bytes)
    chosen: dict[bytes, Listing] = {}
    for _, _, x in sorted((price, names.peer_id(x.peer), x) for price, x in zip(prices, fitting, strict=True)):
        if len(chosen) < replicas:
            chosen.setdefault(x.operator, x)
    if len(chosen) < replicas:
        raise NoPeersError(
            f"of {len(listings)} offers {len(fitting)} fit, of {len(chosen)} distinct operators; {replicas} are needed"
            + "".join(f"; {n} × {name}" for name, n in _misfits(listings, tests).items())
        )
    expected_ms = max(1, int(expected_s * 1000))
    return Estimate(
        expected=sum(price_ceiling(x.offer.body, expected_ms, traffic_bytes) for x in chosen.values()),
        worst=sum(price_ceiling(x.offer.body, limit_ms, traffic_bytes) for x in chosen.values()),
        providers=tuple(names.peer_id(x.peer) for x in chosen.values()),
    )


def _misfits(listings: Iterable[Listing], tests: Sequence[tuple[str, Test]]) -> Counter[str]:
    """How many offers break each constraint first."""
    return Counter(name for x in listings if (name := misfit(x, tests)))


def _listing(row: Mapping[str, object]) -> Listing:
    """A row of the book as the book itself holds it, but for the delegation and the signature."""
    body = msgspec.convert([b"", *(row[name] for name in Offer.__struct_fields__ if name != "delegation")], Offer)
    peer = names.parse_peer_id(str(row["peer"]))
    offer = Document(int(Kind.OFFER), peer, b"", 0, 0, 0, body, peer, b"")
    return Listing(offer, names.parse_name(str(row["operator"])))
