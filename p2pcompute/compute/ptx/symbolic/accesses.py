"""The accesses of a kernel to global memory, each with its address and what holds where it happens, for people and for
the provers.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pcompute.compute.ptx.effects import OFF_DEVICE
from p2pcompute.compute.ptx.ir import Entry, Module
from p2pcompute.compute.ptx.symbolic.evaluate import Evaluation, Place
from p2pcompute.compute.ptx.symbolic.polynomial import Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts
from p2pcompute.compute.ptx.symbolic.world import BUFFER, VARIABLE, WINDOW, World, open_world, pointer_part


@dataclass(frozen=True, slots=True)
class SymbolicAccess:
    """`kind` is load, store or atomic. `base`: the buffer or variable the address was made from, empty if unknown;
    `offset` is what is added to it, in bytes. `facts` hold wherever the access happens. `line` is the canonical text's.
    """

    line: int
    kind: str
    spelling: str
    size_bytes: int
    base: str
    offset: Poly
    facts: Facts
    is_ordered: bool

    @property
    def is_store(self) -> bool:
        return self.kind != "load"

    @property
    def guards(self) -> tuple[str, ...]:
        """The facts as inequalities."""
        return tuple(f"{poly} <= {most}" for poly, most in self.facts.bounds.items())

    def __str__(self) -> str:
        return f"line {self.line}: {self.kind} of {self.size_bytes} bytes at {self.base or '?'} + {self.offset}"


def addresses(module: Module, entry: Entry, world: World | None = None) -> list[SymbolicAccess]:
    """All accesses that may touch buffers or module variables, in the order of the text.

    `module` is canonical. Without a world: for reading, over tid, ctaid, ntid, nctaid and parameters by name, index
    arithmetic taken not to wrap. Raises TooComplexError.
    """
    found = Evaluation(module, entry, world or open_world(entry)).places
    accesses = [_access(place) for _, place in sorted(found.items())]
    return [access for access in accesses if access is not None]


def _access(place: Place) -> SymbolicAccess | None:
    ins = place.instruction
    space = ins.modifier("space") or "generic"
    if space in OFF_DEVICE:
        return None
    pointers = pointer_part(place.address)
    bases = [monomial[0] for monomial, factor in pointers.terms if factor == 1]
    if any(base.startswith(WINDOW) for base in bases) and space == "generic":
        return None
    is_known = len(pointers.terms) == 1 and len(bases) == 1
    base = bases[0].removeprefix(BUFFER) if is_known else ""
    kind = {"ld": "load", "st": "store"}.get(ins.opcode, "atomic")
    is_ordered = ins.modifier("order") not in (None, "weak")
    offset = place.address - pointers if is_known else place.address
    return SymbolicAccess(ins.line, kind, ins.spelling, place.size_bytes, base, offset, place.facts, is_ordered)


def is_variable(access: SymbolicAccess, space: str) -> bool:
    return access.base.startswith(f"{VARIABLE}{space} ")
