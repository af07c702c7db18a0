"""Writing LLVM IR as text: fresh names, declarations on demand, and operations for one shape (a scalar or a warp of
lanes).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pcompute.compute.ptx.ir import Immediate
from p2pcompute.compute.ptx.types import BITS_OF_LLVM
from p2pcompute.compute.ptx.uniform import WARP

_SUFFIX: Final = {"half": "f16", "float": "f32", "double": "f64"}
_ROUNDING: Final = {"rz": 0, "rn": 1, "rp": 2, "rm": 3}
"""Arguments of llvm.set.rounding (the values of C's FLT_ROUNDS)."""


@dataclass(slots=True)
class Code:
    """The lines of one function, and what the module must hold besides. `lanes`: how many run in lockstep."""

    lanes: int = WARP
    lines: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    helpers: dict[str, str] = field(default_factory=dict)
    label_now: str = "entry"
    entry_lines: list[str] = field(default_factory=list)
    """For the start of the function: what everything may use."""
    block_lines: list[str] = field(default_factory=list)
    """For the start of each block of threads."""
    _entry_values: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    @property
    def word(self) -> str:
        """The integer with a bit for each lane."""
        return f"i{self.lanes}"

    def vector(self, llvm: str) -> str:
        return vector(llvm, self.lanes)

    def fresh(self, prefix: str = "t") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    @contextlib.contextmanager
    def into(self, lines: list[str]) -> Iterator[None]:
        """Write straight-line code elsewhere."""
        kept, self.lines = self.lines, lines
        try:
            yield
        finally:
            self.lines = kept

    def slot(self, name: str, kind: str) -> None:
        """Memory of the function's frame, which LLVM turns into values."""
        self.entry_lines.append(f"  {name} = alloca {kind}")

    def leave(self, status: int) -> None:
        """End or interrupt the warp."""
        self.do(f"store i32 {status}, ptr %status.cell")
        self.do("br label %warp.end")

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str) -> str:
        name = f"%{self.fresh()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def word_of(self, mask: str) -> str:
        """The bits of a mask of lanes, the first lane's lowest."""
        return self.value(f"bitcast {self.vector('i1')} {mask} to {self.word}")

    def mask_of(self, word: str) -> str:
        return self.value(f"bitcast {self.word} {word} to {self.vector('i1')}")

    def lane_by(self, count: str, word: str, *, zero_is_poison: bool) -> str:
        """The number of zeros that `cttz` or `ctlz` counts before a word's first one, as i32."""
        flag = ("i1", "true" if zero_is_poison else "false")
        zeros = self.intrinsic(f"llvm.{count}.{self.word}", self.word, [(self.word, word), flag])
        return zeros if self.word == "i32" else self.value(f"trunc {self.word} {zeros} to i32")

    def once(self, text: str) -> str:
        """A value computed at the start of the function, the same for equal texts."""
        if text not in self._entry_values:
            self._entry_values[text] = f"%{self.fresh('once')}"
            self.entry_lines.append(f"  {self._entry_values[text]} = {text}")
        return self._entry_values[text]

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.label_now = name

    def intrinsic(self, name: str, result: str, arguments: list[tuple[str, str]]) -> str:
        """Call `@name`, declared on demand; arguments are (type, value)."""
        self.declarations.add(f"declare {result} @{name}({', '.join(kind for kind, _ in arguments)})")
        passed = ", ".join(f"{kind} {value}" for kind, value in arguments)
        return self.value(f"call {result} @{name}({passed})")

    def call(self, name: str, arguments: list[tuple[str, str]]) -> None:
        """Call `@name`, which returns nothing, declared on demand."""
        self.declarations.add(f"declare void @{name}({', '.join(kind for kind, _ in arguments)})")
        self.do(f"call void @{name}({', '.join(f'{kind} {value}' for kind, value in arguments)})")


def vector(llvm: str, lanes: int = WARP) -> str:
    return f"<{lanes} x {llvm}>" if lanes else llvm


def suffix(llvm: str, lanes: int) -> str:
    """How an intrinsic's name spells a type."""
    scalar = _SUFFIX.get(llvm, llvm)
    return f"v{lanes}{scalar}" if lanes else scalar


def each_lane(again: str) -> str:
    """The head of a loop over the set lanes of %m, lowest first, at the end of block %entry. The lines that follow have
    the lane's number in %i; they go back to %next from the block `again`. Block %finish is what comes afterwards.
    """
    return f"""  %m.i = bitcast <{WARP} x i1> %m to i{WARP}
  br label %next
next:
  %left = phi i{WARP} [ %m.i, %entry ], [ %rest, %{again} ]
  %none = icmp eq i{WARP} %left, 0
  br i1 %none, label %finish, label %lane
lane:
  %i = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %left, i1 true)
  %less = sub i{WARP} %left, 1
  %rest = and i{WARP} %left, %less
"""


def integer_of(llvm: str) -> str:
    return f"i{BITS_OF_LLVM[llvm]}"


def literal(immediate: Immediate, llvm: str) -> str:
    """A constant of an LLVM type; integers wrap to its width, float bits are taken as they are."""
    bits = BITS_OF_LLVM[llvm]
    if llvm in _SUFFIX:
        return float_literal(immediate.value, llvm)
    if llvm == "i1":
        return "true" if immediate.value else "false"
    value = immediate.value % (1 << bits)
    return str(value - (1 << bits) if value >> (bits - 1) else value)


