"""What the book would charge, before anything is signed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from p2pcompute.errors import NoPeersError, UsageError
from p2pcompute.protocol.verification import price_ceiling
from p2pcompute.wire import limits


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
    memory_bytes: int,
) -> Estimate:
    """From the rows of a node's book: the cheapest providers of distinct operators that fit.

    Prices may have changed when a provider is asked. Replicas that disagree make the job ask more providers, each of
    which can cost as much again; the job's budget bounds that. Raises UsageError, and NoPeersError when too few fit.
    """
    if not 1 <= replicas <= limits.REPLICAS_MAX or not 0 < expected_s <= limit_s:
        raise UsageError(f"a quote needs 1 to {limits.REPLICAS_MAX} replicas and 0 < seconds <= limit")
    limit_ms = int(limit_s * 1000)
    fitting: list[tuple[int, int, str, str]] = []
    rows = list(book)
    for row in rows:
        if _number(row, "memory_bytes") >= memory_bytes and _number(row, "device_ms_max") >= limit_ms:
            price, least = _number(row, "price_per_device_s"), _number(row, "price_minimum")
            fitting.append((price, least, str(row["peer"]), str(row["operator"])))
    chosen: dict[str, tuple[int, int, str]] = {}
    for price, least, peer, operator in sorted(fitting):
        if len(chosen) < replicas:
            chosen.setdefault(operator, (price, least, peer))
    if len(chosen) < replicas:
        raise NoPeersError(
            f"of {len(rows)} offers {len(fitting)} fit, of {len(chosen)} distinct operators; {replicas} are needed"
        )
    terms = chosen.values()
    return Estimate(
        expected=sum(price_ceiling(price, least, max(1, int(expected_s * 1000))) for price, least, _ in terms),
        worst=sum(price_ceiling(price, least, limit_ms) for price, least, _ in terms),
        providers=tuple(peer for _, _, peer in terms),
    )


def _number(row: Mapping[str, object], key: str) -> int:
    value = row[key]
    assert isinstance(value, int)
    return value
