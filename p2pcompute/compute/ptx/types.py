"""PTX scalar types, and how each one is held in LLVM IR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ScalarType:
    """One PTX fundamental type. `kind` is b (untyped), u, s, f or p (predicate); `llvm` is its LLVM type."""

    name: str
    kind: str
    bits: int
    llvm: str

    @property
    def size_bytes(self) -> int:
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_packed(self) -> bool:
        """Two halves in one 32-bit register; held as an integer, taken apart by `packed`."""
        return self.name == "f16x2"

    @property
    def is_signed(self) -> bool:
        return self.kind == "s"


def _table() -> dict[str, ScalarType]:
    types = {
        f"{kind}{bits}": ScalarType(f"{kind}{bits}", kind, bits, f"i{bits}")
        for kind in "bus"
        for bits in (8, 16, 32, 64)
    }
    types["f16"] = ScalarType("f16", "f", 16, "half")
    types["f16x2"] = ScalarType("f16x2", "f", 32, "i32")
    types["f32"] = ScalarType("f32", "f", 32, "float")
    types["f64"] = ScalarType("f64", "f", 64, "double")
    types["pred"] = ScalarType("pred", "p", 1, "i1")
    return types


TYPES: Final[dict[str, ScalarType]] = _table()

BITS_OF_LLVM: Final[dict[str, int]] = {
    "i1": 1,
    "i8": 8,
    "i16": 16,
    "i32": 32,
    "i64": 64,
    "i128": 128,
    "half": 16,
    "float": 32,
    "double": 64,
}

WIDER: Final[dict[str, str]] = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
"""The type of a `.wide` product."""


def same_width(name: str, other: str) -> bool:
    return TYPES[name].bits == TYPES[other].bits
