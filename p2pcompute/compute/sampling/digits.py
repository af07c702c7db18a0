"""Whether an address names its block: offsets as numbers in a mixed radix.

An offset is a constant plus digits times strides. Sort the digits by stride. Where the stride of a digit, and of each
above it, is at least the reach of everything below, two equal addresses have equal digits there, as in any positional
system. If those digits name the block, no two blocks meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx.symbolic.accesses import SymbolicAccess
from p2pcompute.compute.ptx.symbolic.polynomial import Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts, Interval
from p2pcompute.compute.ptx.symbolic.world import AXES, World

_FLAT: Final = {
    Poly.symbol(f"ctaid.{axis}") * Poly.symbol(f"ntid.{axis}") + Poly.symbol(f"tid.{axis}"): axis for axis in AXES
}
"""ctaid * ntid + tid names its block for every ntid, since tid < ntid."""

_CONSTANT: Final = Poly.symbol("constant")


@dataclass(frozen=True, slots=True)
class Digit:
    """`stride` is positive. Two digits are the same one if stride and polynomial are."""

    stride: int
    poly: Poly


@dataclass(frozen=True, slots=True)
class _Written:
    """One access as digits: their intervals there, and the constant."""

    digits: dict[Digit, Interval]
    constant: int


def named_axes(world: World, accesses: Sequence[SymbolicAccess]) -> set[str]:
    """Axes along which blocks that touch a common byte through any two of these accesses must be the same."""
    facts = accesses[0].facts
    for access in accesses[1:]:
        facts = facts.common(access.facts)
    pinned = _pinned(world, accesses)
    best: set[str] = set()
    for compounds in (_compounds(facts), list(_FLAT)):
        written = [_written(world, access, compounds) for access in accesses]
        for each in (written, _with_constants_as_digit(written)):
            sizes = [access.size_bytes for access in accesses]
            axes = _axes(world, _determined(each, sizes), facts) | pinned
            if len(axes) > len(best):
                best = axes
    return best


def groups(world: World, accesses: Sequence[SymbolicAccess]) -> list[list[SymbolicAccess]]:
    """Accesses of one buffer, apart where their whole extents are: only within a group can two meet."""
    spans = [(world.ranges.of(access.offset, access.facts), access) for access in accesses]
    spans.sort(key=lambda pair: (pair[0][0] is not None, pair[0][0] or 0))
    found: list[list[SymbolicAccess]] = []
    end: int | None = 0
    for (low, high), access in spans:
        behind = None if high is None else high + access.size_bytes
        if found and (low is None or end is None or low < end):
            found[-1].append(access)
            end = None if end is None or behind is None else max(end, behind)
        else:
            found.append([access])
            end = behind
    return found


def _pinned(world: World, accesses: Sequence[SymbolicAccess]) -> set[str]:
    """Axes along which the guards of all accesses leave one block, the same one."""
    pinned = set()
    for axis in AXES:
        spans = {world.ranges.of(Poly.symbol(f"ctaid.{axis}"), access.facts) for access in accesses}
        if len(spans) == 1:
            low, high = spans.pop()
            if low is not None and low == high:
                pinned.add(axis)
    return pinned


def _compounds(facts: Facts) -> list[Poly]:
    """Sums that a guard bounds, like the index in `index < n`: digits of their own, longest first."""
    keys = {key if key.terms[0][1] > 0 else key.scaled(-1) for key in facts.bounds if len(key.terms) > 1}
    return [*sorted(keys, key=lambda key: (-len(key.terms), key.terms)), *_FLAT]


def _written(world: World, access: SymbolicAccess, compounds: Iterable[Poly]) -> _Written:
    rest, digits = access.offset.variable, {}

    def add(factor: int, poly: Poly) -> None:
        key = poly if factor > 0 else poly.scaled(-1)
        digits[Digit(abs(factor), key)] = world.ranges.of(key, access.facts)

    for compound in compounds:
        times = rest.multiple_of(compound)
        if times:
            rest = rest - compound.scaled(times)
            add(times, compound)
    for monomial, factor in rest.terms:
        add(factor, Poly(((monomial, 1),)))
    return _Written(digits, access.offset.offset)


def _with_constants_as_digit(written: Sequence[_Written]) -> list[_Written]:
    """The same numbers, their constants as multiples of what divides all their differences: rows of a tile, fields of
    a structure of arrays.
    """
    first = min(each.constant for each in written)
    step = math.gcd(*(each.constant - first for each in written))
    if not step:
        return list(written)
    digit = Digit(step, _CONSTANT)
    turns = [(each.constant - first) // step for each in written]
    return [_Written({**each.digits, digit: (n, n)}, first) for each, n in zip(written, turns, strict=True)]


def _determined(written: Sequence[_Written], sizes: Sequence[int]) -> set[Digit]:
    """Digits that every access has and that equal addresses have equal."""
    digits: dict[Digit, Interval] = {}
    for each in written:
        for digit, interval in each.digits.items():
            digits[digit] = _wider(digits.get(digit, interval), interval)
    for each in written:
        for digit in digits:
            if digit not in each.digits:
                digits[digit] = _wider(digits[digit], (0, 0))
    constants = [each.constant for each in written]
    reach: int | None = max(c + size for c, size in zip(constants, sizes, strict=True)) - min(constants)
    found: list[Digit] = []
    for digit in sorted(digits, key=lambda each: (each.stride, each.poly.terms)):
        low, high = digits[digit]
        if low is not None and low == high:
            found.append(digit)
            continue
        if reach is None or digit.stride < reach:
            found.clear()
        else:
            found.append(digit)
        reach = None if reach is None or low is None or high is None else reach + digit.stride * max(0, high - low)
    return {digit for digit in found if all(digit in each.digits for each in written)}


def _wider(left: Interval, right: Interval) -> Interval:
    low = None if left[0] is None or right[0] is None else min(left[0], right[0])
    high = None if left[1] is None or right[1] is None else max(left[1], right[1])
    return low, high


def _axes(world: World, digits: Iterable[Digit], facts: Facts) -> set[str]:
    """The axes of the block that these digits' polynomials name, themselves taken apart."""
    known: set[Poly] = set()
    work = [digit.poly for digit in digits]
    axes: set[str] = set()
    while work:
        poly = work.pop()
        if poly in known:
            continue
        known.add(poly)
        if poly in _FLAT:
            axes.add(_FLAT[poly])
        axes.update(axis for axis in AXES if poly == Poly.symbol(f"ctaid.{axis}"))
        if len(poly.terms) > 1 or poly.content() > 1 or poly.offset:
            parts = {Digit(abs(f), Poly(((m, 1 if f > 0 else -1),))) for m, f in poly.variable.terms}
            written = _Written({part: world.ranges.of(part.poly, facts) for part in parts}, 0)
            work.extend(_positive(digit.poly) for digit in _determined([written], [1]))
        work.extend(_dividends(world, known))
    return axes


def _positive(poly: Poly) -> Poly:
    return poly if poly.terms[0][1] > 0 else poly.scaled(-1)


def _dividends(world: World, known: set[Poly]) -> list[Poly]:
    """Numbers whose quotient and remainder by the same divisor are known."""
    return [
        poly.variable
        for name, (poly, _, quotient) in world.remainders.items()
        if Poly.symbol(name) in known and Poly.symbol(quotient) in known
    ]
