"""What happened in a world, as a hash and as lines for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from p2pcompute.protocol.machine import Emit

if TYPE_CHECKING:
    from simnet.site import Site

NAME_COLUMNS: Final = 12
EVENT_COLUMNS: Final = 20


class Trace:
    """Hashes everything that every node is told and that it says, in its own order: how the nodes of a world take turns
    within a millisecond is the driver's business, what each of them lives through is not."""

    def __init__(self, show: Callable[[str], None] | None = None, *, hashing: bool = False) -> None:
        self._show, self.hashing = show, hashing
        self._nodes: dict[str, blake3] = {}

    def note(self, site: Site, now_ms: int, what: str, *details: object) -> None:
        """One thing that a node was told, for the hash alone."""
        line = f"{now_ms} {what} {' '.join(map(plain, details))}\n"
        hasher = self._nodes.get(site.name)
        if hasher is None:
            hasher = self._nodes[site.name] = blake3()
        hasher.update(line.encode())

    def event(self, site: Site, now_ms: int, event: Emit) -> None:
        """Something that a node said."""
        if self.hashing:
            self.note(site, now_ms, event.name, *(f"{name}={plain(value)}" for name, value in event.fields.items()))
        if self._show is not None:
            shown = " ".join(f"{name}={plain(value)}" for name, value in event.fields.items())
            self._show(f"{now_ms:>8} ms  {site.name:<{NAME_COLUMNS}} {event.name:<{EVENT_COLUMNS}} {shown}".rstrip())

    def digest(self) -> str:
        """16 hexadecimal digits for all of it."""
        whole = blake3()
        for name in sorted(self._nodes):
            whole.update(name.encode() + self._nodes[name].digest())
        return whole.hexdigest()[:16]


def plain(value: object) -> str:
    """A value as a person reads it: the first digits of a key or id."""
    if isinstance(value, bytes):
        return value.hex()[:8]
    if isinstance(value, list | tuple):
        return "[" + ",".join(plain(v) for v in value) + "]"
    return str(value)
