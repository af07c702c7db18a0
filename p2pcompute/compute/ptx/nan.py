"""Where NaN results must get the bits that PTX defines.

x86 gives an invalid f32 operation 0xffc00000 and passes payloads on; PTX always gives 0x7fffffff. Fixing every
operation would cost two instructions each, yet bits only show where a value is stored, exchanged, or read as an
integer. So: a register that only arithmetic writes is fixed where its bits are observed; one that is also written by
loads or moves of raw bits, which must pass unchanged, is fixed where arithmetic writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Immediate, Instruction, Operand, Register, registers_of
from p2pcompute.compute.ptx.llvmtext import Ops, float_literal
from p2pcompute.compute.ptx.types import TYPES

CANONICAL_BITS: Final = {"half": 0x7FFF, "float": 0x7FFFFFFF, "double": 0xFFF8000000000000}
"""PTX fixes f16 and f32. f64 is this project's choice (x86's own default), so that all CPUs agree."""

_EXPONENTS: Final = {"f32": 0xFF << 23, "f64": 0x7FF << 52}
_COPIES: Final = frozenset({"mov", "selp", "slct"})
_SIGN_ONLY: Final = frozenset({"abs", "neg", "copysign"})
_RAW: Final = frozenset({"ld", "shfl", "atom", "tex"})
_OBSERVERS: Final = frozenset({"st", "atom", "red", "shfl"})


class NanPlan:
    """`fixed_at_write`: registers whose arithmetic writers fix NaN; `fixed_at_use`: those fixed by whoever observes
    their bits.
    """

    def __init__(self, graph: Graph) -> None:
        arithmetic: set[str] = set()
        raw: set[str] = set()
        copies: list[tuple[str, str]] = []
        for instruction in _instructions(graph):
            for register in instruction.writes():
                if instruction.opcode in _COPIES:
                    copies.extend(
                        (source.name, register.name)
                        for operand in instruction.sources
                        for source in registers_of(operand)
                    )
                    if not all(isinstance(o, Register) or _is_number(o) for o in instruction.sources):
                        raw.add(register.name)
                elif makes_nan(instruction):
                    arithmetic.add(register.name)
                else:
                    raw.add(register.name)
        raw |= graph.live_in[0]
        _spread(arithmetic, copies)
        _spread(raw, copies)
        self.fixed_at_write = frozenset(arithmetic & raw)
        self.fixed_at_use = frozenset(arithmetic - raw)


def _is_number(operand: Operand) -> bool:
    """A float constant that is no NaN."""
    if not isinstance(operand, Immediate) or operand.kind not in _EXPONENTS:
        return False
    exponent = _EXPONENTS[operand.kind]
    return operand.value & exponent != exponent or operand.value & (exponent & -exponent) - 1 == 0


def _instructions(graph: Graph) -> Iterator[Instruction]:
    for block in graph.blocks:
        yield from block.core
        if block.end is not None:
            yield block.end


def _spread(names: set[str], copies: list[tuple[str, str]]) -> None:
    changed = True
    while changed:
        before = len(names)
        names.update(target for source, target in copies if source in names)
        changed = len(names) != before


def makes_nan(instruction: Instruction) -> bool:
    """Whether the result is a float that the operation itself rounds, so that a NaN in it has defined bits."""
    if not instruction.destination_types or instruction.opcode in _COPIES | _RAW | _SIGN_ONLY:
        return False
    name = instruction.destination_types[0]
    return name in TYPES and TYPES[name].is_float and not TYPES[name].is_packed


def observes(instruction: Instruction, operand: Operand, type_name: str) -> bool:
    """Whether reading `operand` as `type_name` shows its bits to something other than float arithmetic."""
    if not isinstance(operand, Register) or type_name not in TYPES:
        return False
    return instruction.opcode in _OBSERVERS or (TYPES[operand.type_name].is_float and not TYPES[type_name].is_float)


def fix(ops: Ops, llvm: str, value: str) -> str:
    """Replace a NaN. LLVM holds all NaNs for equal and would fold the choice away (it does behind a square root); the
    fence hides from it where the value came from, and costs nothing.
    """
    value = ops.call("arithmetic.fence", llvm, value)
    canonical = ops.const(llvm, float_literal(CANONICAL_BITS[llvm], llvm))
    return ops.select(ops.compare("uno", llvm, value, value), llvm, canonical, value)
