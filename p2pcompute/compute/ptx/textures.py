"""Texture reads: `tex` of a warp, as one helper function per geometry, result and coordinate type.

Lanes that name the same texture are read together. Coordinates become numbers of elements (docs/spec/ptx.md, section 8)
and each is brought inside the extent before an address is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

from p2pcompute.compute.ptx import descriptors, layout, nan
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.ir import Group, Instruction, Texel
from p2pcompute.compute.ptx.llvmtext import Code, Ops, vector
from p2pcompute.compute.ptx.registers import VECTOR, Frame
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import WARP
from p2pcompute.wire.texture import Addressing, Geometry

GEOMETRIES: Final = {
    "1d": Geometry.LINE,
    "2d": Geometry.PLANE,
    "3d": Geometry.VOLUME,
    "a1d": Geometry.LAYERED_LINES,
    "a2d": Geometry.LAYERED_PLANES,
}
"""As PTX names them."""
CHANNELS: Final = 4
_I = vector("i32")
_L = vector("i64")
_M = vector("i1")
_RESULT: Final = f"[{CHANNELS} x {_I}]"


def places(texel: Texel, geometry: Geometry) -> tuple[list[int], int | None]:
    """Positions of x, y, z among the coordinates, and of the layer."""
    first = 1 if geometry in (Geometry.LAYERED_LINES, Geometry.LAYERED_PLANES) else 0
    return list(range(first, first + geometry.axes)), 0 if first else None


class Textures:
    """Writes the code of `tex`."""

    def __init__(self, frame: Frame, access: Access) -> None:
        self._frame = frame
        self._access = access
        self._code = frame.code

    def emit(self, ins: Instruction) -> None:
        """A handle that is none, or that of a texture of another geometry, is a trap."""
        texel, targets = ins.sources[0], ins.destinations[0]
        assert isinstance(texel, Texel)
        assert isinstance(targets, Group)
        geometry, type_name = GEOMETRIES[ins.modifier("geometry") or ""], ins.types[-1]
        axes, layer = places(texel, geometry)
        frame, kind = self._frame, vector(TYPES[type_name].llvm)
        handles = frame.read(texel.handle, "u64", VECTOR, ins)
        numbers = "zeroinitializer" if layer is None else frame.read(texel.coordinates[layer], "u32", VECTOR, ins)
        coordinates = [frame.read(texel.coordinates[place], type_name, VECTOR, ins) for place in axes]
        passed = "".join(f", {kind} {value}" for value in coordinates)
        out = self._code.once(f"alloca {_RESULT}")
        name = self._helper(geometry, ins.types[0], type_name)
        self._code.do(
            f"call void @{name}(ptr %table, ptr %state, i32 {ins.line}, ptr {out}, {_M} {frame.active(ins)}, "
            f"{_L} {handles}, {_I} {numbers}{passed})"
        )
        self._access.leave_if_trapped()
        for number, target in enumerate(targets.items):
            cell = self._code.value(f"getelementptr {_RESULT}, ptr {out}, i32 0, i32 {number}")
            value = self._code.value(f"load {_I}, ptr {cell}")
            frame.write(target, value, "b32", VECTOR, ins)

    def _helper(self, geometry: Geometry, result: str, coordinate: str) -> str:
        name = f"tex_{geometry.name.lower()}_{result}_{coordinate}"
        if name not in self._code.helpers:
            inner = Code(declarations=self._code.declarations)
            _Sampler(inner, geometry, is_float=coordinate == "f32", blends=result == "f32").write()
            kind = vector(TYPES[coordinate].llvm)
            formal = "".join(f", {kind} %c{axis}" for axis in range(geometry.axes))
            body = "\n".join(inner.lines)
            self._code.helpers[name] = (
                f"define internal void @{name}(ptr %table, ptr %state, i32 %line, ptr %out, {_M} %m, {_L} %handles, "
                f"{_I} %layers{formal}) #3 {{\nentry:\n{body}\n}}"
            )
            self._code.helpers.setdefault("texel", _TEXEL)
            for width in (8, 16, 32):
                kind = vector(f"i{width}")
                self._code.declarations.add(
                    f"declare {kind} @llvm.masked.gather.v{WARP}i{width}.v{WARP}p0({vector('ptr')}, i32, {_M}, {kind})"
                )
        return name


@dataclass(frozen=True, slots=True)
class _Axis:
    """Numbers of one coordinate: the element, the next one, and the weight of the next one as a double."""

    here: str
    behind: str = ""
    weight: str = ""


class _Sampler:
    """The body of one helper."""

    def __init__(self, code: Code, geometry: Geometry, *, is_float: bool, blends: bool) -> None:
        self._code = code
        self._ops = Ops(code, WARP)
        self._one = Ops(code, 0)
        self._geometry = geometry
        self._is_float = is_float
        self._blends = blends and is_float

    def write(self) -> None:
        code = self._code
        textures = self._word("ptr", "%table", layout.TEXTURES_BASE)
        count = self._word("i64", "%table", layout.TEXTURES_COUNT)
        all_lanes = code.value(f"bitcast {_M} %m to i{WARP}")
        code.do("br label %next")
        code.label("next")
        left = f"%{code.fresh('left')}"
        rest, handle, mask = self._same_handle(left)
        number = self._one.two("sub", "i64", handle, str(descriptors.HANDLES))
        code.do(f"br i1 {self._one.compare('ult', 'i64', number, count)}, label %known, label %fail")
        code.label("known")
        offset = self._one.by("mul", "i64", number, descriptors.RECORD_BYTES)
        record = code.value(f"getelementptr i8, ptr {textures}, i64 {offset}")
        geometry = self._word("i32", record, descriptors.GEOMETRY)
        is_right = self._one.compare("eq", "i32", geometry, str(int(self._geometry)))
        code.do(f"br i1 {is_right}, label %sample, label %fail")
        code.label("fail")
        code.do(f"call void @trap(ptr %state, i32 {layout.TRAP_TEXTURE}, i32 %line, i32 %lead, i64 {handle})")
        code.do("ret void")
        code.label("sample")
        self._sample(record, mask)
        code.label("done")
        code.do("br label %next")
        code.label("finish")
        code.do("ret void")
        place = code.lines.index("next:") + 1
        code.lines.insert(place, f"  {left} = phi i{WARP} [ {all_lanes}, %entry ], [ {rest}, %done ]")

    def _same_handle(self, left: str) -> tuple[str, str, str]:
        """Of the lanes that are left: those that remain when all with the first one's handle are taken, that handle,
        and the mask of those taken."""
        code, one = self._code, self._one
        code.do(f"br i1 {one.compare('eq', f'i{WARP}', left, '0')}, label %finish, label %lane")
        code.label("lane")
        code.do(f"%lead = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} {left}, i1 true)")
        handle = code.value(f"extractelement {_L} %handles, i{WARP} %lead")
        same = self._ops.compare("eq", "i64", "%handles", self._splat("i64", handle))
        waiting = code.value(f"bitcast i{WARP} {left} to {_M}")
        mask = self._ops.two("and", "i1", same, waiting)
        taken = code.value(f"bitcast {_M} {mask} to i{WARP}")
        return one.two("xor", f"i{WARP}", left, taken), handle, mask

    def _word(self, llvm: str, base: str, offset: int) -> str:
        place = self._code.value(f"getelementptr i8, ptr {base}, i64 {offset}")
        return self._code.value(f"load {llvm}, ptr {place}, !invariant.load !0")

    def _splat(self, llvm: str, value: str) -> str:
        kind = vector(llvm)
        first = self._code.value(f"insertelement {kind} poison, {llvm} {value}, i32 0")
        return self._code.value(f"shufflevector {kind} {first}, {kind} poison, <{WARP} x i32> zeroinitializer")

    def _sample(self, record: str, mask: str) -> None:
        code = self._code
        offsets = (descriptors.WIDTH, descriptors.HEIGHT, descriptors.DEPTH)
        sizes = [self._splat("i32", self._word("i32", record, offset)) for offset in offsets]
        modes = [self._splat("i32", self._word("i32", record, descriptors.ADDRESSING + 4 * n)) for n in range(3)]
        if not self._is_float:
            inside = mask
            for axis in range(self._geometry.axes):
                within = self._ops.compare("ult", "i32", f"%c{axis}", sizes[axis])
                inside = self._ops.two("and", "i1", inside, within)
            clamped = [self._clamped(f"%c{axis}", sizes[axis]) for axis in range(self._geometry.axes)]
            self._store(self._nearest(record, clamped, sizes, inside), mask)
            code.do("br label %done")
            return
        scaled = [self._scaled(record, axis, sizes[axis], modes[axis]) for axis in range(self._geometry.axes)]
        if self._blends:
            linear = self._one.compare("ne", "i32", self._word("i32", record, descriptors.LINEAR), "0")
            code.do(f"br i1 {linear}, label %blend, label %nearest")
            code.label("blend")
            self._store(self._blended(record, scaled, sizes, modes, mask), mask)
            code.do("br label %done")
            code.label("nearest")
        numbers = [self._number(self._ops.call("floor", "float", s), n) for s, n in zip(scaled, sizes, strict=False)]
        found, inside = self._addressed(numbers, sizes, modes, mask)
        self._store(self._nearest(record, found, sizes, inside), mask)
        code.do("br label %done")

    # Coordinates -------------------------------------------------------------------------------------------------

    def _scaled(self, record: str, axis: int, size: str, mode: str) -> str:
        """The coordinate in elements. Normalised ones are folded into [0, 1] first where the texture repeats."""
        ops, x = self._ops, f"%c{axis}"
        whole = ops.call("floor", "float", x)
        part = ops.two("fsub", "float", x, whole)
        half = ops.call("floor", "float", ops.two("fmul", "float", whole, ops.const("float", "5.0e-1")))
        is_odd = ops.compare("une", "float", ops.two("fadd", "float", half, half), whole)
        back = ops.two("fsub", "float", ops.const("float", "1.0"), part)
        mirrored = ops.select(is_odd, "float", back, part)
        folded = ops.select(self._is_mode(mode, Addressing.WRAP), "float", part, x)
        folded = ops.select(self._is_mode(mode, Addressing.MIRROR), "float", mirrored, folded)
        times = ops.two("fmul", "float", folded, ops.cast("sitofp", "i32", size, "float"))
        normalized = self._splat("i32", self._word("i32", record, descriptors.NORMALIZED))
        return ops.select(ops.compare("ne", "i32", normalized, "zeroinitializer"), "float", times, x)

    def _is_mode(self, mode: str, wanted: Addressing) -> str:
        return self._ops.compare("eq", "i32", mode, self._ops.const("i32", int(wanted)))

    def _number(self, whole: str, size: str) -> str:
        """As an integer from -2 to size + 1: farther away everything is the same. NaN counts as far below."""
        ops = self._ops
        beyond = ops.cast("sitofp", "i32", ops.by("add", "i32", size, 1), "float")
        low = ops.call("maximumnum", "float", whole, ops.const("float", "-2.0"))
        return ops.cast("fptosi", "float", ops.call("minimumnum", "float", low, beyond), "i32")

    def _clamped(self, number: str, size: str) -> str:
        ops = self._ops
        low = ops.call("smax", "i32", number, "zeroinitializer")
        return ops.call("smin", "i32", low, ops.by("sub", "i32", size, 1))

    def _addressed(self, numbers: list[str], sizes: list[str], modes: list[str], mask: str) -> tuple[list[str], str]:
        """Numbers inside the extent, and which lanes of `mask` are not on the border."""
        ops = self._ops
        found = []
        for number, size, mode in zip(numbers, sizes, modes, strict=False):
            is_border = self._is_mode(mode, Addressing.BORDER)
            is_outside = ops.compare("uge", "i32", number, size)
            is_on_border = ops.two("and", "i1", is_border, is_outside)
            mask = ops.two("and", "i1", mask, ops.negate_bit(is_on_border))
            is_below = ops.compare("slt", "i32", number, "zeroinitializer")
            around = ops.select(is_below, "i32", ops.two("add", "i32", number, size), number)
            is_above = ops.compare("sge", "i32", around, size)
            around = ops.select(is_above, "i32", ops.two("sub", "i32", around, size), around)
            turned = ops.select(self._is_mode(mode, Addressing.WRAP), "i32", around, number)
            found.append(self._clamped(turned, size))
        return found, mask

    # Values ------------------------------------------------------------------------------------------------------

    def _nearest(self, record: str, numbers: list[str], sizes: list[str], mask: str) -> list[str]:
        """Four channels of the elements with these numbers; zero where `mask` is not set."""
        ops = self._ops
        x, y, z = [*numbers, *["zeroinitializer"] * 2][:3]
        if self._geometry in (Geometry.LAYERED_LINES, Geometry.LAYERED_PLANES):
            z = ops.call("umin", "i32", "%layers", ops.by("sub", "i32", sizes[2], 1))
        wide = [ops.cast("zext", "i32", value, "i64") for value in (x, y, z, sizes[0], sizes[1])]
        row = ops.two("add", "i64", ops.two("mul", "i64", wide[2], wide[4]), wide[1])
        index = ops.two("add", "i64", ops.two("mul", "i64", row, wide[3]), wide[0])
        return [
            self._code.value(f"call {_I} @texel(ptr {record}, {_L} {index}, {_M} {mask}, i32 {channel})")
            for channel in range(CHANNELS)
        ]

    def _blended(self, record: str, scaled: list[str], sizes: list[str], modes: list[str], mask: str) -> list[str]:
        """Weights of 8 fractional bits; the products are exact in double, and their sum is rounded once to float."""
        ops = self._ops
        axes = [self._pair(value, size) for value, size in zip(scaled, sizes, strict=False)]
        sums = [ops.const("double", "0.0")] * CHANNELS
        for corner in product((False, True), repeat=len(axes)):
            sides = corner[::-1]  # x changes fastest
            numbers = [axis.behind if side else axis.here for axis, side in zip(axes, sides, strict=True)]
            found, inside = self._addressed(numbers, sizes, modes, mask)
            weight = ops.const("double", "1.0")
            for axis, side in zip(axes, sides, strict=True):
                mine = axis.weight if side else ops.two("fsub", "double", ops.const("double", "1.0"), axis.weight)
                weight = ops.two("fmul", "double", weight, mine)
            for channel, bits in enumerate(self._nearest(record, found, sizes, inside)):
                value = ops.cast("fpext", "float", ops.cast("bitcast", "i32", bits, "float"), "double")
                sums[channel] = ops.two("fadd", "double", sums[channel], ops.two("fmul", "double", weight, value))
        rounded = [nan.fix(ops, "float", ops.cast("fptrunc", "double", total, "float")) for total in sums]
        return [ops.cast("bitcast", "float", value, "i32") for value in rounded]

    def _pair(self, scaled: str, size: str) -> _Axis:
        ops = self._ops
        moved = ops.two("fsub", "float", scaled, ops.const("float", "5.0e-1"))
        whole = ops.call("floor", "float", moved)
        part = ops.two("fmul", "float", ops.two("fsub", "float", moved, whole), ops.const("float", "256.0"))
        steps = ops.call("roundeven", "float", part)
        kept = ops.call("minimumnum", "float", ops.call("maximumnum", "float", steps, ops.const("float", "0.0")),
                        ops.const("float", "256.0"))  # fmt: skip
        weight = ops.cast("fpext", "float", ops.two("fmul", "float", kept, ops.const("float", "3.90625e-3")), "double")
        number = self._number(whole, size)
        return _Axis(number, ops.by("add", "i32", number, 1), weight)

    def _store(self, values: list[str], mask: str) -> None:
        for channel, value in enumerate(values):
            cell = self._code.value(f"getelementptr {_RESULT}, ptr %out, i32 0, i32 {channel}")
            old = self._code.value(f"load {_I}, ptr {cell}")
            self._code.do(f"store {_I} {self._ops.select(mask, 'i32', value, old)}, ptr {cell}")


def _field(name: str, llvm: str, offset: int) -> str:
    return f"  %{name}.p = getelementptr i8, ptr %d, i64 {offset}\n  %{name} = load {llvm}, ptr %{name}.p\n"


def _splat_text(name: str, llvm: str) -> str:
    return (
        f"  %{name}.i = insertelement {vector(llvm)} poison, {llvm} %{name}, i32 0\n"
        f"  %{name}.v = shufflevector {vector(llvm)} %{name}.i, {vector(llvm)} poison, <{WARP} x i32> zeroinitializer\n"
    )


def _read_text(width: int) -> str:
    """Elements of one width, as unsigned and as signed numbers."""
    kind = vector(f"i{width}")
    gather = f"@llvm.masked.gather.v{WARP}i{width}.v{WARP}p0"
    lines = (
        f"read{width}:\n  %g{width} = call {kind} {gather}({vector('ptr')} %places, i32 {width // 8}, {_M} %m, "
        f"{kind} zeroinitializer)\n"
    )
    for extend in ("zext", "sext"):
        operation = f"{extend} {kind} %g{width} to {_I}" if width < 32 else f"add {_I} %g{width}, zeroinitializer"
        lines += f"  %{extend}{width} = {operation}\n"
    return lines + "  br label %have\n"


def _choice(name: str, extend: str) -> str:
    sources = ", ".join(f"[ %{extend}{width}, %read{width} ]" for width in (8, 16, 32))
    return f"  %{name} = phi {_I} {sources}\n"


_F = vector("float")
_TEXEL: Final = f"""define internal {_I} @texel(ptr %d, {_L} %index, {_M} %m, i32 %channel) #3 {{
entry:
{_field("base", "ptr", descriptors.BASE)}{_field("size", "i32", descriptors.ELEMENT_BYTES)}\
{_field("channels", "i32", descriptors.CHANNELS)}{_field("kind", "i32", descriptors.KIND)}\
{_field("divisor", "float", descriptors.DIVISOR)}{_splat_text("divisor", "float")}\
  %there = icmp ult i32 %channel, %channels
  br i1 %there, label %find, label %none
