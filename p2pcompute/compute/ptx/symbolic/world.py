"""The numbers a kernel is analysed for: which symbols have a value, which an interval, and which pointer is whose.

Three worlds: that of one launch (every number known), that of all launches (`static`: CUDA's own limits, and grids of
fewer than 2**31 - 2048 threads along each axis), and that of people who want to read addresses, where indices are
taken not to wrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pcompute.compute.ptx.ir import Entry
from p2pcompute.compute.ptx.symbolic.polynomial import Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts, Interval, Ranges
from p2pcompute.compute.ptx.symbolic.value import Number
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.wire.limits import BLOCK_DIMS_MAX, GRID_DIMS_MAX

AXES: Final = ("x", "y", "z")
AXIS_THREADS_MAX: Final = 2**31 - 2048
"""Threads of the whole grid along one axis, below which `ctaid * ntid + tid` cannot wrap in 32 bits."""
BUFFER: Final = "buffer "
VARIABLE: Final = "variable "
WINDOW: Final = "window "
"""How the names of symbols begin that are addresses: buffers, module variables, the shared and the local window."""
ANYWHERE: Final = -1
"""Instead of a block, for a symbol that may change at any place."""

Index = tuple[int, int, int]


@dataclass(slots=True)
class World:
    """`values`: symbols that are numbers. `pointers`: offset in the parameter block -> the buffer's symbol.
    `remainders`: a remainder's symbol -> (dividend, divisor, the quotient's symbol). `arguments`: what a symbol is a
    function of; `births`: the basic block in which any other one gets its value.
    """

    values: dict[str, int] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=Ranges)
    pointers: dict[int, str] = field(default_factory=dict)
    parameters: bytes | None = None
    trusting: bool = False
    remainders: dict[str, tuple[Poly, int, str]] = field(default_factory=dict)
    arguments: dict[str, tuple[Poly, ...]] = field(default_factory=dict)
    births: dict[str, int] = field(default_factory=dict)
    _names: dict[object, str] = field(default_factory=dict)

    def symbol(self, name: str) -> Poly:
        value = self.values.get(name)
        return Poly.symbol(name) if value is None else Poly.constant(value)

    def function(self, kind: str, arguments: tuple[Poly, ...], interval: Interval, *more: int) -> str:
        """A symbol for what an operation makes of these arguments: the same one for the same arguments."""
        name = self._named((kind, arguments, more), kind, interval)
        self.arguments[name] = arguments
        return name

    def born(self, key: object, kind: str, interval: Interval, block: int) -> str:
        """A symbol for a value of unknown make that a place in this block gives: the same one for an equal key."""
        name = self._named((kind, key), kind, interval)
        self.births[name] = block
        return name

    def _named(self, key: object, kind: str, interval: Interval) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{kind}#{len(self._names)}"
        self.ranges.symbols[name] = interval
        return name

    def is_fixed(self, poly: Poly, blocks: range) -> bool:
        """Whether nothing in this polynomial changes while these blocks run."""
        return all(self._is_fixed_symbol(symbol, blocks) for symbol in poly.symbols())

    def _is_fixed_symbol(self, symbol: str, blocks: range) -> bool:
        if symbol in self.arguments:
            return all(self.is_fixed(argument, blocks) for argument in self.arguments[symbol])
        birth = self.births.get(symbol)
        return birth is None or (birth != ANYWHERE and birth not in blocks)

    def integer(self, number: Number, facts: Facts, *, signed: bool) -> Poly | None:
        """The register read as a signed or unsigned number, as a polynomial that equals it; None if it may wrap."""
        low, high = self.ranges.of(number.poly, facts)
        if self.trusting:
            return number.poly
        if low is None or high is None:
            return None
        whole = 1 << number.bits
        least = -(whole >> 1) if signed else 0
        turns = -((low - least) // whole)
        if high + turns * whole > least + whole - 1:
            return None
        return number.poly + Poly.constant(turns * whole)


def launch_world(
    grid: Index, block: Index, parameters: bytes, pointers: Mapping[int, str], *, trusting: bool = False
) -> World:
    """One launch. `parameters` is its packed block, in which `pointers` marks the addresses of buffers."""
    world = World(parameters=parameters, pointers=dict(pointers), trusting=trusting)
    for axis, blocks, threads in zip(AXES, grid, block, strict=True):
        world.values[f"ntid.{axis}"], world.values[f"nctaid.{axis}"] = threads, blocks
        for name, count in ((f"tid.{axis}", threads), (f"ctaid.{axis}", blocks)):
            if count == 1:
                world.values[name] = 0
            world.ranges.symbols[name] = (0, count - 1)
    return world


def static_world(entry: Entry, pointers: Mapping[int, str], grid: Index) -> World:
    """Every launch whose grid has more than one block along the same axes at most as this one."""
    world = open_world(entry, pointers)
    world.trusting = False
    for axis, blocks in zip(AXES, grid, strict=True):
        if blocks == 1:
            world.values[f"ctaid.{axis}"], world.values[f"nctaid.{axis}"] = 0, 1
    return world


def open_world(entry: Entry, pointers: Mapping[int, str] | None = None) -> World:
    """All launches, for reading: without `pointers` every 64-bit parameter may be the address of a buffer."""
    known = pointers
    if known is None:
        known = {
            p.offset_bytes: f"{BUFFER}{p.name}"
            for p in entry.parameters
            if TYPES[p.type_name].bits == p.size_bytes * 8 == 64
        }
    world = World(pointers=dict(known), trusting=True)
    for axis, blocks, threads in zip(AXES, GRID_DIMS_MAX, BLOCK_DIMS_MAX, strict=True):
        of = world.ranges.symbols
        of[f"tid.{axis}"], of[f"ntid.{axis}"] = (0, threads - 1), (1, threads)
        of[f"ctaid.{axis}"], of[f"nctaid.{axis}"] = (0, blocks - 1), (1, blocks)
        world.ranges.products[f"ctaid.{axis}", f"ntid.{axis}"] = (0, AXIS_THREADS_MAX - 1)
        world.ranges.products[f"nctaid.{axis}", f"ntid.{axis}"] = (1, AXIS_THREADS_MAX)
    return world


def pointer_part(poly: Poly) -> Poly:
    """The terms that are addresses of memory, without what is added to them."""
    return Poly(
        tuple(
            (monomial, factor)
            for monomial, factor in poly.terms
            if len(monomial) == 1 and monomial[0].startswith((BUFFER, VARIABLE, WINDOW))
        )
    )
