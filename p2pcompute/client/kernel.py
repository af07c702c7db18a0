"""Kernels as users have them: CUDA C++ text and the name of a `__global__` function in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from p2pcompute.errors import UsageError
from p2pcompute.wire import limits


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
    def from_file(cls, path: str | Path, entry: str, *, defines: Mapping[str, str] | None = None) -> Kernel:
        """A kernel in a `.cu` file, with the headers that lie beside it. Raises UsageError when it cannot be read."""
        file = Path(path)
        headers = {
            header.name: _read(header)
            for pattern in ("*.h", "*.cuh", "*.hpp")
            for header in sorted(file.parent.glob(pattern))
            if f'"{header.name}"' in _read(file)
        }
        return cls(_read(file), entry, file.name, headers, dict(defines or {}))


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limits.SOURCE_BYTES_MAX:
        raise UsageError(f"{path} has {len(data)} bytes; a source may have {limits.SOURCE_BYTES_MAX}")
    return data.decode("utf-8", errors="replace")
