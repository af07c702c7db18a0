"""Providers whose results are not what their engines computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from blake3 import blake3

from p2pcompute.protocol import records
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Effect, Emit, JobOutcome, JobStatus, Now, Persist
from p2pcompute.protocol.trust import CONFIRMATIONS_MIN
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import Kind
from simnet.characters.base import Character, Outputs, kind_of

SUBTLE_ONE_IN: Final = 2
"""Of so many of a subtle liar's results one is wrong."""
FAKED_ONE_IN: Final = 10
"""Of so many blocks of a faker one is made up."""
PATIENCE_MS: Final = 800
"""How long a lazy copier waits for somebody else's result."""


def wrong(outputs: Outputs, mark: bytes) -> Outputs:
    """Other roots, the same for everybody who uses the same mark."""
    return tuple((blake3(root + mark).digest(), size) for root, size in outputs)


class Liar(Character):
    """Answers at once with results that are wrong in a way of its own."""

    wrong_results = undercuts = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        return JobOutcome(JobStatus.OK, wrong(honest.outputs, self.site.peer), device_us=1_000)


class SubtleLiar(Character):
    """Is right most of the time, and then wrong in one output of all."""

    wrong_results = undercuts = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        if not self.falls_on(manifest, SUBTLE_ONE_IN):
            return honest
        outputs = (*honest.outputs[:-1], *wrong(honest.outputs[-1:], self.site.peer))
        return JobOutcome(JobStatus.OK, outputs, honest.device_us)


class Faker(Character):
    """Computes nine blocks of ten and makes the rest up."""

    wrong_results = undercuts = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        faked = wrong(honest.outputs, b"a tenth" + self.site.peer)
        self.site.fakes.update({root: FAKED_ONE_IN for root, _ in faked})
        return JobOutcome(JobStatus.OK, faked, honest.device_us)


class Milker(Character):
    """Is honest until it has earned some receipts, and lies from then on."""

    wrong_results = undercuts = True
    patience: ClassVar[int] = 2
    """Receipts it earns before it begins to lie."""

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._earned = 0

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        held = list(journal)
        self._count(held)
        return super().start(now, held)

    def _count(self, written: Iterable[bytes]) -> None:
        self._earned += sum(isinstance(records.decode_record(data), records.Issued) for data in written)

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        self._count(e.record for e in effects if isinstance(e, Persist))
        return effects

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        if self._earned < self.patience:
            return honest
        return JobOutcome(JobStatus.OK, wrong(honest.outputs, self.site.peer), honest.device_us)


class Sleeper(Milker):
    """A milker who knows how long it takes until its word counts: it lies when it expects to be checked no more."""

    patience = CONFIRMATIONS_MIN


class Padder(Milker):
    """Is right, and claims ten times the time that it took, once its word counts unchecked."""

    wrong_results = False
    patience = CONFIRMATIONS_MIN

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        if self._earned < self.patience:
            return honest
        return JobOutcome(JobStatus.OK, honest.outputs, 10 * honest.device_us)


class Naysayer(Milker):
    """Is honest until its word counts unchecked, and says from then on that every kernel failed."""

    patience = CONFIRMATIONS_MIN

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        if self._earned < self.patience:
            return honest
        return JobOutcome(JobStatus.TRAP, (), honest.device_us, honest.reason or "it cannot be done")


class Colluder(Character):
    """One of a gang that agreed beforehand on one and the same wrong answer for every task."""

    wrong_results = colludes = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        return JobOutcome(JobStatus.OK, wrong(honest.outputs, b"the gang"), honest.device_us)


class Hydra(Character):
    """One operator with many keys that all state one and the same wrong answer, as if they were many."""

    wrong_results = undercuts = one_operator = True

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        return JobOutcome(JobStatus.OK, wrong(honest.outputs, b"the hydra"), honest.device_us)


class LazyCopier(Character):
    """Computes nothing: waits for what others state, asks them for their openings, and guesses when it learns
    nothing; what one of its kind finds out, all know."""

    wrong_results = undercuts = True
    every_ms = 500

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._held: list[tuple[int, str, JobOutcome]] = []
        self._spying: dict[bytes, bytes] = {}

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        return JobOutcome(JobStatus.OK, wrong(honest.outputs, self.site.peer), device_us=1_000)

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        self._held.append((now.mono_ms + PATIENCE_MS, token, outcome))
        return []

    def turn(self, now: Now) -> list[Effect]:
        out: list[Effect] = []
        held, self._held = self._held, []
        for due_ms, token, guess in held:
            e = self.core.provider._engagements.get(bytes.fromhex(token))
            known = self.site.ring.notes.get(e.manifest_bytes) if e is not None else None
            if known is None and now.mono_ms < due_ms:
                self._held.append((due_ms, token, guess))
                continue
            states = (tuple(root for root, _ in known),) if known and guess.states else guess.states
            stated = JobOutcome(JobStatus.OK, known, guess.device_us, states=states) if known else guess
            self.site.blobs.update({root: None for root, _ in stated.outputs})
            out += self.core.on_job(now, token, stated)
        return out

    def answer(self, now: Now, peer: bytes, frame: bytes, effects: list[Effect]) -> list[Effect]:
        """Asked for its opening, it learns which other commitments there are: it asks everybody to open them."""
        if kind_of(frame) != Kind.REVEAL_REQUEST:
            return effects
        body = self.core.post.open(frame).body
        engagement = self.core.provider._by_commitment.get(body.commitment)
        others = [one for one in body.all_commitments if one != body.commitment]
        asks: list[Effect] = []
        for commitment in others if engagement is not None else ():
            body = d.RevealRequest(commitment, (commitment,), bytes(32))
            question = self.core.post.write(now, body, lifetime_ms=60_000)
            self._spying[commitment] = engagement.manifest_bytes if engagement is not None else b""
            asks += [self.ask(other, question.raw) for other in self.core.peers if other != peer]
        return [*asks, *effects]

    def heard(self, now: Now, peer: bytes, frame: bytes) -> list[Effect]:
        if kind_of(frame) != Kind.ROOT_REVEAL:
            return []
        body = self.core.post.open(frame).body
        manifest = self._spying.get(body.commitment, b"")
        self.site.ring.notes[manifest] = tuple((root, 0) for root in body.output_roots)
        return [Emit("character.spied", {"peer": peer, "commitment": body.commitment})]
