"""How large symbols are, and what conditions say about them: intervals of polynomials.

A fact is a polynomial without constant term and an upper bound for it. `None` stands for no bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pcompute.compute.ptx.symbolic.polynomial import Monomial, Poly

FACTS_MAX: Final = 64
"""Per place of the program; further ones are forgotten, which proves less and nothing wrong."""

Interval = tuple[int | None, int | None]
ANYTHING: Final[Interval] = (None, None)


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds at one place: `bounds` maps a polynomial to the greatest value it can have."""

    bounds: Mapping[Poly, int] = field(default_factory=dict)

    def holding(self, poly: Poly, most: int) -> Facts:
        """Also: poly <= most."""
        key, bound = normal(poly, most)
        known = self.bounds.get(key)
        if not key.terms or (known is not None and known <= bound) or len(self.bounds) >= FACTS_MAX:
            return self
        return Facts({**self.bounds, key: bound})

    def common(self, other: Facts) -> Facts:
        """What holds whichever of two paths was taken."""
        shared = {k: max(bound, other.bounds[k]) for k, bound in self.bounds.items() if k in other.bounds}
        return Facts(shared)


def normal(poly: Poly, most: int) -> tuple[Poly, int]:
    """The same inequality without a constant and with factors that share no divisor."""
    key, most = poly.variable, most - poly.offset
    divisor = key.content()
    if divisor > 1:
        key, most = Poly(tuple((m, f // divisor) for m, f in key.terms)), most // divisor
    return key, most


@dataclass(slots=True)
class Ranges:
    """Intervals of symbols, and of products of symbols that are known better than their factors."""

    symbols: dict[str, Interval] = field(default_factory=dict)
    products: dict[Monomial, Interval] = field(default_factory=dict)

    def of(self, poly: Poly, facts: Facts) -> Interval:
        """The least and the greatest value a polynomial can have here."""
        low, high = self._by_terms(poly, facts)
        for key, bound in facts.bounds.items():
            high = _least(high, self._through(poly, key, bound))
            below = self._through(poly.scaled(-1), key, bound)
            low = _greatest(low, None if below is None else -below)
        return low, high

    def _through(self, poly: Poly, key: Poly, bound: int) -> int | None:
        """An upper bound by one fact: poly = k * key + rest, k > 0."""
        times = poly.multiple_of(key)
        if times <= 0:
            return None
        rest = self.plain(poly - key.scaled(times))[1]
        return None if rest is None else times * bound + rest

    def plain(self, poly: Poly) -> Interval:
        """By the symbols' own intervals alone."""
        return self._by_terms(poly, Facts())

    def _by_terms(self, poly: Poly, facts: Facts) -> Interval:
        low: int | None = 0
        high: int | None = 0
        for monomial, factor in poly.terms:
            a, b = self._term(monomial, facts)
            if factor < 0:
                a, b = b, a
            low = None if low is None or a is None else low + factor * a
            high = None if high is None or b is None else high + factor * b
        return low, high

    def _term(self, monomial: Monomial, facts: Facts) -> Interval:
        """What each fact says of one of its terms, given the least that its others can be."""
        low, high = self.product(monomial)
        for key, bound in facts.bounds.items():
            factor = key.factor(monomial) if monomial else 0
            if not factor:
                continue
            least = self.plain(key - Poly(((monomial, factor),)))[0]
            if least is not None and factor > 0:
                high = _least(high, (bound - least) // factor)
            elif least is not None:
                low = _greatest(low, -((bound - least) // -factor))
        return low, high

    def product(self, monomial: Monomial) -> Interval:
        known = self.products.get(monomial)
        if known is not None:
            return known
        whole: Interval = (1, 1)
        for symbol in monomial:
            whole = _times(whole, self.symbols.get(symbol, ANYTHING))
        return whole


def _times(left: Interval, right: Interval) -> Interval:
    (a, b), (c, d) = left, right
    if a is not None and b is not None and c is not None and d is not None:
        corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners)
    if a is not None and c is not None and a >= 0 and c >= 0:
        return a * c, None
    return ANYTHING


def _least(left: int | None, right: int | None) -> int | None:
    return right if left is None else left if right is None else min(left, right)


def _greatest(left: int | None, right: int | None) -> int | None:
    return right if left is None else left if right is None else max(left, right)


def hull(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval that holds all of these."""
    lows, highs = zip(*intervals, strict=True)
    low = None if None in lows else min(lows)
    high = None if None in highs else max(highs)
    return low, high