def float_literal(bits: int, llvm: str) -> str:
    """LLVM spells a float as the double of the same value; NaN payloads are widened by hand, as struct would quieten
    them.
    """
    if llvm == "double":
        return f"0x{bits:016X}"
    if llvm == "half":
        return f"0xH{bits:04X}"
    if bits >> 23 & 0xFF == 0xFF:
        return f"0x{(bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29:016X}"
    (value,) = struct.unpack("<f", bits.to_bytes(4, "little"))
    (wide,) = struct.unpack("<Q", struct.pack("<d", value))
    return f"0x{wide:016X}"


@dataclass(frozen=True, slots=True)
class Ops:
    """Operations on values of one shape: `lanes` is 0 for a scalar. Type names are of the element."""

    code: Code
    lanes: int

    def type(self, llvm: str) -> str:
        return vector(llvm, self.lanes)

    def const(self, llvm: str, value: int | str) -> str:
        text = literal(Immediate(value), llvm) if isinstance(value, int) else value
        return f"splat ({llvm} {text})" if self.lanes else text

    def two(self, operation: str, llvm: str, left: str, right: str) -> str:
        return self.code.value(f"{operation} {self.type(llvm)} {left}, {right}")

    def by(self, operation: str, llvm: str, left: str, right: int) -> str:
        return self.two(operation, llvm, left, self.const(llvm, right))

    def cast(self, operation: str, source: str, value: str, target: str) -> str:
        return self.code.value(f"{operation} {self.type(source)} {value} to {self.type(target)}")

    def resize(self, source: str, value: str, target: str, *, signed: bool = False) -> str:
        """Integer of one width to another."""
        have, want = BITS_OF_LLVM[source], BITS_OF_LLVM[target]
        if have == want:
            return value
        return self.cast("trunc" if have > want else "sext" if signed else "zext", source, value, target)

    def compare(self, predicate: str, llvm: str, left: str, right: str) -> str:
        operation = "fcmp" if llvm in _SUFFIX else "icmp"
        return self.code.value(f"{operation} {predicate} {self.type(llvm)} {left}, {right}")

    def select(self, condition: str, llvm: str, yes: str, no: str) -> str:
        kind = self.type(llvm)
        return self.code.value(f"select {self.type('i1')} {condition}, {kind} {yes}, {kind} {no}")

    def negate_bit(self, value: str) -> str:
        return self.two("xor", "i1", value, self.const("i1", "true"))

    def call(self, name: str, llvm: str, *arguments: str, flag: str = "") -> str:
        """An intrinsic whose arguments and result have one type; `flag` is a trailing i1 constant."""
        kind = self.type(llvm)
        passed = [(kind, argument) for argument in arguments] + ([("i1", flag)] if flag else [])
        return self.code.intrinsic(f"llvm.{name}.{suffix(llvm, self.lanes)}", kind, passed)

    def suffix(self, llvm: str) -> str:
        return suffix(llvm, self.lanes)

    def convert_call(self, name: str, source: str, value: str, target: str) -> str:
        full = f"llvm.{name}.{suffix(target, self.lanes)}.{suffix(source, self.lanes)}"
        return self.code.intrinsic(full, self.type(target), [(self.type(source), value)])

    def rounded(self, operation: str, mode: str, target: str, arguments: list[tuple[str, str]]) -> str:
        """A float operation in another rounding direction: a helper that sets the mode, computes, and sets it back."""
        types = [kind for kind, _ in arguments]
        name = f"{operation}_{mode}_{'_'.join([target, *types])}_{self.lanes}"
        if name not in self.code.helpers:
            self.code.helpers[name] = self._rounded_helper(name, operation, mode, target, types)
        passed = ", ".join(f"{self.type(kind)} {value}" for kind, value in arguments)
        return self.code.value(f"call {self.type(target)} @{name}({passed})")

    def _rounded_helper(self, name: str, operation: str, mode: str, target: str, types: list[str]) -> str:
        names = [suffix(target, self.lanes)]
        if operation in ("sitofp", "uitofp", "fptrunc"):
            names.append(suffix(types[0], self.lanes))
        intrinsic = f"llvm.experimental.constrained.{operation}.{'.'.join(names)}"
        kinds = [self.type(kind) for kind in types]
        self.code.declarations.add(f"declare {self.type(target)} @{intrinsic}({', '.join(kinds)}, metadata, metadata)")
        self.code.declarations.add("declare void @llvm.set.rounding(i32)")
        formal = ", ".join(f"{kind} %a{n}" for n, kind in enumerate(kinds))
        return f"""define internal {self.type(target)} @{name}({formal}) #2 {{
entry:
  call void @llvm.set.rounding(i32 {_ROUNDING[mode]}) strictfp
  %r = call {self.type(target)} @{intrinsic}({formal}, metadata !"round.dynamic", metadata !"fpexcept.strict") strictfp
  call void @llvm.set.rounding(i32 1) strictfp
  ret {self.type(target)} %r
}}"""
