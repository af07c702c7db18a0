"""Kernels as users have them: CUDA C++ text and the name of a `__global__` function in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from p2pcompute.client.headers import included_files, read_source


@dataclasses.dataclass(frozen=True)
class Kernel:
    """`source` is the text of the file `name` (which compiler messages will show); `headers` what its
    `#include "…"` may name, `defines` macros. `entry` may be a template instance, as in `scale<float>`."""

    source: str
    entry: str
    name: str = "kernel.cu"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defines: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        entry: str,
        *,
        defines: Mapping[str, str] | None = None,
        include: Sequence[str | Path] = (),
    ) -> Kernel:
        """A kernel in a `.cu` file, with all files it includes that lie beside it or in the folders `include`. Raises
        UsageError when one cannot be read."""
        file = Path(path)
        text = read_source(file)
        headers = included_files(file, [Path(folder) for folder in include])
        return cls(text, entry, file.name, headers, dict(defines or {}))
