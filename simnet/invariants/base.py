"""The shape of an invariant, and what is needed to look into nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeVar

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument
from simnet.site import NETWORK, Site, network_verify
from simnet.world import World

R = TypeVar("R", bound=records.Record)


class Violation(AssertionError):
    """An invariant broke; the text names it and the circumstances."""


class Invariant:
    """Something that must hold. It may look at every event as it happens, at the world once in every virtual second,
    and at the world when it has ended; it raises Violation with a sentence for people."""

    name: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        """A node said something."""

    def on_second(self, now_ms: int) -> None:
        """A virtual second has passed."""

    def at_end(self) -> None:
        """The world has ended: it is settled, or its time is over."""


def of_kind(node: Site, kind: type[R]) -> Iterator[R]:
    """A node's durable records of one kind, in order."""
    for data in node.disk.records:
        record = records.decode_record(data)
        if isinstance(record, kind):
            yield record


def opened(raw: bytes) -> AnyDocument:
    """A document that one of our own nodes wrote down."""
    return d.open_document(NETWORK, raw, network_verify)
