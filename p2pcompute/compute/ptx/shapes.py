"""What loads and stores touch: the shape of one access, and windows of accesses that are tested together."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pcompute.compute.ptx.ir import Address, Group, Instruction, Operand, Register
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import Kind


@dataclass(frozen=True, slots=True)
class Shape:
    """What a load or store touches per lane."""

    space: str
    address: Address
    elements: tuple[Operand, ...]
    type_name: str

    @property
    def element_bytes(self) -> int:
        return TYPES[self.type_name].size_bytes

    @property
    def size_bytes(self) -> int:
        return self.element_bytes * len(self.elements)


@dataclass(slots=True)
class Window:
    """`members`: the accesses by their place in the block. `pointers`: host address of offset `low` per segment, once
    tested.
    """

    space: str
    base: Register
    kind: Kind
    members: dict[int, Shape] = field(default_factory=dict)
    stores: set[int] = field(default_factory=set)
    pointers: list[str] = field(default_factory=list)

    @property
    def first_load(self) -> Shape | None:
        """The first of its loads from global memory."""
        if self.space != "global":
            return None
        return next((shape for place, shape in self.members.items() if place not in self.stores), None)

    @property
    def element_bytes(self) -> int:
        """The size of all accesses, if they have one and are aligned together; else 0."""
        sizes = {shape.size_bytes for shape in self.members.values()}
        size = sizes.pop()
        together = all((shape.address.offset_bytes - self.low) % size == 0 for shape in self.members.values())
        return 0 if sizes or not together else size

    @property
    def low(self) -> int:
        return min(shape.address.offset_bytes for shape in self.members.values())

    @property
    def high(self) -> int:
        return max(shape.address.offset_bytes + shape.size_bytes for shape in self.members.values())

    @property
    def needs_writable(self) -> bool:
        return bool(self.stores)


def shape_of(ins: Instruction) -> Shape:
    address, value = (
        (ins.sources[0], ins.destinations[0]) if ins.opcode == "ld" else (ins.destinations[0], ins.sources[0])
    )
    assert isinstance(address, Address)
    elements = value.items if isinstance(value, Group) else (value,)
    return Shape(ins.modifier("space") or "generic", address, elements, ins.types[0])
