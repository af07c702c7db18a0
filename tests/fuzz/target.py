"""What is fuzzed: a name, a function that feeds one input to a core, and the errors that may come out of it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Final

CORES: Final = {
    "document": "p2pcompute.wire",
    "manifest": "p2pcompute.wire",
    "gossip": "p2pcompute.protocol.gossip",
    "noise": "p2pcompute.transport.noise",
    "yamux": "p2pcompute.transport.yamux",
    "multistream": "p2pcompute.transport.multistream",
    "frames": "p2pcompute.transport.channels",
    "sync": "p2pcompute.protocol",
    "ptx": "p2pcompute.compute.ptx",
}
"""Targets, each with the package or module whose branches guide the search."""
NAMES: Final = tuple(CORES)


@dataclasses.dataclass(frozen=True)
class Target:
    """One core. `feed` raises one of `errors` for an input it refuses; whatever else it raises is a defect."""

    feed: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], Mapping[str, bytes]]
    """Real bytes by name, the same at every call; `feed` takes all but those whose name begins with `bad`."""
    held_bytes_per_byte: int
    """What the core may hold at its worst moment for each byte of an input, beside a fixed part."""
    input_bytes_max: int = 4_096
    """Longer inputs bring nothing new."""

    def takes(self, data: bytes) -> bool:
        """Whether the core accepts the input. Raises only for a defect."""
        try:
            self.feed(data)
        except self.errors:
            return False
        return True


def load(name: str) -> Target:
    """Raises KeyError for an unknown name."""
    if name not in NAMES:
        raise KeyError(f"no target {name!r}; there are {', '.join(NAMES)}")
    found = importlib.import_module(f"tests.fuzz.{name}").TARGET
    assert isinstance(found, Target)
    return found


class Reader:
    """Numbers and pieces out of an input, for targets that need more than one thing. Past the end all is zero."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        """0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def piece(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        return self.piece(len(self._data))
