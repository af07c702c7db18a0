"""Memory as a kernel sees it, one access at a time: found, bounds-checked, and entered in the shadow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.interpret.findings import Finding, Findings, Kind
from p2pcompute.compute.ptx.interpret.ordering import Ordering
from p2pcompute.compute.ptx.interpret.shadow import PLAIN, Conflict, Shadow, Touch
from p2pcompute.compute.ptx.memory import Memory
from p2pcompute.wire.texture import Geometry, Texture

if TYPE_CHECKING:
    from p2pcompute.compute.ptx.interpret.thread import Thread

_OFFSET_MASK: Final = (1 << layout.OFFSET_BITS) - 1


@dataclass(frozen=True, slots=True)
class Access:
    """What an instruction does to memory: `count` elements of `size` bytes; `text` is the instruction as written."""

    space: str
    size: int
    count: int
    strength: int
    reads: bool
    writes: bool
    line: int
    text: str


class Segment:
    """One piece of memory that is addressed on its own. `base` is the address of its first byte, 0 for shared and local
    memory; `writable` counts bytes from its start.
    """

    def __init__(
        self,
        name: str,
        data: memoryview,
        writable: int,
        *,
        is_written: bool,
        element_bytes: int = 1,
        base: int = 0,
    ) -> None:
        self.name = name
        self.base = base
        self.data = data
        self.writable = writable
        self.element_bytes = element_bytes
        self.shadow = Shadow(is_written=is_written)

    @classmethod
    def empty(cls, name: str, size_bytes: int) -> Segment:
        """Zeroes that count as never written: shared and local memory."""
        return cls(name, memoryview(bytearray(size_bytes)), size_bytes, is_written=False)


@dataclass(frozen=True, slots=True)
class BufferNote:
    """What the checker is told about a buffer: a name for people, whether it starts with a value, bytes per element."""

    name: str
    is_written: bool
    element_bytes: int = 1


class Arena:
    """All memory of a launch but what belongs to one block or thread."""

    def __init__(self, memory: Memory, notes: Sequence[BufferNote], images: Sequence[tuple[int, str, np.ndarray]]):
        """`images` are the module's variables: (segment, space, bytes)."""
        self._segments: dict[int, Segment] = {}
        for index, note in enumerate(notes):
            array = memory.array(index)
            data = array.reshape(-1).view(np.uint8).data
            writable = array.nbytes if array.flags.writeable else 0
            number = layout.BUFFER_SEGMENT + index
            self._segments[number] = Segment(
                note.name,
                data,
                writable,
                is_written=note.is_written,
                element_bytes=note.element_bytes,
                base=number << layout.OFFSET_BITS,
            )
        for number, space, image in images:
            writable = image.nbytes if space == "global" else 0
            base = number << layout.OFFSET_BITS
            self._segments[number] = Segment(f"{space} variables", image.data, writable, is_written=True, base=base)
        self._textures = memory.textures()

    def texture(self, handle: int) -> tuple[Segment, str, Texture] | None:
        """The buffer, element type and view of a texture object."""
        if handle not in self._textures:
            return None
        index, dtype, texture = self._textures[handle]
        return self._segments[layout.BUFFER_SEGMENT + index], dtype, texture

    def begin_launch(self) -> None:
        """What earlier launches did is in order with everything to come."""
        for segment in self._segments.values():
            segment.shadow.forget()

    def find(self, thread: Thread, space: str, address: int) -> tuple[Segment | None, int]:
        """The segment an address names, and the offset in it."""
        if space == "shared":
            return thread.block.shared, address
        if space == "local":
            return thread.stack, address
        number, offset = address >> layout.OFFSET_BITS, address & _OFFSET_MASK
        if space == "generic" and number == layout.SHARED_SEGMENT:
            return thread.block.shared, offset
        if space == "generic" and number == layout.LOCAL_SEGMENT:
            return thread.stack, offset
        return self._segments.get(number), offset