none:
  ret {_I} zeroinitializer
find:
  %channels.w = zext i32 %channels to i64
  %size.w = zext i32 %size to i64
  %channel.w = zext i32 %channel to i64
{_splat_text("channels.w", "i64")}{_splat_text("size.w", "i64")}{_splat_text("channel.w", "i64")}\
  %first = mul {_L} %index, %channels.w.v
  %number = add {_L} %first, %channel.w.v
  %bytes = mul {_L} %number, %size.w.v
  %places = getelementptr i8, ptr %base, {_L} %bytes
  switch i32 %size, label %read32 [ i32 1, label %read8
    i32 2, label %read16 ]
{_read_text(8)}{_read_text(16)}{_read_text(32)}have:
{_choice("unsigned", "zext")}{_choice("signed", "sext")}\
  switch i32 %kind, label %plain [ i32 {descriptors.SIGNED}, label %minus
    i32 {descriptors.HALF}, label %halves
    i32 {descriptors.UNSIGNED_SCALED}, label %scale
    i32 {descriptors.SIGNED_SCALED}, label %scale.minus ]
plain:
  ret {_I} %unsigned
minus:
  ret {_I} %signed
halves:
  %h.i = trunc {_I} %unsigned to {vector("i16")}
  %h = bitcast {vector("i16")} %h.i to {vector("half")}
  %h.f = fpext {vector("half")} %h to {_F}
  %h.b = bitcast {_F} %h.f to {_I}
  ret {_I} %h.b
scale:
  %u.f = uitofp {_I} %unsigned to {_F}
  %u.s = fdiv {_F} %u.f, %divisor.v
  %u.b = bitcast {_F} %u.s to {_I}
  ret {_I} %u.b
scale.minus:
  %s.f = sitofp {_I} %signed to {_F}
  %s.s = fdiv {_F} %s.f, %divisor.v
  %low = fcmp olt {_F} %s.s, splat (float -1.0)
  %s.c = select {_M} %low, {_F} splat (float -1.0), {_F} %s.s
  %s.b = bitcast {_F} %s.c to {_I}
  ret {_I} %s.b
}}"""
