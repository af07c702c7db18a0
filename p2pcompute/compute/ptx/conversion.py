"""cvt between all integer and float types. Same contract as `arithmetic`. Source: PTX ISA 9.7.9.21."""

from __future__ import annotations

from p2pcompute.compute.ptx import half
from p2pcompute.compute.ptx.arithmetic import Values, saturate
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.llvmtext import Ops
from p2pcompute.compute.ptx.types import TYPES, ScalarType
from p2pcompute.errors import PtxError

_TO_INTEGRAL = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


def convert(ops: Ops, ins: Instruction, args: Values) -> Values:
    target, source = (TYPES[name] for name in ins.types)
    if source.name == "f16" and not target.is_float:
        return [_float_to_integer(ops, ins, target, TYPES["f32"], ops.cast("fpext", "half", args[0], "float"))]
    if target.is_float and source.is_float:
        return [_float_to_float(ops, ins, target, source, args[0])]
    if target.is_float:
        return [_integer_to_float(ops, ins, target, source, args[0])]
    if source.is_float:
        return [_float_to_integer(ops, ins, target, source, args[0])]
    return [_integer_to_integer(ops, ins, target, source, args[0])]


def _mode(ins: Instruction, allowed: tuple[str, ...]) -> str:
    mode = ins.modifier("round") or allowed[0]
    if mode not in allowed:
        raise PtxError(f"PTX line {ins.line}: '.{mode}' does not go with '{ins.spelling}'.")
    return mode


def _float_to_float(ops: Ops, ins: Instruction, target: ScalarType, source: ScalarType, value: str) -> str:
    if target.bits == source.bits:
        mode = ins.modifier("round")
        if mode is not None:
            value = ops.call(_TO_INTEGRAL[_mode(ins, tuple(_TO_INTEGRAL))], source.llvm, value)
    elif target.bits > source.bits:
        if ins.modifier("round") in _TO_INTEGRAL:
            raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' changes width and rounds to an integer at once.")
        if source.name == "f16" and target.name == "f64":
            value = half.to_double(ops, value)
        else:
            value = ops.cast("fpext", source.llvm, value, target.llvm)
    else:
        mode = _mode(ins, ("rn", "rz", "rm", "rp"))
        if target.name == "f16" and (mode != "rn" or source.bits == 64):
            wide = value if source.bits == 64 else ops.cast("fpext", "float", value, "double")
            value = half.narrowed(ops, wide, mode)
        elif mode == "rn":
            value = ops.cast("fptrunc", source.llvm, value, target.llvm)
        else:
            value = ops.rounded("fptrunc", mode, target.llvm, [(source.llvm, value)])
    return saturate(ops, target.llvm, value) if ins.has("sat") else value


def _integer_to_float(ops: Ops, ins: Instruction, target: ScalarType, source: ScalarType, value: str) -> str:
    mode = _mode(ins, ("rn", "rz", "rm", "rp"))
    operation = "sitofp" if source.is_signed else "uitofp"
    if target.name == "f16":  # what a double cannot hold exactly is beyond the largest half
        value = half.narrowed(ops, ops.cast(operation, source.llvm, value, "double"), mode)
    elif mode == "rn" or (target.name == "f64" and source.bits <= 32):
        value = ops.cast(operation, source.llvm, value, target.llvm)
    elif source.bits <= 32:  # exact in double; LLVM's own way gives -0 for 0 when rounding down without AVX-512
        wide = ops.cast(operation, source.llvm, value, "double")
        value = ops.rounded("fptrunc", mode, target.llvm, [("double", wide)])
    else:
        value = ops.rounded(operation, mode, target.llvm, [(source.llvm, value)])
    return saturate(ops, target.llvm, value) if ins.has("sat") else value


def _float_to_integer(ops: Ops, ins: Instruction, target: ScalarType, source: ScalarType, value: str) -> str:
    """Out of range saturates. NaN gives 0, or the top bit alone where the source is f64 or the target 64 bits wide."""
    mode = _mode(ins, ("rzi", "rni", "rmi", "rpi"))
    whole = ops.call(_TO_INTEGRAL[mode], source.llvm, value)
    result = ops.convert_call("fptosi.sat" if target.is_signed else "fptoui.sat", source.llvm, whole, target.llvm)
    if source.bits == 64 or target.bits == 64:
        is_nan = ops.compare("uno", source.llvm, value, value)
        result = ops.select(is_nan, target.llvm, ops.const(target.llvm, 1 << (target.bits - 1)), result)
    return result


def _integer_to_integer(ops: Ops, ins: Instruction, target: ScalarType, source: ScalarType, value: str) -> str:
    if ins.modifier("round") is not None:
        raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' rounds integers.")
    if ins.has("sat"):
        value = _clamp(ops, target, source, value)
    return ops.resize(source.llvm, value, target.llvm, signed=source.is_signed)


def _clamp(ops: Ops, target: ScalarType, source: ScalarType, value: str) -> str:
    """Clamp, in the source type, to what the target can hold."""
    low = -(1 << (target.bits - 1)) if target.is_signed else 0
    high = (1 << (target.bits - target.is_signed)) - 1
    least = -(1 << (source.bits - 1)) if source.is_signed else 0
    most = (1 << (source.bits - source.is_signed)) - 1
    sign = "s" if source.is_signed else "u"
    if low > least:
        value = ops.call(f"{sign}max", source.llvm, value, ops.const(source.llvm, low))
    if high < most:
        value = ops.call(f"{sign}min", source.llvm, value, ops.const(source.llvm, high))
    return value