class Watch:
    """Does accesses, and reports what is wrong with them. A bad load gives zeroes, a bad store nothing."""

    def __init__(self, arena: Arena, findings: Findings, launch: int, entry: str) -> None:
        self._arena = arena
        self._findings = findings
        self._launch = launch
        self._entry = entry
        self.ordering = Ordering()

    def load(self, thread: Thread, access: Access, address: int, within: Segment | None = None) -> list[int]:
        """The elements, as unsigned integers; from the segment `within` if the address is one in there."""
        found = self._checked(thread, access, address, within)
        if found is None:
            return [0] * access.count
        segment, offset = found
        values = []
        for place in range(offset, offset + access.size * access.count, access.size):
            self._enter(thread, access, segment, place, is_same=False)
            values.append(int.from_bytes(segment.data[place : place + access.size], "little"))
        return values

    def store(self, thread: Thread, access: Access, address: int, values: Sequence[int]) -> None:
        """Write unsigned integers that fit their element."""
        found = self._checked(thread, access, address)
        if found is None:
            return
        segment, offset = found
        for number, value in enumerate(values):
            place = offset + number * access.size
            data, where = value.to_bytes(access.size, "little"), slice(place, place + access.size)
            self._enter(thread, access, segment, place, is_same=segment.data[where] == data)
            segment.data[where] = data

    def exchange(self, thread: Thread, access: Access, address: int, change: Callable[[int], int]) -> int:
        """Read, change and write one element as one access; the old value."""
        found = self._checked(thread, access, address)
        if found is None:
            return 0
        segment, offset = found
        self._enter(thread, access, segment, offset, is_same=False)
        where = slice(offset, offset + access.size)
        old = int.from_bytes(segment.data[where], "little")
        segment.data[where] = change(old).to_bytes(access.size, "little")
        return old

    def texture(
        self, thread: Thread, handle: int, geometry: Geometry, line: int, text: str
    ) -> tuple[Texture, str, Callable[[int], int]] | None:
        """A texture object's view, its element type, and what reads an element of it by number."""
        found = self._arena.texture(handle)
        if found is None or found[2].geometry is not geometry:
            message = f"reads texture object {handle:#x}, which is none with {geometry.axes} coordinates"
            self._add(thread, Kind.OUT_OF_BOUNDS, line, text, handle, "", message)
            return None
        segment, dtype, view = found
        size = int(dtype[1:]) // 8
        access = Access("global", size, 1, PLAIN, reads=True, writes=False, line=line, text=text)

        def fetch(number: int) -> int:
            self._enter(thread, access, segment, number * size, is_same=False)
            return int.from_bytes(segment.data[number * size : (number + 1) * size], "little")

        return view, dtype, fetch

    def report(self, thread: Thread, kind: Kind, line: int, text: str, message: str) -> None:
        """A finding that has nothing to do with memory."""
        self._add(thread, kind, line, text, 0, "", message)

    def _checked(
        self, thread: Thread, access: Access, address: int, within: Segment | None = None
    ) -> tuple[Segment, int] | None:
        segment, offset = (within, address) if within else self._arena.find(thread, access.space, address)
        size = access.size * access.count
        limit = 0 if segment is None else segment.writable if access.writes else len(segment.data)
        verb = "writes" if access.writes else "reads"
        if offset % size:
            message = f"{verb} {size} bytes at {_place(segment, offset)}, which is no multiple of {size}"
            self._at(thread, Kind.MISALIGNED, access, address, segment, message)
        elif offset + size > limit or segment is None:
            message = f"{verb} {size} bytes at {_beyond(segment, offset, address, limit)}"
            self._at(thread, Kind.OUT_OF_BOUNDS, access, address, segment, message)
        else:
            return segment, offset
        return None

    def _enter(self, thread: Thread, access: Access, segment: Segment, place: int, *, is_same: bool) -> None:
        order, block = self.ordering, thread.block.linear
        order.time += 1
        touch = Touch(block, thread.linear, thread.epoch, thread.stamp, access.strength, access.line, order.time)
        cells = segment.shadow.cells(place, access.size)
        if access.reads and not all(cell.is_written for cell in cells):
            message = f"reads {_place(segment, place)}, which nothing has written: zero here, anything on other systems"
            self._at(thread, Kind.UNINITIALISED, access, segment.base + place, segment, message)
        if segment is thread.stack:
            for cell in cells:
                cell.is_written = cell.is_written or access.writes
            return
        if access.strength:
            order.strong_access(thread, (segment.base, place), reads=access.reads, writes=access.writes)
        for cell in cells:
            conflict = cell.touch(touch, thread.clock, writes=access.writes, reads=access.reads)
            if conflict is None or (is_same and conflict.other_wrote):
                continue
            if not order.orders(conflict.other, thread):
                self._conflict(thread, access, segment, place, conflict)
                is_same = True  # one report for all bytes of an access

    def _conflict(self, thread: Thread, access: Access, segment: Segment, place: int, conflict: Conflict) -> None:
        other, block = conflict.other, thread.block
        verb = "writes" if access.writes else "reads"
        did = "wrote" if conflict.other_wrote else "read"
        who = f"thread {_show(block.thread_of(other.thread))}"
        between = "no barrier between them"
        kind = Kind.RACE
        if other.block != block.linear:
            kind = Kind.BLOCK_RACE
            who += f" of block {_show(block.block_of(other.block))}"
            between = "and blocks have no order"
        message = f"{verb} {_place(segment, place)}, which {who} {did} (PTX line {other.line}), {between}"
        self._at(thread, kind, access, segment.base + place, segment, message, other.line)

    def _at(
        self,
        thread: Thread,
        kind: Kind,
        access: Access,
        address: int,
        segment: Segment | None,
        message: str,
        other_line: int = 0,
    ) -> None:
        name = "" if segment is None else segment.name
        self._add(thread, kind, access.line, access.text, address, name, message, other_line)

    def _add(
        self,
        thread: Thread,
        kind: Kind,
        line: int,
        text: str,
        address: int,
        buffer: str,
        message: str,
        other_line: int = 0,
    ) -> None:
        block = thread.block.index
        finding = Finding(kind, self._launch, self._entry, block, thread.index, line, text, address, buffer, message)
        self._findings.add(finding, other_line)


def _show(index: tuple[int, int, int]) -> str:
    return "(" + ",".join(map(str, index)) + ")"


def _place(segment: Segment | None, offset: int) -> str:
    """`y[12]`, or a byte where the buffer has none such element."""
    if segment is None:
        return f"address {offset:#x}"
    if segment.element_bytes > 1 and offset % segment.element_bytes == 0:
        return f"{segment.name}[{offset // segment.element_bytes}]"
    return f"byte {offset} of {segment.name}"


def _beyond(segment: Segment | None, offset: int, address: int, limit: int) -> str:
    if segment is None:
        return f"address {address:#x}, where nothing is"
    if limit == 0 and len(segment.data):
        return f"{_place(segment, offset)}, which is read-only"
    return f"{_place(segment, offset)}; it has {limit} bytes"
