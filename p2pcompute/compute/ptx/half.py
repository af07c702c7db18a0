"""Half precision: conversions that round once, and the fused product-sum.

x86 computes halves in single precision. That is exact for add, sub and mul (the result of a 24-bit operation rounds to
11 bits as the exact one would), but not for fma. A product of two halves has 22 bits, so it is exact in double
precision, and so is the sum wherever it could lie near a tie of halves: it spans more than 53 bits only if the product
is below 2**-31 of the other side, or if it overflows anyway.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.compute.ptx.llvmtext import Ops

SIGN_BIT: Final = 0x8000

LIBRARY: Final = """define weak_odr hidden float @__extendhfsf2(half %h) {
  %b = bitcast half %h to i16
  %w = zext i16 %b to i32
  %sign = and i32 %w, 32768
  %sign.w = shl i32 %sign, 16
  %rest = and i32 %w, 32767
  %place = shl i32 %rest, 13
  %small = bitcast i32 %place to float
  %scaled = fmul float %small, 0x46F0000000000000
  %scaled.i = bitcast float %scaled to i32
  %top = icmp uge i32 %rest, 31744
  %full = or i32 %scaled.i, 2139095040
  %bits = select i1 %top, i32 %full, i32 %scaled.i
  %all = or i32 %bits, %sign.w
  %r = bitcast i32 %all to float
  ret float %r
}
define weak_odr hidden half @__truncsfhf2(float %f) {
  %w = bitcast float %f to i32
  %sign = and i32 %w, -2147483648
  %twice = shl i32 %w, 1
  %exp = and i32 %twice, -16777216
  %low = icmp ult i32 %exp, 1895825408
  %bias = select i1 %low, i32 1895825408, i32 %exp
  %bias.h = lshr i32 %bias, 1
  %bias.f = add i32 %bias.h, 125829120
  %bias.v = bitcast i32 %bias.f to float
  %abs.i = and i32 %w, 2147483647
  %abs = bitcast i32 %abs.i to float
  %up = fmul float %abs, 0x46F0000000000000
  %down = fmul float %up, 0x3910000000000000
  %sum = fadd float %bias.v, %down
  %sum.i = bitcast float %sum to i32
  %e = lshr i32 %sum.i, 13
  %e.m = and i32 %e, 31744
  %m = and i32 %sum.i, 4095
  %value = add i32 %e.m, %m
  %nan = icmp ugt i32 %twice, -16777216
  %some = select i1 %nan, i32 32767, i32 %value
  %sign.h = lshr i32 %sign, 16
  %all = or i32 %some, %sign.h
  %h = trunc i32 %all to i16
  %r = bitcast i16 %h to half
  ret half %r
}"""
"""What LLVM calls on machines without F16C. Narrowing rounds to nearest even by adding a float whose last place is that
of the half (M. Dukhan's FP16 library); widening scales by 2**112, so that denormals come out right.
"""


def to_double(ops: Ops, value: str) -> str:
    return ops.cast("fpext", "float", ops.cast("fpext", "half", value, "float"), "double")


def fused(ops: Ops, a: str, b: str, c: str) -> str:
    """a * b + c, rounded once to nearest even."""
    a, b, c = (to_double(ops, value) for value in (a, b, c))
    return narrowed(ops, ops.two("fadd", "double", ops.two("fmul", "double", a, b), c), "rn")


def narrowed(ops: Ops, value: str, mode: str) -> str:
    """A double rounded once to half, in any of the four directions."""
    nearest = ops.cast("fptrunc", "float", _odd_float(ops, value), "half")
    if mode == "rn":
        return nearest
    back = to_double(ops, nearest)
    below, above = ops.compare("olt", "double", back, value), ops.compare("ogt", "double", back, value)
    negative = ops.compare("olt", "double", value, ops.const("double", "0.0"))
    if mode == "rz":
        inward = ops.select(negative, "i1", below, above)
        step = ops.select(inward, "i16", ops.const("i16", -1), ops.const("i16", 0))
    else:
        wrong = above if mode == "rm" else below
        away = ops.const("i16", 1 if mode == "rm" else -1)
        toward = ops.const("i16", -1 if mode == "rm" else 1)
        step = ops.select(wrong, "i16", ops.select(negative, "i16", away, toward), ops.const("i16", 0))
    bits = ops.two("add", "i16", ops.cast("bitcast", "half", nearest, "i16"), step)
    return ops.cast("bitcast", "i16", bits, "half")


def _odd_float(ops: Ops, value: str) -> str:
    """Round to single precision "to odd": inexact results get an odd last bit, so that rounding again does not matter
    (S. Boldo and G. Melquiond, "When double rounding is odd", 2005).
    """
    near = ops.cast("fptrunc", "double", value, "float")
    back = ops.cast("fpext", "float", near, "double")
    bits = ops.cast("bitcast", "float", near, "i32")
    magnitudes = [ops.call("fabs", "double", each) for each in (back, value)]
    beyond = ops.compare("ogt", "double", *magnitudes)
    cut = ops.two("sub", "i32", bits, ops.cast("zext", "i1", beyond, "i32"))
    inexact = ops.compare("one", "double", back, value)
    odd = ops.select(inexact, "i32", ops.by("or", "i32", cut, 1), bits)
    return ops.cast("bitcast", "i32", odd, "float")
