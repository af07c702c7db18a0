"""Helper functions of generated code: checked accesses, atomics, textures. Each is compiled once in a process.

Most kernels need the same few, and these take more time to compile than a small kernel itself. A kernel declares them
and is linked with their objects (see `jit.Loaded`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from p2pcompute.compute.ptx import half
from p2pcompute.compute.ptx.jit import Processor, assemble

ATTRIBUTES: Final = """
attributes #0 = { nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #1 = { noinline nounwind cold "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #2 = { noinline nounwind strictfp "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #3 = { noinline nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }
!0 = !{}
!1 = !{!"branch_weights", i32 1, i32 100000}
!2 = !{!"branch_weights", i32 100000, i32 1}
"""
"""What every module ends with."""

OBJECTS_KEPT: Final = 512
"""A helper has a few kilobytes; there is one for each kind of access, type and space that kernels used."""

_HEAD: Final = re.compile(r"define internal ([^@]*@[\w.]+\(.*\)) #\d+ \{$", re.MULTILINE)
_NAME: Final = re.compile(r"@([\w.]+)\(")


def declarations(helpers: Mapping[str, str]) -> str:
    """What a module that calls them must declare."""
    return "\n".join(f"declare {head}" for text in helpers.values() for head in _HEAD.findall(text))


def objects(helpers: Mapping[str, str], intrinsics: frozenset[str], processor: Processor) -> tuple[bytes, ...]:
    """The machine code of all of them. `intrinsics`: the declarations of what they call besides each other."""
    names = {_NAME.findall(line)[0]: line for line in intrinsics}
    made = []
    for own, text in helpers.items():
        called = set(_NAME.findall(text))
        others = {name: other for name, other in helpers.items() if name != own and name in called}
        lines = [declarations(others), *sorted(names[name] for name in called if name in names)]
        text = text.replace("define internal ", "define ")
        made.append(_object("\n".join([text, *lines, *of_halves(text), ATTRIBUTES]), processor))
    return tuple(made)


def of_halves(*texts: str) -> list[str]:
    """The conversions that LLVM calls where a processor has none, if a module computes with halves."""
    return [half.LIBRARY] if any("half" in text for text in texts) else []


@lru_cache(maxsize=OBJECTS_KEPT)
def _object(text: str, processor: Processor) -> bytes:
    return assemble(text, processor)
