"""Which pointer parameter an address comes from: a guess, so that its segment is looked up once per warp.

`add`, `mad` and their like keep the parameter of the one operand that has one. Nothing rests on it: the test of an
access compares the address with the bounds of the segment that was looked up, and if the guess was wrong the test fails
and the checked access looks for itself.
"""

from __future__ import annotations

from p2pcompute.compute.ptx.ir import Address, Entry, Instruction, Register, Symbol
from p2pcompute.compute.ptx.types import TYPES

_KEEPS = frozenset({"mov", "cvta", "add", "sub", "mad", "selp"})


def guess(entry: Entry) -> dict[str, int]:
    """Register name -> offset, in the parameter block, of the pointer it was made from."""
    found: dict[str, int] = {}
    contested: set[str] = set()
    changed = True
    while changed:
        changed = False
        for instruction in entry.instructions():
            origin = _origin(instruction, entry, found)
            for register in instruction.writes():
                known = found.get(register.name)
                if origin is None or origin == known or register.name in contested:
                    continue
                changed = True
                if known is None:
                    found[register.name] = origin
                else:
                    contested.add(register.name)
                    del found[register.name]
    return found


def _origin(instruction: Instruction, entry: Entry, found: dict[str, int]) -> int | None:
    if instruction.opcode == "ld" and instruction.modifier("space") == "param":
        address = instruction.sources[0]
        if not isinstance(address, Address) or not isinstance(address.base, Symbol):
            return None
        parameter = entry.parameter(address.base.name)
        is_pointer = TYPES[instruction.types[0]].size_bytes == 8 and len(instruction.destinations) == 1
        return parameter.offset_bytes + address.offset_bytes if parameter is not None and is_pointer else None
    if instruction.opcode not in _KEEPS:
        return None
    origins = {found[s.name] for s in instruction.sources if isinstance(s, Register) and s.name in found}
    return origins.pop() if len(origins) == 1 else None
