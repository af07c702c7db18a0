"""Integer atomics on shared memory whose result nobody reads: counters, bins, maxima.

The memory of a block belongs to one host thread, so plain loads and stores in lane order are atomic. All lanes are
checked at once and then written out one after the other, without a branch; a warp that is not full, or not inside, goes
the way of all atomics. The addresses go through memory (hence `volatile`): taken out of a vector register by
extraction they come so late that every load waits for the stores before it (20 times slower on Zen 4). They go there as
32 bits each, which a block's memory needs no more than, and in pieces: words come back late out of a store of 64 bytes
(1.6 times slower on Sapphire Rapids). Numbers of counters that are bytes (see `counters`) go there as bytes, and come
back eight at a time.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.compute.ptx.checked import FORMAL, vector_check_lines
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.llvmtext import vector
from p2pcompute.compute.ptx.types import BITS_OF_LLVM, TYPES
from p2pcompute.compute.ptx.uniform import WARP

PIECE_BYTES: Final = 32
WORD_BYTES: Final = 8
_PLAIN: Final = {"add": "add", "and": "and", "or": "or", "xor": "xor"}


def fits(ins: Instruction, space: str, *, is_read: bool) -> bool:
    return space == "shared" and not is_read and commutes(ins)


def commutes(ins: Instruction) -> bool:
    """Whether memory ends up the same in whatever order lanes do it."""
    return TYPES[ins.types[0]].kind in "bus" and (ins.modifier("op") in _PLAIN or ins.modifier("op") in ("min", "max"))


def _step(ins: Instruction, llvm: str, lane: int, value: str) -> str:
    operation = ins.modifier("op") or ""
    if operation in _PLAIN:
        return f"  %n{lane} = {_PLAIN[operation]} {llvm} %o{lane}, {value}\n"
    name = f"llvm.{'s' if TYPES[ins.types[0]].is_signed else 'u'}{operation}.{llvm}"
    return f"  %n{lane} = call {llvm} @{name}({llvm} %o{lane}, {llvm} {value})\n"


def declaration(ins: Instruction) -> str | None:
    """The intrinsic that `function` needs, if any."""
    llvm, operation = TYPES[ins.types[0]].llvm, ins.modifier("op") or ""
    if operation in _PLAIN:
        return None
    sign = "s" if TYPES[ins.types[0]].is_signed else "u"
    return f"declare {llvm} @llvm.{sign}{operation}.{llvm}({llvm}, {llvm})"


def _in_pieces(slot: str, llvm: str, value: str, every: int = WARP) -> str:
    """Store a vector, PIECE_BYTES at a time."""
    lanes, kind = min(every, 8 * PIECE_BYTES // BITS_OF_LLVM[llvm]), vector(llvm, every)
    lines = ""
    for first in range(0, every, lanes):
        order = ", ".join(f"i32 {lane}" for lane in range(first, first + lanes))
        lines += f"  %{slot}.{first} = shufflevector {kind} {value}, {kind} poison, "
        lines += f"<{lanes} x i32> <{order}>\n  %{slot}.p{first} = getelementptr {llvm}, ptr %{slot}, i32 {first}\n"
        lines += f"  store volatile {vector(llvm, lanes)} %{slot}.{first}, ptr %{slot}.p{first}\n"
    return lines


def function(name: str, ins: Instruction, others: str, *, is_uniform: bool) -> str:
    """`name`: as `others` (the checked helper of the same operation), without a result. With `is_uniform` the operand
    is one scalar for all lanes.
    """
    type_name = ins.types[0]
    llvm, size = TYPES[type_name].llvm, TYPES[type_name].size_bytes
    kind = vector(llvm)
    lanes = ""
    for lane in range(WARP):
        value = "%s" if is_uniform else f"%v{lane}"
        if not is_uniform:
            lanes += f"  %w{lane} = getelementptr {llvm}, ptr %values, i32 {lane}\n"
            lanes += f"  %v{lane} = load {llvm}, ptr %w{lane}\n"
        lanes += f"  %q{lane} = getelementptr i32, ptr %places, i32 {lane}\n  %b{lane} = load i32, ptr %q{lane}\n"
        lanes += f"  %a{lane} = zext i32 %b{lane} to i64\n"
        lanes += f"  %p{lane} = getelementptr i8, ptr %base, i64 %a{lane}\n"
        lanes += f"  %o{lane} = load {llvm}, ptr %p{lane}, align {size}\n{_step(ins, llvm, lane, value)}"
        lanes += f"  store {llvm} %n{lane}, ptr %p{lane}, align {size}\n"
    operand = f"{llvm} %s" if is_uniform else f"{kind} %v"
    spread = values = ""
    if not is_uniform:
        values = f"  %values = alloca {kind}\n{_in_pieces('values', llvm, '%v')}"
    if is_uniform:
        spread = f"  %v.i = insertelement {kind} poison, {llvm} %s, i32 0\n"
        spread += f"  %v = shufflevector {kind} %v.i, {kind} poison, <{WARP} x i32> zeroinitializer\n"
    check = vector_check_lines("%a", "%base", "%limit", size).format(place="%a").rstrip("\n") + "\n"
    return f"""define internal void @{name}({FORMAL}, {operand}) #3 {{
entry:
  %places = alloca <{WARP} x i32>
  %narrow = trunc <{WARP} x i64> %a to <{WARP} x i32>
{_in_pieces("places", "i32", "%narrow")}{values}{check}  %m.w = bitcast <{WARP} x i1> %m to i{WARP}
  %full = icmp eq i{WARP} %m.w, -1
  %go = and i1 %full, %good
  br i1 %go, label %all, label %some, !prof !2
all:
{lanes}  ret void
some:
{spread}  %r = call {kind} @{others}({FORMAL}, {kind} %v, {kind} zeroinitializer)
  ret void
}}"""


def of_bytes(name: str, ins: Instruction, scale: int, lanes: int) -> str:
    """`name`: the same for counters at %first + scale * byte, all of them inside, with one scalar for all lanes."""
    llvm, size = TYPES[ins.types[0]].llvm, TYPES[ins.types[0]].size_bytes
    kind, words = vector("i8", lanes), ""
    for lane in range(lanes):
        word, place = divmod(lane, WORD_BYTES)
        if not place:
            words += f"  %q{word} = getelementptr i64, ptr %bytes, i32 {word}\n  %w{word} = load i64, ptr %q{word}\n"
        words += f"  %s{lane} = lshr i64 %w{word}, {8 * place}\n  %b{lane} = and i64 %s{lane}, 255\n"
        words += f"  %a{lane} = mul i64 %b{lane}, {scale}\n  %p{lane} = getelementptr i8, ptr %first, i64 %a{lane}\n"
        words += f"  %o{lane} = load {llvm}, ptr %p{lane}, align {size}\n{_step(ins, llvm, lane, '%s')}"
        words += f"  store {llvm} %n{lane}, ptr %p{lane}, align {size}\n"
    return f"""define internal void @{name}(ptr %first, {kind} %b, {llvm} %s) #3 {{
entry:
  %bytes = alloca {kind}
{_in_pieces("bytes", "i8", "%b", lanes)}{words}  ret void
}}"""
