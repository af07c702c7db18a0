"""Loads and stores. Three ways: a window (a range checked once per block, then plain vector accesses), a checked
scalar, a checked helper.

A *window* covers all accesses of one block through one base register whose address is uniform or affine. Its test says
that the whole range, of all lanes and all constant offsets, lies inside one segment; behind it the accesses need no
test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from p2pcompute.compute.ptx import gathers, layout, patterned, prefetch
from p2pcompute.compute.ptx.bounds import Bounds, Place
from p2pcompute.compute.ptx.checked import Checked
from p2pcompute.compute.ptx.ir import Immediate, Instruction, Operand, Register, Symbol
from p2pcompute.compute.ptx.llvmtext import Ops, suffix, vector
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.shapes import Shape, Window, shape_of
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import SEGMENT_LANES_MIN, VARYING, Kind
from p2pcompute.errors import PtxError

STRIDE_BYTES_MAX: Final = 1 << 20
PATTERN_BYTES_MAX: Final = 1 << 25
"""Larger strides, and lanes further from the first, are left to the checked gather; keeps a window's range far from
2**40.
"""


GATHERS_MAX: Final = 16
"""Loads tested in place; each is long where a processor gathers lane by lane."""
NEAR_ELEMENTS: Final = 2
"""Lanes up to so many elements apart are loaded with what lies between them."""
WORD_BYTES: Final = 8
"""Vector elements are gathered together up to this size: a gather costs the same for 4 and for 8 bytes."""


class Access:
    def __init__(self, frame: Frame, checked: Checked, bounds: Bounds) -> None:
        self._frame = frame
        self._code = frame.code
        self._checked = checked
        self._bounds = bounds
        self.is_streaming = False
        """Whether the block being written runs once per thread, in thread blocks of several rows."""
        self.is_repeated = False
        """Whether it is in a loop."""
        self._is_seldom = False
        self._strides_by_grid = prefetch.may_stride_by_grid(frame.entry)
        self._gathers = 0

    @contextmanager
    def seldom(self) -> Iterator[None]:
        """For code that next to never runs: the shortest will do."""
        self._is_seldom = True
        yield
        self._is_seldom = False

    # Windows -----------------------------------------------------------------------------------------------------

    def windows(self, instructions: list[Instruction]) -> list[Window]:
        """Windows of a block, from bases that are not written before the access within it."""
        found: dict[tuple[str, str], Window] = {}
        written: set[str] = set()
        for place, ins in enumerate(instructions):
            if ins.opcode in ("ld", "st") and ins.guard is None:
                shape = shape_of(ins)
                base = shape.address.base
                if isinstance(base, Register) and base.name not in written and self._is_regular(ins, shape, base):
                    window = found.setdefault(
                        (shape.space, base.name), Window(shape.space, base, self._frame.kind(base.name))
                    )
                    window.members[place] = shape
                    if ins.opcode == "st":
                        window.stores.add(place)
            written.update(register.name for register in ins.writes())
        return [w for w in found.values() if w.kind.is_affine or len(w.members) > 1]

    def piece_end(self, instructions: list[Instruction]) -> int:
        """Where the first regular access stands whose base is written before it; behind it a new test can begin."""
        written: set[str] = set()
        for place, ins in enumerate(instructions):
            if ins.opcode in ("ld", "st") and ins.guard is None:
                shape = shape_of(ins)
                base = shape.address.base
                if isinstance(base, Register) and base.name in written and self._is_regular(ins, shape, base):
                    return place
            written.update(register.name for register in ins.writes())
        return len(instructions)

    def _is_regular(self, ins: Instruction, shape: Shape, base: Register) -> bool:
        kind = self._frame.kind(base.name)
        if shape.space not in ("global", "shared", "const"):
            return False
        if kind.is_uniform:
            return ins.opcode == "ld"
        if not kind.is_affine or self._frame.layout.segment < SEGMENT_LANES_MIN or abs(kind.stride) > STRIDE_BYTES_MAX:
            return False
        if kind.is_pattern:
            offsets = kind.offsets(self._code.lanes)
            return all(o % shape.size_bytes == 0 and abs(o) <= PATTERN_BYTES_MAX for o in offsets)
        return ins.opcode == "ld" if kind.stride == 0 else kind.stride % shape.size_bytes == 0

    # Accesses ----------------------------------------------------------------------------------------------------

    def emit(self, ins: Instruction, window: Window | None) -> None:
        shape = shape_of(ins)
        if shape.space == "param" and isinstance(shape.address.base, Symbol):
            self._load_parameter(ins, shape)
        elif window is not None:
            self._in_window(ins, shape, window)
        elif ins.opcode == "ld" and self._is_uniform(shape) and shape.space in ("global", "shared", "const"):
            self._load_scalar(ins, shape)
        elif ins.opcode == "st" and self._is_uniform(shape) and shape.space in ("global", "shared"):
            self._store_scalar(ins, shape)
        else:
            self._with_helper(ins, shape)

    def _is_uniform(self, shape: Shape) -> bool:
        base = shape.address.base
        return not isinstance(base, Register) or self._frame.kind(base.name).is_uniform

    def _load_parameter(self, ins: Instruction, shape: Shape) -> None:
        base = shape.address.base
        parameter = self._frame.entry.parameter(base.name) if isinstance(base, Symbol) else None
        end = shape.address.offset_bytes + shape.size_bytes
        if parameter is None or shape.address.offset_bytes < 0 or end > parameter.size_bytes:
            raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' reads outside a parameter.")
        llvm = TYPES[shape.type_name].llvm
        for index, target in enumerate(shape.elements):
            offset = parameter.offset_bytes + shape.address.offset_bytes + index * shape.element_bytes
            pointer = self._code.value(f"getelementptr i8, ptr %parameters, i64 {offset}")
            value = self._code.value(f"load {llvm}, ptr {pointer}, align 1, !invariant.load !0")
            self._frame.write(target, value, shape.type_name, SCALAR, ins)

    def address(self, shape: Shape, mode: int) -> str:
        """The address in its space as i64. 32-bit bases wrap at 32 bits."""
        ops = self._frame.ops(mode)
        base, offset = shape.address.base, shape.address.offset_bytes
        if isinstance(base, Symbol):
            return ops.const("i64", self._frame.symbol_address(base.name) + offset)
        if isinstance(base, Immediate):
            return ops.const("i64", base.value + offset)
        name = "u64" if TYPES[base.type_name].bits == 64 else "u32"
        value = self._frame.read(base, name, mode)
        llvm = TYPES[name].llvm
        if offset:
            value = ops.by("add", llvm, value, offset)
        return ops.resize(llvm, value, "i64")

    def _load_scalar(self, ins: Instruction, shape: Shape) -> None:
        guard = self._frame.guard(ins, SCALAR) if ins.guard and self._frame.kind(ins.guard.name).is_uniform else None
        if ins.guard is not None and guard is None:
            self._with_helper(ins, shape)
            return
        done = before = ""
        if guard is not None:
            begin, done, before = self._code.fresh("do"), self._code.fresh("done"), self._code.label_now
            self._code.do(f"br i1 {guard}, label %{begin}, label %{done}")
            self._code.label(begin)
        values = self._checked_scalars(ins, shape)
        llvm = TYPES[shape.type_name].llvm
        if guard is not None:
            after = self._code.label_now
            self._code.do(f"br label %{done}")
            self._code.label(done)
            values = [self._code.value(f"phi {llvm} [ {v}, %{after} ], [ zeroinitializer, %{before} ]") for v in values]
        for target, value in zip(shape.elements, values, strict=True):
            self._frame.write(target, value, shape.type_name, SCALAR, ins)

    def _store_scalar(self, ins: Instruction, shape: Shape) -> None:
        """All lanes store to one address, in lane order: what the last one stores stays."""
        code, ops = self._code, self._frame.ops(SCALAR)
        bits = code.word_of(self._frame.active(ins))
        begin, done = code.fresh("do"), code.fresh("done")
        code.do(f"br i1 {ops.compare('ne', code.word, bits, '0')}, label %{begin}, label %{done}")
        code.label(begin)
        last = ops.two("sub", "i32", str(code.lanes - 1), code.lane_by("ctlz", bits, zero_is_poison=True))
        llvm = TYPES[shape.type_name].llvm
        values = []
        for element in shape.elements:
            if self._frame.analysis.kind(element).is_uniform:
                values.append(self._frame.read(element, shape.type_name, SCALAR, ins))
            else:
                lanes = self._frame.read(element, shape.type_name, VECTOR, ins)
                values.append(code.value(f"extractelement {code.vector(llvm)} {lanes}, i32 {last}"))
        first = code.lane_by("cttz", bits, zero_is_poison=True)
        pointer = self._checked_place(ins, shape, first, writable=True)
        for index, value in enumerate(values):
            cell = code.value(f"getelementptr i8, ptr {pointer}, i64 {index * shape.element_bytes}")
            code.do(f"store {_volatile(ins)}{llvm} {value}, ptr {cell}, align {shape.element_bytes}")
        code.do(f"br label %{done}")
        code.label(done)

    def _checked_scalars(self, ins: Instruction, shape: Shape) -> list[str]:
        return self._scalars(ins, shape, self._checked_place(ins, shape, "", writable=False))

    def _checked_place(self, ins: Instruction, shape: Shape, lane: str, *, writable: bool) -> str:
        """Host pointer of a uniform address; traps in `lane` (the first active one if empty) when it is outside or
        misaligned.
        """
        ops = self._frame.ops(SCALAR)
        address = self.address(shape, SCALAR)
        if shape.space == "shared":
            base, limit, offset = "%shared", "%shared.bytes", address
        else:
            base, limit, offset = self._bounds.row(address, writable=writable)
        size = shape.size_bytes
        inside = ops.compare("ule", "i64", ops.by("add", "i64", offset, size), limit)
        inside = ops.two("and", "i1", inside, ops.compare("ult", "i64", offset, str(1 << layout.OFFSET_BITS)))
        even = ops.compare("eq", "i64", ops.by("and", "i64", offset, size - 1), "0")
        ok, bad = self._code.fresh("ok"), self._code.fresh("bad")
        self._code.do(f"br i1 {ops.two('and', 'i1', inside, even)}, label %{ok}, label %{bad}, !prof !2")
        self._code.label(bad)
        kind = ops.select(even, "i32", str(layout.TRAP_BOUNDS), str(layout.TRAP_MISALIGNED))
        self.trap(kind, ins.line, lane or self.first_lane(), address)
        self._code.label(ok)
        return self._code.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def first_lane(self) -> str:
        return self._code.lane_by("cttz", self._code.word_of(self._frame.mask), zero_is_poison=False)

    def trap(self, kind: str, line: int, lane: str, address: str) -> None:
        """Record a trap and leave the warp function."""
        self._code.do(f"call void @trap(ptr %state, i32 {kind}, i32 {line}, i32 {lane}, i64 {address})")
        self._code.do("br label %warp.trapped")

    def _scalars(self, ins: Instruction, shape: Shape, pointer: str) -> list[str]:
        llvm = TYPES[shape.type_name].llvm
        values = []
        for index in range(len(shape.elements)):
            cell = (
                self._code.value(f"getelementptr i8, ptr {pointer}, i64 {index * shape.element_bytes}")
                if index
                else pointer
            )
            values.append(self._code.value(f"load {_volatile(ins)}{llvm}, ptr {cell}, align {shape.element_bytes}"))
        return values

    def _in_window(self, ins: Instruction, shape: Shape, window: Window) -> None:
        offset = shape.address.offset_bytes - window.low
        pointers = [self._code.value(f"getelementptr i8, ptr {p}, i64 {offset}") for p in window.pointers]
        if shape.space == "global" and window.kind.stride == shape.size_bytes:
            self._prefetch(ins, shape, window, pointers)
        if self._is_patterned(ins, shape, window.kind):
            self._patterned(ins, shape, window, pointers[0])
        elif ins.opcode == "st":
            self._store_window(ins, shape, window.kind.stride, pointers)
        elif window.kind.is_uniform:
            for target, value in zip(shape.elements, self._scalars(ins, shape, pointers[0]), strict=True):
                self._frame.write(target, value, shape.type_name, SCALAR, ins)
        else:
            pieces = [self._load_piece(ins, shape, window.kind.stride, pointer) for pointer in pointers]
            for index, target in enumerate(shape.elements):
                value = self.joined([piece[index] for piece in pieces], TYPES[shape.type_name].llvm)
                self._frame.write(target, value, shape.type_name, VECTOR, ins)

    def _is_patterned(self, ins: Instruction, shape: Shape, kind: Kind) -> bool:
        """Whether shuffles of whole vectors do better than lane by lane."""
        if kind.is_pattern or self._frame.layout.segments > 1 or ins.modifier("order") is not None:
            return kind.is_pattern
        is_near = 1 < abs(kind.stride) // shape.size_bytes <= NEAR_ELEMENTS
        return is_near or (kind.stride == shape.size_bytes and ins.opcode == "st" and len(shape.elements) > 1)

    def _patterned(self, ins: Instruction, shape: Shape, window: Window, pointer: str) -> None:
        llvm, size = TYPES[shape.type_name].llvm, shape.element_bytes
        count = min(len(shape.elements), max(1, WORD_BYTES // size))
        word, align = llvm if count == 1 else f"i{8 * count * size}", size
        for index in range(0, len(shape.elements), count):
            own = shape.elements[index : index + count]
            offsets = [offset + index * size for offset in window.kind.offsets(self._code.lanes)]
            if ins.opcode == "st":
                values = [self._frame.read(element, shape.type_name, VECTOR, ins) for element in own]
                whole = self._put_together(values, word, llvm)
                patterned.store(self._code, word, count * size, align, pointer, offsets, whole, self._frame.mask)
                continue
            whole = patterned.load(self._code, word, count * size, align, pointer, offsets)
            for target, value in zip(own, self._taken_apart(whole, word, llvm, count), strict=True):
                self._write_loaded(target, value, shape.type_name, ins)

    def _prefetch(self, ins: Instruction, shape: Shape, window: Window, pointers: list[str]) -> None:
        is_load, reach_bytes = ins.opcode == "ld", shape.size_bytes * self._frame.layout.segment
        if is_load and shape != window.first_load:
            return
        if self.is_streaming:
            prefetch.of_rows(self._code, pointers, reach_bytes, is_write=not is_load)
        elif is_load and self.is_repeated and self._strides_by_grid:
            prefetch.of_turns(self._code, pointers, reach_bytes)

    def _load_piece(self, ins: Instruction, shape: Shape, stride: int, pointer: str) -> list[str]:
        """One segment's lanes, per element."""
        llvm, lanes, count = TYPES[shape.type_name].llvm, self._frame.layout.segment, len(shape.elements)
        if stride == 0:
            return [self.spread(llvm, lanes, value) for value in self._scalars(ins, shape, pointer)]
        if stride == shape.size_bytes:
            whole = self._code.value(
                f"load {_volatile(ins)}{vector(llvm, lanes * count)}, ptr {pointer}, align {shape.element_bytes}"
            )
            if count == 1:
                return [whole]
            return [
                self._pick(whole, llvm, lanes * count, range(index, lanes * count, count)) for index in range(count)
            ]
        if stride == -shape.size_bytes and count == 1:
            start = self._code.value(f"getelementptr i8, ptr {pointer}, i64 {(lanes - 1) * stride}")
            kind = vector(llvm, lanes)
            whole = self._code.value(f"load {_volatile(ins)}{kind}, ptr {start}, align {shape.element_bytes}")
            return [self._pick(whole, llvm, lanes, range(lanes - 1, -1, -1))]
        values = []
        mask = "splat (i1 true)"
        for index in range(count):
            places = self._places(pointer, stride, index * shape.element_bytes)
            kind = vector(llvm, lanes)
            name = f"llvm.masked.gather.{suffix(llvm, lanes)}.v{lanes}p0"
            arguments = [
                (vector("ptr", lanes), places),
                ("i32", str(shape.element_bytes)),
                (vector("i1", lanes), mask),
                (kind, "zeroinitializer"),
            ]
            values.append(self._code.intrinsic(name, kind, arguments))
        return values

    def _places(self, pointer: str, stride: int, offset: int) -> str:
        lanes = self._frame.layout.segment
        steps = ", ".join(f"i64 {lane * stride + offset}" for lane in range(lanes))
        return self._code.value(f"getelementptr i8, ptr {pointer}, <{lanes} x i64> <{steps}>")

    def spread(self, llvm: str, lanes: int, value: str) -> str:
        kind = vector(llvm, lanes)
        first = self._code.value(f"insertelement {kind} poison, {llvm} {value}, i32 0")
        return self._code.value(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def _pick(self, value: str, llvm: str, lanes: int, places: range) -> str:
        kind = vector(llvm, lanes)
        indices = ", ".join(f"i32 {place}" for place in places)
        return self._code.value(f"shufflevector {kind} {value}, {kind} poison, <{len(places)} x i32> <{indices}>")

    def joined(self, pieces: list[str], llvm: str) -> str:
        lanes = self._code.lanes // len(pieces)
        while len(pieces) > 1:
            kind = vector(llvm, lanes)
            order = ", ".join(f"i32 {lane}" for lane in range(2 * lanes))
            pieces = [
                self._code.value(
                    f"shufflevector {kind} {pieces[i]}, {kind} {pieces[i + 1]}, <{2 * lanes} x i32> <{order}>"
                )
                for i in range(0, len(pieces), 2)
            ]
            lanes *= 2
        return pieces[0]

    def _store_window(self, ins: Instruction, shape: Shape, stride: int, pointers: list[str]) -> None:
        llvm, lanes, count = TYPES[shape.type_name].llvm, self._frame.layout.segment, len(shape.elements)
        values = [self._frame.read(element, shape.type_name, VECTOR, ins) for element in shape.elements]
        for segment, pointer in enumerate(pointers):
            own = range(segment * lanes, (segment + 1) * lanes)
            mask = self._part(self._frame.mask, "i1", own)
            mine = [self._part(value, llvm, own) for value in values]
            if stride == shape.size_bytes and count == 1:
                name = f"llvm.masked.store.{suffix(llvm, lanes)}.p0"
                self._code.call(
                    name,
                    [
                        (vector(llvm, lanes), mine[0]),
                        ("ptr", pointer),
                        ("i32", str(shape.element_bytes)),
                        (vector("i1", lanes), mask),
                    ],
                )
                continue
            for index, value in enumerate(mine):
                places = self._places(pointer, stride, index * shape.element_bytes)
                name = f"llvm.masked.scatter.{suffix(llvm, lanes)}.v{lanes}p0"
                arguments = [
                    (vector(llvm, lanes), value),
                    (vector("ptr", lanes), places),
                    ("i32", str(shape.element_bytes)),
                ]
                self._code.call(name, [*arguments, (vector("i1", lanes), mask)])

    def _with_helper(self, ins: Instruction, shape: Shape) -> None:
        """Per lane, checked. A vector access is checked whole through its alignment: all of it or nothing of it is
        inside.
        """
        llvm, mask = TYPES[shape.type_name].llvm, self._frame.active(ins)
        fixed = self.helper_arguments(shape.space, ins.line)
        space = {"const": "global", "param": "shared"}.get(shape.space, shape.space)  # param is a window like shared
        address = self.address(shape, VECTOR)
        ops = self._frame.ops(VECTOR)
        count = min(len(shape.elements), max(1, WORD_BYTES // shape.element_bytes))
        word = llvm if count == 1 else f"i{8 * count * shape.element_bytes}"
        if len(shape.elements) > count:
            self._check_vector_alignment(ins, shape, address, mask)
        results = []
        for index in range(0, len(shape.elements), count):
            place = ops.by("add", "i64", address, index * shape.element_bytes) if index else address
            passed = f"{fixed}, {self._code.vector('i64')} {place}, {self._code.vector('i1')} {mask}"
            kind = self._code.vector(word)
            if ins.opcode == "ld":
                call = f"call {kind} @{self._checked.load(space, word)}({passed})"
                near = self._near(ins, shape) if len(shape.elements) == count else None
                if near is None:
                    whole = self._helped(call)
                else:
                    size, splat = count * shape.element_bytes, self._frame.splat
                    whole = gathers.load(self._code, word, size, place, mask, near, splat, partial(self._helped, call))
                results += self._taken_apart(whole, word, llvm, count)
            else:
                own = shape.elements[index : index + count]
                values = [self._frame.read(element, shape.type_name, VECTOR, ins) for element in own]
                whole = self._put_together(values, word, llvm)
                self._code.do(f"call void @{self._checked.store(space, word)}({passed}, {kind} {whole})")
                self.leave_if_trapped()
        for element, result in zip(shape.elements, results, strict=False):
            self._write_loaded(element, result, shape.type_name, ins)

    def _part(self, value: str, llvm: str, own: range) -> str:
        """Some lanes of a value that may be all of them."""
        return value if len(own) == self._code.lanes else self._pick(value, llvm, self._code.lanes, own)

    def _helped(self, call: str) -> str:
        whole = self._code.value(call)
        self.leave_if_trapped()
        return whole

    def _near(self, ins: Instruction, shape: Shape) -> Place | None:
        """The memory that a load in a loop is tested against in place."""
        base = shape.address.base
        if self._is_seldom or not self.is_repeated or ins.modifier("order") is not None or self._gathers == GATHERS_MAX:
            return None
        if shape.space != "global" or not isinstance(base, Register) or base.name not in self._bounds.origins:
            return None
        self._gathers += 1
        return self._bounds.of_parameter(base.name, writable=False)

    def _taken_apart(self, whole: str, word: str, llvm: str, count: int) -> list[str]:
        """The elements, `count` in each lane's word, lowest first."""
        if count == 1:
            return [whole]
        every = self._code.lanes * count
        flat = self._code.value(f"bitcast {self._code.vector(word)} {whole} to {vector(llvm, every)}")
        return [self._pick(flat, llvm, every, range(n, every, count)) for n in range(count)]

    def _put_together(self, values: list[str], word: str, llvm: str) -> str:
        """The opposite: words of one, two or four elements."""
        count, lanes = len(values), self._code.lanes
        while len(values) > 1:
            half = len(values) // 2
            order = ", ".join(f"i32 {lane + side * lanes}" for lane in range(lanes) for side in (0, 1))
            kind = vector(llvm, lanes)
            pairs = zip(values[:half], values[half:], strict=True)
            values = [
                self._code.value(f"shufflevector {kind} {a}, {kind} {b}, <{2 * lanes} x i32> <{order}>")
                for a, b in pairs
            ]
            lanes *= 2
        if count == 1:
            return values[0]
        return self._code.value(f"bitcast {vector(llvm, lanes)} {values[0]} to {self._code.vector(word)}")

    def _write_loaded(self, element: Operand, value: str, type_name: str, ins: Instruction) -> None:
        if isinstance(element, Register) and self._frame.kind(element.name) != VARYING:
            value = self._code.value(
                f"extractelement {self._code.vector(TYPES[type_name].llvm)} {value}, i32 {self.lead()}"
            )
            self._frame.write(element, value, type_name, SCALAR, ins)
        else:
            self._frame.write(element, value, type_name, VECTOR, ins)

    def lead(self) -> str:
        """An active lane's number (0 when there is none)."""
        return self._frame.ops(SCALAR).by("and", "i32", self.first_lane(), self._code.lanes - 1)

    def _check_vector_alignment(self, ins: Instruction, shape: Shape, address: str, mask: str) -> None:
        ops = self._frame.ops(VECTOR)
        odd = ops.compare("ne", "i64", ops.by("and", "i64", address, shape.size_bytes - 1), ops.const("i64", 0))
        self.trap_where(ops.two("and", "i1", odd, mask), layout.TRAP_MISALIGNED, ins.line, address)

    def trap_where(self, bad: str, kind: int, line: int, address: str) -> None:
        """Trap in the first lane of a mask, if there is one."""
        scalar = Ops(self._code, 0)
        code, bits = self._code, self._code.word_of(bad)
        fail, ok = code.fresh("bad"), code.fresh("ok")
        code.do(f"br i1 {scalar.compare('ne', code.word, bits, '0')}, label %{fail}, label %{ok}, !prof !1")
        code.label(fail)
        lane = code.lane_by("cttz", bits, zero_is_poison=False)
        place = scalar.by("and", "i32", lane, code.lanes - 1)
        self.trap(str(kind), line, lane, code.value(f"extractelement {code.vector('i64')} {address}, i32 {place}"))
        code.label(ok)

    def _arguments(self, space: str, line: int) -> str:
        table, base, limit = "%table", "null", "0"
        if space == "shared":
            base, limit = "%shared", "%shared.bytes"
        elif space == "param":
            base, limit = "%parameters", str(self._frame.entry.parameter_bytes)
        elif space in ("local", "generic"):
            base, limit = "%local", str(self._frame.local_bytes)
            table = "%table.generic" if space == "generic" else "%table"
        return f"ptr {table}, ptr {base}, i64 {limit}, ptr %state, i32 {line}"

    def helper_arguments(self, space: str, line: int) -> str:
        return self._arguments("global" if space == "const" else space, line)

    def leave_if_trapped(self) -> None:
        kind = self._code.value("load i32, ptr %state")
        ok = self._code.fresh("ok")
        self._code.do(
            f"br i1 {Ops(self._code, 0).compare('eq', 'i32', kind, '0')}, label %{ok}, label %warp.trapped, !prof !2"
        )
        self._code.label(ok)


def _volatile(ins: Instruction) -> str:
    return "volatile " if ins.modifier("order") in ("volatile", "relaxed", "acquire") else ""
