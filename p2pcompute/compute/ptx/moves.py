"""mov and cvta: copies, packing and unpacking, addresses of variables and of the windows."""

from __future__ import annotations

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
        _copy_shadows(frame, ins, target, type_name)
    else:
        if _is_uniform(frame, ins):
            frame.write(target, frame.read(source, type_name, SCALAR, ins), type_name, SCALAR, ins)
            return
        frame.write(target, frame.read(source, type_name, VECTOR, ins), type_name, VECTOR, ins)
        _copy_shadows(frame, ins, target, type_name)


def _is_uniform(frame: Frame, ins: Instruction) -> bool:
    guard_varies = ins.guard is not None and not frame.kind(ins.guard.name).is_uniform
    return not guard_varies and frame.analysis.kind(ins.sources[0]).is_uniform


def _copy_shadows(frame: Frame, ins: Instruction, target: Operand, type_name: str) -> None:
    if not isinstance(target, Register) or _is_uniform(frame, ins):
        return
    for mode in frame.shadows(frame.kind(target.name)):
        source = ins.sources[0]
        value = (
            _packed(frame, ins, source, type_name, mode)
            if isinstance(source, Group)
            else frame.read(source, type_name, mode)
        )
        frame.write(target, value, type_name, mode, ins)


def _unpack(frame: Frame, ins: Instruction, target: Group, source: Operand, type_name: str) -> None:
    """The low half goes to the first register."""
    mode = SCALAR if _is_uniform(frame, ins) else VECTOR
    whole, half = integer_of(TYPES[type_name].llvm), f"b{TYPES[type_name].bits // 2}"
    ops = frame.ops(mode)
    value = frame.read(source, type_name, mode, ins)
    for index, item in enumerate(target.items):
        shifted = ops.by("lshr", whole, value, TYPES[half].bits * index) if index else value
        frame.write(item, ops.cast("trunc", whole, shifted, TYPES[half].llvm), half, mode, ins)
        if isinstance(item, Register) and mode == VECTOR and frame.kind(item.name).is_affine:
            raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' takes an affine value apart.")


def _packed(frame: Frame, ins: Instruction, source: Group, type_name: str, mode: int) -> str:
    whole, half = TYPES[type_name].llvm, f"b{TYPES[type_name].bits // 2}"
    ops = frame.ops(mode)
    low, high = (ops.cast("zext", TYPES[half].llvm, frame.read(item, half, mode, ins), whole) for item in source.items)
    return ops.two("or", whole, low, ops.by("shl", whole, high, TYPES[half].bits))
