"""Instructions in which the lanes of a warp see each other: shfl, vote, match, activemask, bar.warp.sync.

Lanes named by the member mask that are alive but run elsewhere would be waited for on a GPU. Here that is a trap: such
code is outside what the engine promises, and silence would be a wrong result.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.ir import Immediate, Instruction, Operand, Register, Special
from p2pcompute.compute.ptx.llvmtext import vector
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import WARP

_MASK = f"<{WARP} x i1>"
_WORD = f"i{WARP}"


class WarpWide:
    def __init__(self, frame: Frame, access: Access) -> None:
        self._frame = frame
        self._code = frame.code
        self._access = access

    def emit(self, ins: Instruction) -> None:
        match ins.opcode:
            case "shfl":
                self._shuffle(ins)
            case "vote":
                self._vote(ins)
            case "match":
                self._match(ins)
            case "activemask":
                word = self._bits(self._frame.active(ins))
                self._frame.write(ins.destinations[0], self._frame.splat("i32", word), "b32", VECTOR, ins)
            case _:
                self._converged(ins, ins.sources[0])

    def _bits(self, mask: str) -> str:
        return self._code.value(f"bitcast {_MASK} {mask} to {_WORD}")

    def _mask(self, word: str) -> str:
        return self._code.value(f"bitcast {_WORD} {word} to {_MASK}")

    def _is_one_mask(self, members: Operand) -> bool:
        """All lanes name the same members; else parts of the warp act apart."""
        return isinstance(members, Immediate) or self._frame.analysis.kind(members).is_uniform

    def _converged(self, ins: Instruction, members: Operand) -> str:
        """Trap unless all living members are here. Returns the word of the members that are, of all parts together."""
        ops = self._frame.ops(SCALAR)
        lanes = self._frame.active(ins)
        active = self._bits(lanes)
        if self._is_one_mask(members):
            wanted = self._frame.read(members, "b32", SCALAR)
        else:
            every = self._frame.read(members, "b32", VECTOR)
            named = self._frame.ops(VECTOR).select(lanes, "i32", every, "zeroinitializer")
            wanted = self._code.intrinsic(f"llvm.vector.reduce.or.v{WARP}i32", "i32", [(vector("i32"), named)])
        alive = self._code.value(f"load {_WORD}, ptr %alive")
        missing = ops.two("and", "i32", ops.two("and", "i32", wanted, alive), ops.by("xor", "i32", active, -1))
        # A guard that is off in every lane makes the instruction vanish.
        here = ops.compare("ne", "i32", active, "0")
        broken = ops.two("and", "i1", ops.compare("ne", "i32", missing, "0"), here)
        bad, ok = self._code.fresh("bad"), self._code.fresh("ok")
        self._code.do(f"br i1 {broken}, label %{bad}, label %{ok}, !prof !1")
        self._code.label(bad)
        self._access.trap(str(layout.TRAP_CONVERGENCE), ins.line, self._access.first_lane(), "0")
        self._code.label(ok)
        return ops.two("and", "i32", active, wanted)

    def _shuffle(self, ins: Instruction) -> None:
        """PTX ISA 9.7.9.6: the source lane from a, b, c; lanes out of the sub-warp keep their own value."""
        self._converged(ins, ins.sources[3])
        ops = self._frame.ops(VECTOR)
        value = self._frame.read(ins.sources[0], "b32", VECTOR, ins)
        lane = self._frame.read(Special("laneid"), "u32", VECTOR)
        step, control = (self._frame.read(operand, "b32", VECTOR) for operand in ins.sources[1:3])
        step = ops.by("and", "i32", step, 31)
        clamp, segment = ops.by("and", "i32", control, 31), ops.by("and", "i32", ops.by("lshr", "i32", control, 8), 31)
        within = ops.two("and", "i32", lane, segment)
        outside = ops.by("xor", "i32", segment, -1)
        high = ops.two("or", "i32", within, ops.two("and", "i32", clamp, outside))
        mode = ins.modifier("mode")
        if mode == "up":
            source = ops.two("sub", "i32", lane, step)
            valid = ops.compare("sge", "i32", source, high)
        else:
            if mode == "down":
                source = ops.two("add", "i32", lane, step)
            elif mode == "bfly":
                source = ops.two("xor", "i32", lane, step)
            else:
                source = ops.two("or", "i32", within, ops.two("and", "i32", step, outside))
            valid = ops.compare("sle", "i32", source, high)
        source = ops.select(valid, "i32", source, lane)
        result = self._permuted(value, ops.by("and", "i32", source, 31), ins)
        self._frame.write(ins.destinations[0], result, "b32", VECTOR, ins)
        if len(ins.destinations) > 1:
            self._frame.write(ins.destinations[1], valid, "pred", VECTOR, ins)

    def _permuted(self, value: str, source: str, ins: Instruction) -> str:
        """A shuffle by constants where they are known, else through memory."""
        known = self._known_lanes(ins)
        kind = vector("i32")
        if known is not None:
            places = ", ".join(f"i32 {lane}" for lane in known)
            return self._code.value(f"shufflevector {kind} {value}, {kind} poison, {kind} <{places}>")
        self._code.do(f"store {kind} {value}, ptr %exchange")
        places = self._code.value(f"getelementptr i32, ptr %exchange, {kind} {source}")
        name = f"llvm.masked.gather.v{WARP}i32.v{WARP}p0"
        arguments = [(vector("ptr"), places), ("i32", "4"), (_MASK, "splat (i1 true)"), (kind, "zeroinitializer")]
        return self._code.intrinsic(name, kind, arguments)

    def _known_lanes(self, ins: Instruction) -> list[int] | None:
        step, control = (self._constant(operand) for operand in ins.sources[1:3])
        if step is None or control is None:
            return None
        step, clamp, segment = step & 31, control & 31, control >> 8 & 31
        lanes = []
        for lane in range(WARP):
            high = lane & segment | clamp & ~segment & 31
            mode = ins.modifier("mode")
            source = {
                "up": lane - step,
                "down": lane + step,
                "bfly": lane ^ step,
                "idx": lane & segment | step & ~segment,
            }[mode or ""]
            valid = source >= high if mode == "up" else source <= high
            lanes.append((source if valid else lane) & 31)
        return lanes

    def _constant(self, operand: Operand) -> int | None:
        if isinstance(operand, Immediate):
            return operand.value
        return self._frame.analysis.constants.get(operand.name) if isinstance(operand, Register) else None

    def _vote(self, ins: Instruction) -> None:
        here = self._converged(ins, ins.sources[1])
        ops = self._frame.ops(SCALAR)
        yes = ops.two("and", "i32", self._bits(self._frame.read(ins.sources[0], "pred", VECTOR)), here)
        shape = SCALAR
        if not self._is_one_mask(ins.sources[1]):
            shape, ops = VECTOR, self._frame.ops(VECTOR)
            here = self._own(ins, here)
            yes = ops.two("and", "i32", self._frame.splat("i32", yes), here)
        zero = ops.const("i32", 0)
        mode = ins.modifier("mode")
        if mode == "ballot":
            self._frame.write(ins.destinations[0], yes, "b32", shape, ins)
            return
        if mode == "any":
            result = ops.compare("ne", "i32", yes, zero)
        else:
            result = ops.compare("eq", "i32", yes, here)
            if mode == "uni":
                result = ops.two("or", "i1", result, ops.compare("eq", "i32", yes, zero))
        self._frame.write(ins.destinations[0], result, "pred", shape, ins)

    def _own(self, ins: Instruction, here: str) -> str:
        """Per lane, those of the members it names that are here."""
        every = self._frame.read(ins.sources[1], "b32", VECTOR)
        return self._frame.ops(VECTOR).two("and", "i32", every, self._frame.splat("i32", here))

    def _match(self, ins: Instruction) -> None:
        """Which members hold the same value: 32 comparisons against one lane each."""
        here = self._converged(ins, ins.sources[1])
        llvm, ops, scalar = TYPES[ins.types[0]].llvm, self._frame.ops(VECTOR), self._frame.ops(SCALAR)
        value = self._frame.read(ins.sources[0], ins.types[0], VECTOR, ins)
        if ins.has("all") and self._is_one_mask(ins.sources[1]):
            lead = self._code.value(f"extractelement {vector(llvm)} {value}, i32 {self._access.lead()}")
            same = scalar.two(
                "and", "i32", self._bits(ops.compare("eq", llvm, value, self._frame.splat(llvm, lead))), here
            )
            agree = scalar.compare("eq", "i32", same, here)
            result = scalar.select(agree, "i32", here, "0")
            self._frame.write(ins.destinations[0], self._frame.splat("i32", result), "b32", VECTOR, ins)
            if len(ins.destinations) > 1:
                self._frame.write(ins.destinations[1], self._frame.splat("i1", agree), "pred", VECTOR, ins)
            return
        result = "zeroinitializer"
        for lane in range(WARP):
            one = self._code.value(f"extractelement {vector(llvm)} {value}, i32 {lane}")
            same = scalar.two(
                "and", "i32", self._bits(ops.compare("eq", llvm, value, self._frame.splat(llvm, one))), here
            )
            result = self._code.value(f"insertelement {vector('i32')} {result}, i32 {same}, i32 {lane}")
        if not self._is_one_mask(ins.sources[1]):
            own = self._own(ins, here)
            result = ops.two("and", "i32", result, own)
            if ins.has("all"):
                agree = ops.compare("eq", "i32", result, own)
                result = ops.select(agree, "i32", own, "zeroinitializer")
                if len(ins.destinations) > 1:
                    self._frame.write(ins.destinations[1], agree, "pred", VECTOR, ins)
        self._frame.write(ins.destinations[0], result, "b32", VECTOR, ins)
