"""Peers of bad character, each a small departure from the honest node."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from p2pcompute.protocol.machine import Effect, JobOutcome, JobStatus, Now, Request, Ruling
from p2pcompute.wire.codec import open_envelope
from p2pcompute.wire.documents import Kind
from simnet.node import Node, right_outputs


class Liar(Node):
    """Answers at once with results that are wrong in a way of its own."""

    def compute(self, manifest: bytes) -> JobOutcome:
        wrong = tuple((blake3(root + self.peer).digest(), size) for root, size in right_outputs(manifest))
        return JobOutcome(JobStatus.OK, wrong, device_us=1_000)


class Deadbeat(Node):
    """Takes results and never sends a cheque."""

    def _ordered(self, effect: Effect) -> None:
        if isinstance(effect, Request) and effect.frame[:1] == b"\x99" and self._is_cheque(effect.frame):
            return
        super()._ordered(effect)

    @staticmethod
    def _is_cheque(frame: bytes) -> bool:
        return open_envelope(frame).kind == Kind.CHEQUE


class BlackHole(Node):
    """Joins, offers, and takes its place in others' meshes; passes nothing on, asks nothing and answers nothing."""

    def _validate(self, now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        return Ruling.IGNORE

    def on_request(self, peer: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        pass

    def _ordered(self, effect: Effect) -> None:
        if not isinstance(effect, Request):
            super()._ordered(effect)


CHARACTERS: dict[str, type[Node]] = {"honest": Node, "liar": Liar, "deadbeat": Deadbeat, "hole": BlackHole}
