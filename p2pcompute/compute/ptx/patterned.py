"""Loads and stores of a warp whose lanes lie at constant distances: whole vectors and shuffles by constants.

Gathers and scatters cost a memory access per lane; neighbours that are only in another order, or a few elements apart,
come with two vector accesses. All between the least and the greatest lane is read, which lies inside the segment.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pcompute.compute.ptx.llvmtext import Code, suffix, vector


def load(code: Code, word: str, size: int, align: int, pointer: str, offsets: Sequence[int]) -> str:
    """One word for each lane, from `pointer` + offset bytes; offsets are multiples of `size`, the word's."""
    lowest, places, span = _places(offsets, size)
    if span > 2 * code.lanes:
        return _gather(code, word, align, pointer, offsets)
    width = _width(span, code.lanes)
    kind = vector(word, width)
    pieces = []
    for start in (0, span - width):
        cell = code.value(f"getelementptr i8, ptr {pointer}, i64 {lowest + start * size}")
        pieces.append(code.value(f"load {kind}, ptr {cell}, align {align}"))
    picks = [place if place < width else place + 2 * width - span for place in places]
    return _shuffle(code, word, width, pieces[0], pieces[1], picks)


def store(
    code: Code, word: str, size: int, align: int, pointer: str, offsets: Sequence[int], value: str, mask: str
) -> None:
    """The opposite, for lanes in `mask`, in their order where several store to one place."""
    lowest, places, span = _places(offsets, size)
    if span > 2 * code.lanes or len(set(places)) < code.lanes:
        _scatter(code, word, align, pointer, offsets, value, mask)
        return
    width = _width(span, code.lanes)
    lanes = {place: lane for lane, place in enumerate(places)}
    for start, done in ((0, 0), (span - width, width)):
        here = [lanes.get(place) if place >= done else None for place in range(start, start + width)]
        if all(lane is None for lane in here):
            continue
        cell = code.value(f"getelementptr i8, ptr {pointer}, i64 {lowest + start * size}")
        moved = _shuffle(code, word, code.lanes, value, "poison", [0 if lane is None else lane for lane in here])
        picks = [code.lanes if lane is None else lane for lane in here]
        active = _shuffle(code, "i1", code.lanes, mask, "zeroinitializer", picks)
        name = f"llvm.masked.store.{suffix(word, width)}.p0"
        arguments = [(vector(word, width), moved), ("ptr", cell), ("i32", str(align)), (vector("i1", width), active)]
        code.call(name, arguments)


def _places(offsets: Sequence[int], size: int) -> tuple[int, list[int], int]:
    """The least offset, each lane's place behind it in words, and how many words there are."""
    lowest = min(offsets)
    places = [(offset - lowest) // size for offset in offsets]
    return lowest, places, max(places) + 1


def _width(span: int, lanes: int) -> int:
    """The largest power of two that two vectors of cover the span with, and not more than there are lanes."""
    return min(lanes, 1 << (span.bit_length() - 1))


def _shuffle(code: Code, llvm: str, width: int, left: str, right: str, picks: Sequence[int]) -> str:
    kind = vector(llvm, width)
    places = ", ".join(f"i32 {pick}" for pick in picks)
    return code.value(f"shufflevector {kind} {left}, {kind} {right}, <{len(picks)} x i32> <{places}>")


def _pointers(code: Code, pointer: str, offsets: Sequence[int]) -> str:
    steps = ", ".join(f"i64 {offset}" for offset in offsets)
    return code.value(f"getelementptr i8, ptr {pointer}, {code.vector('i64')} <{steps}>")


def _gather(code: Code, word: str, align: int, pointer: str, offsets: Sequence[int]) -> str:
    kind = code.vector(word)
    name = f"llvm.masked.gather.{suffix(word, code.lanes)}.v{code.lanes}p0"
    places = (code.vector("ptr"), _pointers(code, pointer, offsets))
    rest = [("i32", str(align)), (code.vector("i1"), "splat (i1 true)"), (kind, "zeroinitializer")]
    return code.intrinsic(name, kind, [places, *rest])


def _scatter(code: Code, word: str, align: int, pointer: str, offsets: Sequence[int], value: str, mask: str) -> None:
    name = f"llvm.masked.scatter.{suffix(word, code.lanes)}.v{code.lanes}p0"
    places = (code.vector("ptr"), _pointers(code, pointer, offsets))
    code.call(name, [(code.vector(word), value), places, ("i32", str(align)), (code.vector("i1"), mask)])
