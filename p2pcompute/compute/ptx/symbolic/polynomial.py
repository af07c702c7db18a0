"""Polynomials with integer coefficients over named symbols: what an address is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

TERMS_MAX: Final = 48
"""Larger ones are treated as unknown numbers; an address of real code has fewer than ten."""

Monomial = tuple[str, ...]
"""Symbols, sorted, one for each power; empty for the constant term."""


@dataclass(frozen=True, slots=True)
class Poly:
    """Immutable. `terms` is sorted by monomial and holds no zero."""

    terms: tuple[tuple[Monomial, int], ...] = ()

    @classmethod
    def of(cls, terms: Mapping[Monomial, int]) -> Poly:
        return cls(tuple(sorted((monomial, factor) for monomial, factor in terms.items() if factor)))

    @classmethod
    def constant(cls, value: int) -> Poly:
        return cls((((), value),)) if value else cls()

    @classmethod
    def symbol(cls, name: str) -> Poly:
        return cls((((name,), 1),))

    def __add__(self, other: Poly) -> Poly:
        terms = dict(self.terms)
        for monomial, factor in other.terms:
            terms[monomial] = terms.get(monomial, 0) + factor
        return Poly.of(terms)

    def __sub__(self, other: Poly) -> Poly:
        return self + other.scaled(-1)

    def __mul__(self, other: Poly) -> Poly:
        terms: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in other.terms:
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return Poly.of(terms)

    def scaled(self, factor: int) -> Poly:
        return Poly(tuple((monomial, a * factor) for monomial, a in self.terms)) if factor else Poly()

    @property
    def value(self) -> int | None:
        """The number, when there is no symbol."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def offset(self) -> int:
        """The constant term."""
        return self.terms[0][1] if self.terms and not self.terms[0][0] else 0

    @property
    def variable(self) -> Poly:
        """All but the constant term."""
        return Poly(tuple(term for term in self.terms if term[0]))

    def factor(self, monomial: Monomial) -> int:
        return next((factor for other, factor in self.terms if other == monomial), 0)

    def symbols(self) -> Iterator[str]:
        for monomial, _ in self.terms:
            yield from monomial

    def content(self) -> int:
        """The greatest common divisor of all factors but the constant one; 0 without symbols."""
        return math.gcd(*(factor for monomial, factor in self.terms if monomial))

    def replaced(self, name: str, by: Poly) -> Poly:
        """Every occurrence of a symbol."""
        result = Poly(tuple(term for term in self.terms if name not in term[0]))
        for monomial, factor in self.terms:
            if name in monomial:
                rest = [symbol for symbol in monomial if symbol != name]
                product = Poly(((tuple(rest), factor),))
                for _ in range(monomial.count(name)):
                    product = product * by
                result = result + product
        return result

    def multiple_of(self, other: Poly) -> int:
        """k != 0 such that all terms of k * other are terms of this polynomial; 0 when there is none."""
        if not other.terms:
            return 0
        mine = dict(self.terms)
        monomial, factor = other.terms[0]
        times, rest = divmod(mine.get(monomial, 0), factor)
        return times if times and not rest and all(mine.get(m) == times * f for m, f in other.terms) else 0

    def __str__(self) -> str:
        parts = []
        for monomial, factor in (*self.variable.terms, *(t for t in self.terms if not t[0])):
            head = "-" if factor < 0 else "+"
            size = [str(abs(factor))] if abs(factor) != 1 or not monomial else []
            parts.append(f"{head} {'*'.join([*size, *monomial])}")
        text = " ".join(parts) or "0"
        return text.removeprefix("+ ")
