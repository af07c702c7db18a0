"""Those who take part and do not keep their side of it."""

from __future__ import annotations

from blake3 import blake3

from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Effect, JobOutcome, JobStatus, Now, Reply, Request, Ruling
from p2pcompute.wire.codec import open_envelope
from p2pcompute.wire.documents import Kind
from simnet.characters.base import Character


class Liar(Character):
    """Answers at once with results that are wrong in a way of its own."""

    wrong_results = undercuts = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        wrong = tuple((blake3(root + self.site.peer).digest(), size) for root, size in honest.outputs)
        return JobOutcome(JobStatus.OK, wrong, device_us=1_000)


class Deadbeat(Character):
    """Takes results and never sends a cheque."""

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not (isinstance(e, Request) and _is_cheque(e.frame))]


def _is_cheque(frame: bytes) -> bool:
    return frame[:1] == b"\x99" and open_envelope(frame).kind == Kind.CHEQUE


class BlackHole(Character):
    """Joins, offers, and takes its place in others' meshes; passes nothing on, asks nothing and answers nothing."""

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        core.judge_gossip = lambda now, topic, data, peer: Ruling.IGNORE  # type: ignore[method-assign]

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not isinstance(e, Request | Reply)]

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        return []
