"""Loads whose lanes lie anywhere in the segment of one pointer parameter, tested in place.

A call of the checked helper saves all vector registers around it, and looks up the segment, every time. In a loop that
is most of the work; base and limit are at hand there, so all lanes are tested in one comparison. An offset is turned
right by the bits that must be zero, so that a crooked one becomes greater than any limit. (Not in shared memory: lanes
are neighbours there in most turns, which the helper notices.)
"""

from __future__ import annotations

from collections.abc import Callable

from p2pcompute.compute.ptx.bounds import Place
from p2pcompute.compute.ptx.llvmtext import Code, Ops, suffix


def load(
    code: Code,
    word: str,
    size: int,
    address: str,
    mask: str,
    place: Place,
    splat: Callable[[str, str], str],
    slowly: Callable[[], str],
) -> str:
    """One word of `size` bytes, a power of two, for each lane in `mask`; from `slowly`, which checks each, unless all
    are inside.
    """
    ops, scalar, shift = Ops(code, code.lanes), Ops(code, 0), size.bit_length() - 1
    offset = ops.two("sub", "i64", address, splat("i64", place.origin))
    number = ops.call("fshr", "i64", offset, offset, ops.const("i64", shift)) if shift else offset
    count = scalar.by("lshr", "i64", place.limit, shift)
    outside = ops.two("and", "i1", ops.compare("uge", "i64", number, splat("i64", count)), mask)
    near, far, both = code.fresh("near"), code.fresh("far"), code.fresh("both")
    code.do(
        f"br i1 {scalar.compare('eq', code.word, code.word_of(outside), '0')}, label %{near}, label %{far}, !prof !2"
    )
    code.label(near)
    pointers = code.value(f"getelementptr {word}, ptr {place.base}, {code.vector('i64')} {number}")
    name = f"llvm.masked.gather.{suffix(word, code.lanes)}.v{code.lanes}p0"
    rest = [("i32", str(size)), (code.vector("i1"), mask), (code.vector(word), "zeroinitializer")]
    quick = code.intrinsic(name, code.vector(word), [(code.vector("ptr"), pointers), *rest])
    code.do(f"br label %{both}")
    code.label(far)
    slow = slowly()
    after = code.label_now
    code.do(f"br label %{both}")
    code.label(both)
    return code.value(f"phi {code.vector(word)} [ {quick}, %{near} ], [ {slow}, %{after} ]")
