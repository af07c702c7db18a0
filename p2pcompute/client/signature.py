"""Parameter names and types of a kernel, read from its source: PTX has sizes, but no names.

Only the parameter list of one `__global__` function is looked at. What cannot be understood is left unknown; sizes are
still checked against the compiled kernel.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

_COMMENTS: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_QUALIFIERS: Final = {
    *("const", "volatile", "restrict", "__restrict__", "__restrict"),
    *("struct", "enum", "__grid_constant__"),
}
TEXTURE_OBJECT: Final = "texture"
"""The element type of a `cudaTextureObject_t`, which is none of the wire's."""
_TYPES: Final = {
    "cudaTextureObject_t": TEXTURE_OBJECT,
    "float": "f32",
    "double": "f64",
    "__half": "f16",
    "half": "f16",
    "char": "i8",
    "signed char": "i8",
    "int8_t": "i8",
    "unsigned char": "u8",
    "uchar": "u8",
    "uint8_t": "u8",
    "bool": "u8",
    "short": "i16",
    "int16_t": "i16",
    "unsigned short": "u16",
    "uint16_t": "u16",
    "int": "i32",
    "signed": "i32",
    "signed int": "i32",
    "int32_t": "i32",
    "unsigned": "u32",
    "unsigned int": "u32",
    "uint": "u32",
    "uint32_t": "u32",
    "long": "i64",
    "long int": "i64",
    "long long": "i64",
    "long long int": "i64",
    "int64_t": "i64",
    "ptrdiff_t": "i64",
    "unsigned long": "u64",
    "unsigned long int": "u64",
    "unsigned long long": "u64",
    "unsigned long long int": "u64",
    "uint64_t": "u64",
    "size_t": "u64",
}
"""C types of one element, under the LP64 model CUDA uses on Linux."""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceParameter:
    """One parameter: its name, whether it is a pointer, and its (pointed-to) element type, empty when unknown."""

    name: str
    pointer: bool
    dtype: str


def parameters_of(source: str, entry: str) -> tuple[SourceParameter, ...] | None:
    """The parameters of kernel `entry` (a template instance by its base name); None when they cannot be told."""
    text = _COMMENTS.sub(" ", source)
    base = entry.partition("<")[0].rpartition("::")[2].strip()
    for match in re.finditer(rf"\b{re.escape(base)}\s*\(", text):
        head = text[: match.start()]
        start = max(head.rfind(c) for c in ";}{") + 1
        if "__global__" in head[start:]:
            inside = _parenthesised(text, match.end())
            return None if inside is None else _parse(inside)
    return None


def _parenthesised(text: str, start: int) -> str | None:
    depth = 1
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return None


def _parse(inside: str) -> tuple[SourceParameter, ...] | None:
    if inside.strip() in ("", "void"):
        return ()
    parameters = []
    for part in _split(inside):
        part = part.partition("=")[0]
        array = "[" in part
        words = re.findall(r"[A-Za-z_]\w*|\*|&", part.partition("[")[0])
        if not words or words[-1] in ("*", "&"):
            return None
        kind = " ".join(w for w in words[:-1] if w not in _QUALIFIERS and w != "*")
        pointer = array or "*" in words
        parameters.append(SourceParameter(words[-1], pointer, _TYPES.get(kind, "")))
    return tuple(parameters)


def _split(text: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "(<[":
            depth += 1
        elif c in ")>]":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]
