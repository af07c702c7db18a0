"""Writing affine registers: the first lane of each segment as a scalar; the lanes only where a wrap broke the line.

A register whose history holds a widening (see `uniform`) carries a flag, `wrapped`: set when the widened value wrapped
between two lanes. Then, and only then, its lanes lie in the warp's context memory; otherwise they are first +
lane * stride. So addresses cost scalar instructions only, and nothing but scalars to keep across a barrier.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pcompute.compute.ptx.ir import Instruction, Register, registers_of
from p2pcompute.compute.ptx.registers import LAST_LANE, SCALAR, VECTOR, Frame


def write(frame: Frame, ins: Instruction, target: Register, type_name: str, compute: Callable[[int], str]) -> None:
    """`compute(mode)` writes the instruction's operation in a mode and gives a value of `type_name`."""
    code, kind = frame.code, frame.kind(target.name)
    for segment in frame.firsts(kind):
        frame.write(target, compute(segment), type_name, segment, ins)
    if not kind.widened:
        return
    flag = "false"
    for source in ins.sources:
        for register in registers_of(source):
            flag = _either(frame, flag, frame.wrapped(register.name))
    if ins.opcode == "cvt" or ins.has("wide"):
        flag = _either(frame, flag, _wraps_here(frame, ins, target, type_name, compute))
    frame.set_wrapped(target.name, flag)
    if flag == "false":
        return
    lanes, on = code.fresh("wrapped"), code.fresh("on")
    code.do(f"br i1 {flag}, label %{lanes}, label %{on}, !prof !1")
    code.label(lanes)
    frame.write(target, compute(VECTOR), type_name, VECTOR, ins)
    code.do(f"br label %{on}")
    code.label(on)


def _wraps_here(frame: Frame, ins: Instruction, target: Register, type_name: str, compute: Callable[[int], str]) -> str:
    """Whether first and last lane of some segment are further apart than the stride says."""
    ops, kind, flag = frame.ops(SCALAR), frame.kind(target.name), "false"
    distance = kind.stride * (frame.layout.segment - 1)
    for segment in frame.firsts(kind):
        llvm, first = frame.stored(target, compute(segment), type_name, ins)
        _, last = frame.stored(target, compute(LAST_LANE + segment), type_name, ins)
        odd = ops.compare("ne", llvm, ops.two("sub", llvm, last, first), ops.const(llvm, distance))
        flag = _either(frame, flag, odd)
    return flag


def _either(frame: Frame, left: str, right: str) -> str:
    if "false" in (left, right):
        return right if left == "false" else left
    return frame.ops(SCALAR).two("or", "i1", left, right)
