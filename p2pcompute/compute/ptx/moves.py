"""mov and cvta: copies, packing and unpacking, addresses of variables and of the windows."""

from __future__ import annotations

from p2pcompute.compute.ptx import progression
from p2pcompute.compute.ptx.arithmetic import Values
from p2pcompute.compute.ptx.ir import Group, Instruction, Operand, Register
from p2pcompute.compute.ptx.layout import LOCAL_SEGMENT, OFFSET_BITS, SHARED_SEGMENT
from p2pcompute.compute.ptx.llvmtext import Ops, integer_of
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError

_WINDOWS = {"shared": SHARED_SEGMENT << OFFSET_BITS, "local": LOCAL_SEGMENT << OFFSET_BITS}


def to_address(ops: Ops, ins: Instruction, args: Values) -> Values:
    """cvta: global and const addresses are generic already; shared and local ones move by their window's start."""
    space = ins.modifier("space") or ""
    if space == "param":
        raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' is not supported.")
    if space not in _WINDOWS:
        return [args[0]]
    return [ops.by("sub" if ins.has("to") else "add", "i64", args[0], _WINDOWS[space])]


def move(frame: Frame, ins: Instruction) -> None:
    """mov, including the forms that take a register apart or put one together."""
    target, source = ins.destinations[0], ins.sources[0]
    type_name = ins.types[0]
    if isinstance(target, Group):
        _unpack(frame, ins, target, source, type_name)
    elif isinstance(source, Group):
        mode = SCALAR if _is_uniform(frame, ins) else VECTOR
        frame.write(target, _packed(frame, ins, source, type_name, mode), type_name, mode, ins)
    else:
        if not _is_uniform(frame, ins) and isinstance(target, Register) and frame.is_affine(target):
            progression.write(frame, ins, target, type_name, lambda mode: frame.read(source, type_name, mode, ins))
            return
        mode = SCALAR if _is_uniform(frame, ins) else VECTOR
        frame.write(target, frame.read(source, type_name, mode, ins), type_name, mode, ins)


def _is_uniform(frame: Frame, ins: Instruction) -> bool:
    guard_varies = ins.guard is not None and not frame.kind(ins.guard.name).is_uniform
    return not guard_varies and frame.analysis.kind(ins.sources[0]).is_uniform


def _unpack(frame: Frame, ins: Instruction, target: Group, source: Operand, type_name: str) -> None:
    """The lowest bits go to the first register."""
    mode = SCALAR if _is_uniform(frame, ins) else VECTOR
    whole, part = integer_of(TYPES[type_name].llvm), f"b{TYPES[type_name].bits // len(target.items)}"
    ops = frame.ops(mode)
    value = frame.read(source, type_name, mode, ins)
    for index, item in enumerate(target.items):
        shifted = ops.by("lshr", whole, value, TYPES[part].bits * index) if index else value
        frame.write(item, ops.cast("trunc", whole, shifted, TYPES[part].llvm), part, mode, ins)


def _packed(frame: Frame, ins: Instruction, source: Group, type_name: str, mode: int) -> str:
    whole, part = TYPES[type_name].llvm, f"b{TYPES[type_name].bits // len(source.items)}"
    ops = frame.ops(mode)
    packed = ""
    for index, item in enumerate(source.items):
        wide = ops.cast("zext", TYPES[part].llvm, frame.read(item, part, mode, ins), whole)
        packed = ops.two("or", whole, packed, ops.by("shl", whole, wide, TYPES[part].bits * index)) if index else wide
    return packed
