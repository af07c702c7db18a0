"""What is known of a register: a polynomial that is congruent to it, or for a predicate the condition it stands for."""

from __future__ import annotations

from dataclasses import dataclass

from p2pcompute.compute.ptx.symbolic.polynomial import Poly


@dataclass(frozen=True, slots=True)
class Number:
    """The register equals `poly` modulo 2**bits. So additions and products may wrap; what may not is decided where the
    register is read as a signed or unsigned number (see `World.integer`).
    """

    poly: Poly
    bits: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`poly` compared with zero: `operation` is eq, ne, lt, le, gt or ge."""

    operation: str
    poly: Poly


@dataclass(frozen=True, slots=True)
class Both:
    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Either:
    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Unknown:
    """A predicate nothing is known of."""


Condition = Comparison | Both | Either | Unknown
Value = Number | Condition

_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


def negated(condition: Condition) -> Condition:
    match condition:
        case Comparison(operation, poly):
            return Comparison(_OPPOSITE[operation], poly)
        case Both(left, right):
            return Either(negated(left), negated(right))
        case Either(left, right):
            return Both(negated(left), negated(right))
        case Unknown():
            return condition


def inequalities(condition: Condition) -> list[Poly]:
    """Polynomials that are at most zero where the condition holds. Of `ne` and of alternatives there are none."""
    match condition:
        case Comparison("lt", poly):
            return [poly + Poly.constant(1)]
        case Comparison("le", poly):
            return [poly]
        case Comparison("gt", poly):
            return [Poly.constant(1) - poly]
        case Comparison("ge", poly):
            return [poly.scaled(-1)]
        case Comparison("eq", poly):
            return [poly, poly.scaled(-1)]
        case Both(left, right):
            return [*inequalities(left), *inequalities(right)]
        case _:
            return []


def differences(condition: Condition) -> list[Poly]:
    """Polynomials that are not zero where the condition holds."""
    match condition:
        case Comparison("ne", poly):
            return [poly]
        case Both(left, right):
            return [*differences(left), *differences(right)]
        case _:
            return []
