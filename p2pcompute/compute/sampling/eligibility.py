"""May single blocks of this launch be recomputed, and how is that known? Rules are those of docs/spec/sampling.md."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import effects
from p2pcompute.compute.ptx.classify import classify
from p2pcompute.compute.ptx.ir import Entry, Module
from p2pcompute.compute.ptx.launch import canonical_module
from p2pcompute.compute.ptx.symbolic import (
    SymbolicAccess,
    TooComplexError,
    World,
    addresses,
    launch_world,
    static_world,
)
from p2pcompute.compute.ptx.symbolic.accesses import is_variable
from p2pcompute.compute.ptx.symbolic.world import AXES, AXIS_THREADS_MAX, BUFFER
from p2pcompute.compute.sampling import digits, slices
from p2pcompute.errors import UsageError

Index = tuple[int, int, int]
REASONS_MAX: Final = 16


class Tier(enum.Enum):
    """How blocks are known to be independent. MAP: they are if running the address slice finds no conflict."""

    STATIC = "static"
    LAUNCH = "launch"
    MAP = "map"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class KernelLaunch:
    """What a proof is about. `parameters` is the packed block; `buffers` maps offsets in it to the names of buffers
    whose addresses lie there, one name for one buffer.
    """

    entry: str
    grid: Index
    block: Index
    parameters: bytes
    buffers: Mapping[int, str]

    @property
    def blocks(self) -> int:
        x, y, z = self.grid
        return x * y * z


@dataclass(frozen=True, slots=True)
class Reason:
    """`rule` is the number in docs/spec/sampling.md, `line` that of the canonical PTX."""

    rule: str
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence} (rule {self.rule})"


@dataclass(frozen=True, slots=True)
class Eligibility:
    """`reasons`: why it is no better tier. `stored`: the buffers that the launch may write. `hindrances`: what keeps a
    launch of independent blocks from being sampled all the same.
    """

    tier: Tier
    reasons: tuple[Reason, ...]
    stored: tuple[str, ...] = ()
    hindrances: tuple[Reason, ...] = ()

    @property
    def is_proven(self) -> bool:
        return self.tier in (Tier.STATIC, Tier.LAUNCH)

    @property
    def fault(self) -> str:
        """Why this launch cannot be sampled, as a sentence; empty when it can (tier `map`: if its map is clean)."""
        against = self.reasons if self.tier is Tier.NONE else self.hindrances
        return str(against[0]) if against else ""


def eligibility(module: Module, entry: str, launch: KernelLaunch) -> Eligibility:
    """The best tier that holds for this launch, and why no better one does. Raises UsageError for an unknown entry.

    Nothing runs. Takes milliseconds for ordinary kernels and about two seconds at most.
    """
    canonical = canonical_module(module)
    if entry not in canonical.entries:
        raise UsageError(f"The module has no kernel '{entry}'.")
    kernel = canonical.entries[entry]
    unknown = _unknown_effects(kernel)
    if unknown:
        return Eligibility(Tier.NONE, _shown(unknown))
    pointers = {offset: f"{BUFFER}{name}" for offset, name in launch.buffers.items()}
    numbers = launch_world(launch.grid, launch.block, launch.parameters, pointers)
    try:
        accesses = addresses(canonical, kernel, numbers)
    except TooComplexError as error:
        return Eligibility(Tier.NONE, (Reason("1", kernel.line, str(error)),))
    refused = list(_refusals(accesses))
    stored = tuple(sorted({access.base for access in accesses if access.is_store and access.base}))
    if refused:
        return Eligibility(Tier.NONE, _shown(refused), stored)
    inexact = [Reason("10", line, sentence) for line, sentence in classify(canonical, entry).reasons]
    uncut = slices.obstacles(canonical, kernel, accesses)
    hindrances = _shown([*inexact, *(Reason("11", line, sentence) for line, sentence in uncut)])
    why_not_static = _static(canonical, kernel, launch, pointers)
    if not why_not_static:
        return Eligibility(Tier.STATIC, (), stored, hindrances)
    why_not_launch = list(_meetings(numbers, accesses, launch.grid))
    if not why_not_launch:
        return Eligibility(Tier.LAUNCH, _shown(why_not_static), stored, hindrances)
    if uncut:
        unmapped = [Reason("9", line, sentence) for line, sentence in uncut]
        return Eligibility(Tier.NONE, _shown([*why_not_launch, *unmapped]), stored)
    return Eligibility(Tier.MAP, _shown(why_not_launch), stored, hindrances)


def _shown(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))[:REASONS_MAX]


def _unknown_effects(entry: Entry) -> list[Reason]:
    known = effects.ACCESSES | effects.PURE | effects.EXCHANGES | effects.CONTROL
    return [
        Reason("5", ins.line, f"what '{ins.spelling}' does to memory is not analysed")
        for ins in entry.instructions()
        if ins.opcode not in known
    ]


def _refusals(accesses: list[SymbolicAccess]) -> Iterable[Reason]:
    """Rules 1 to 4: what no proof can mend."""
    any_store = any(access.is_store for access in accesses)
    for access in accesses:
        if access.kind == "atomic":
            yield Reason("2", access.line, f"'{access.spelling}' lets blocks meet in global memory")
        elif access.is_ordered:
            yield Reason("3", access.line, f"'{access.spelling}' is volatile or ordered")
        elif access.is_store and any(is_variable(access, space) for space in ("global", "const")):
            yield Reason("4", access.line, "stores to a variable of the module")
        elif not access.base and any_store:
            yield Reason("1", access.line, f"'{access.spelling}': the buffer behind the address is not known")


def _static(module: Module, entry: Entry, launch: KernelLaunch, pointers: Mapping[int, str]) -> list[Reason]:
    """Why the proof needs numbers of the launch; empty when it does not."""
    for axis, blocks, threads in zip(AXES, launch.grid, launch.block, strict=True):
        if blocks * threads > AXIS_THREADS_MAX:
            return [Reason("8", entry.line, f"the grid has {blocks * threads} threads along {axis}")]
    world = static_world(entry, pointers, launch.grid)
    return list(_meetings(world, addresses(module, entry, world), launch.grid))


def _meetings(world: World, accesses: list[SymbolicAccess], grid: Index) -> Iterable[Reason]:
    """Rule 6: stored buffers in which two blocks might meet."""
    needed = {axis for axis, blocks in zip(AXES, grid, strict=True) if blocks > 1}
    for buffer in sorted({access.base for access in accesses if access.is_store}):
        mine = [access for access in accesses if access.base == buffer]
        for group in digits.groups(world, mine):
            stores = [access for access in group if access.is_store]
            if not stores:
                continue
            missing = needed - digits.named_axes(world, group)
            if missing:
                axes = ", ".join(f"ctaid.{axis}" for axis in sorted(missing))
                sentence = f"blocks that differ in {axes} may meet in {buffer} at {stores[0].offset}"
                yield Reason("6", stores[0].line, sentence[:240])
