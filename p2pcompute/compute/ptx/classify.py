"""Whether a kernel gives the same bits on every machine, as far as its instructions tell.

Races and reads of uninitialised memory cannot be read from PTX; a preflight run looks for those. Source of the list:
what measured public kernels use, and PTX ISA 8.4 for what is approximate or unordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import system
from p2pcompute.compute.ptx.ir import Instruction, Module, Sink, Special
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import UsageError

_APPROXIMATE: Final = frozenset({"sin", "cos", "ex2", "lg2", "tanh", "rsqrt"})
_MACHINE: Final = frozenset(
    {"clock", "clock_hi", "clock64", "globaltimer", "smid", "nsmid", "warpid", "nwarpid", "gridid"}
)


@dataclass(frozen=True, slots=True)
class Classification:
    """`exact`: nothing speaks against equal bits everywhere. `reasons`: (PTX line, what does), in order of lines.
    `approximate`: some instruction is only as good as the hardware's tables.
    """

    exact: bool
    reasons: tuple[tuple[int, str], ...]
    approximate: bool = False

    @property
    def name(self) -> str:
        """exact, order-dependent or approx."""
        return "exact" if self.exact else "approx" if self.approximate else "order-dependent"


def classify(module: Module, entry: str, *, approximate_textures: bool = False) -> Classification:
    """PTX does not say how a texture is read: `approximate_textures` if any of the launch's blends or scales
    (`Texture.is_approximate`). Raises UsageError when the module has no such entry.
    """
    if entry not in module.entries:
        raise UsageError(f"The module has no kernel '{entry}'.")
    instructions = list(module.entries[entry].instructions())
    reasons = [(ins.line, reason) for ins in instructions for reason in _reasons(ins)]
    used = system.uses_result(instructions)
    reasons.extend((ins.line, f"the result of '{ins.opcode}' differs between machines") for ins in used)
    blurred = [ins for ins in instructions if approximate_textures and ins.opcode == "tex"]
    reasons.extend((ins.line, f"'{ins.spelling}' may read a texture that blends or scales") for ins in blurred)
    is_approximate = bool(blurred) or any(map(_is_approximate, instructions))
    return Classification(not reasons, tuple(sorted(reasons)), is_approximate)


def _is_approximate(ins: Instruction) -> bool:
    return ins.opcode in _APPROXIMATE or ins.has("approx") or ins.has("full")


def _reasons(ins: Instruction) -> Iterator[str]:
    if _is_approximate(ins):
        yield f"'{ins.spelling}' is approximate"
    if ins.opcode in ("atom", "red"):
        yield from _atomic(ins)
    if ins.opcode == "activemask":
        yield "'activemask' depends on how the machine schedules lanes"
    for operand in ins.sources:
        if isinstance(operand, Special) and operand.name in _MACHINE:
            yield f"'%{operand.name}' differs between machines"


def _atomic(ins: Instruction) -> Iterator[str]:
    if ins.types and TYPES[ins.types[0]].is_float and ins.modifier("op") == "add":
        yield f"'{ins.spelling}' adds floats in no fixed order"
    elif ins.opcode == "atom" and not all(isinstance(target, Sink) for target in ins.destinations):
        yield f"the result of '{ins.spelling}' depends on the order of threads"
    elif ins.modifier("op") in ("exch", "cas"):
        yield f"'{ins.spelling}' leaves what the last thread wrote"
