"""Writing affine registers: the first lane of each segment as a scalar; the lanes only where the line is broken.

A register that a widening may have broken (see `uniform`), or a loop that some lanes leave before others, carries a
flag. Where it is set, and only there, the lanes lie in the warp's context memory; otherwise they are first +
lane * stride. So addresses cost scalar instructions only, and nothing but scalars to keep across a barrier.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pcompute.compute.ptx import ranges
from p2pcompute.compute.ptx.ir import Instruction, Register, registers_of
from p2pcompute.compute.ptx.registers import LAST_LANE, SCALAR, VECTOR, Frame


def write(frame: Frame, ins: Instruction, target: Register, type_name: str, compute: Callable[[int], str]) -> None:
    """`compute(mode)` writes the instruction's operation in a mode and gives a value of `type_name`."""
    code, kind = frame.code, frame.kind(target.name)
    firsts = [compute(segment) for segment in frame.firsts(kind)]
    flag = _flag(frame, ins, target, type_name, compute) if kind.flagged else "false"
    if flag != "false":
        lanes, on = code.fresh("broken"), code.fresh("on")
        code.do(f"br i1 {flag}, label %{lanes}, label %{on}, !prof !1")
        code.label(lanes)
        _write_lanes(frame, ins, target, type_name, compute(VECTOR))
        code.do(f"br label %{on}")
        code.label(on)
    for segment, value in zip(frame.firsts(kind), firsts, strict=True):
        frame.write(target, value, type_name, segment, ins)
    if kind.flagged:
        frame.set_wrapped(target.name, flag)


def _flag(frame: Frame, ins: Instruction, target: Register, type_name: str, compute: Callable[[int], str]) -> str:
    flag = "false"
    for source in ins.sources:
        for register in registers_of(source):
            flag = _either(frame, flag, frame.wrapped(register.name))
    if ranges.widens(ins) and id(ins) not in frame.analysis.trusted:
        flag = _either(frame, flag, _wraps_here(frame, ins, target, type_name, compute))
    if target.name in frame.analysis.blended:
        ops = frame.ops(SCALAR)
        here = frame.code.word_of(frame.mask)
        alive = frame.code.value(f"load {frame.code.word}, ptr %alive")
        flag = _either(frame, flag, ops.compare("ne", frame.code.word, here, alive))
    return flag


def _write_lanes(frame: Frame, ins: Instruction, target: Register, type_name: str, value: str) -> None:
    if target.name in frame.analysis.blended:
        llvm, stored = frame.stored(target, value, type_name, ins, VECTOR)
        value = frame.ops(VECTOR).select(frame.mask, llvm, stored, frame.lanes(target.name))
        frame.store_lanes(target.name, value)
    else:
        frame.write(target, value, type_name, VECTOR, ins)


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
