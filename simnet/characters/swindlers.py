"""Those who take part and do not keep their side of it."""

from __future__ import annotations

import abc

import msgspec

from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Effect, Fetch, Grant, Now, Reply, Request
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument, Kind
from simnet.characters.base import Character, kind_of


class Deadbeat(Character):
    """Takes results and never sends a cheque."""

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not (isinstance(e, Request) and kind_of(e.frame) == Kind.CHEQUE)]


class Skimper(Character):
    """Pays every receipt with a cheque that states its price alone, and not the sum of all."""

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [
            self._short(now, e) if isinstance(e, Request) and kind_of(e.frame) == Kind.CHEQUE else e for e in effects
        ]

    def _short(self, now: Now, request: Request) -> Request:
        body: d.Cheque = self.core.post.open(request.frame).body
        held = (r.receipt for job in self.core.requester.jobs for r in job.team if r.receipt is not None)
        price = next(x.body.price for x in held if x.id == body.receipt)
        short = self.core.post.write(now, d.Cheque(body.payee, price, body.receipt), lifetime_ms=3_600_000)
        return msgspec.structs.replace(request, frame=short.raw)


class _Misstater(Character, abc.ABC):
    """Writes other documents than an honest core would."""

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._honest_write = core.post.write
        core.post.write = self._write  # type: ignore[method-assign]

    def _write(self, now: Now, body: msgspec.Struct, *, lifetime_ms: int) -> AnyDocument:
        return self._honest_write(now, self.misstated(body), lifetime_ms=lifetime_ms)

    @abc.abstractmethod
    def misstated(self, body: msgspec.Struct) -> msgspec.Struct:
        """What it writes in place of this."""


class Understater(_Misstater):
    """Asks for a moment of device time, and assigns tasks that may take long."""

    def misstated(self, body: msgspec.Struct) -> msgspec.Struct:
        return msgspec.structs.replace(body, device_ms_max=1) if isinstance(body, d.Probe) else body


class Haggler(_Misstater):
    """Assigns for half of the price of a device-second that it was quoted."""

    def misstated(self, body: msgspec.Struct) -> msgspec.Struct:
        if not isinstance(body, d.Assignment):
            return body
        return msgspec.structs.replace(body, price_per_device_s=body.price_per_device_s // 2)


class Crammer(Character):
    """Assigns two tasks at once on every reservation."""

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [more for e in effects for more in self._twice(now, e)]

    def _twice(self, now: Now, effect: Effect) -> list[Effect]:
        if not isinstance(effect, Request) or kind_of(effect.frame) != Kind.ASSIGNMENT:
            return [effect]
        body: d.Assignment = self.core.post.open(effect.frame).body
        second = self.core.post.write(now, body, lifetime_ms=3_600_000)
        return [effect, self.ask(effect.peer, second.raw)]


class LossInventor(Character):
    """Pays one replica of each task, and tells all others that what they computed was wrong."""

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._paid: dict[tuple[bytes, ...], bytes] = {}

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [self._denied(now, e) if isinstance(e, Request) else e for e in effects]

    def _denied(self, now: Now, request: Request) -> Request:
        if kind_of(request.frame) != Kind.VERDICT:
            return request
        body: d.Verdict = self.core.post.open(request.frame).body
        if body.judgement is not d.Judgement.AGREED:
            return request
        if self._paid.setdefault(body.agreed_roots, body.commitment) == body.commitment:
            return request
        denial = d.Verdict(body.commitment, d.Judgement.OUTVOTED, body.agreed_roots, body.agreeing, 0)
        frame = self.core.post.write(now, denial, lifetime_ms=3_600_000).raw
        return msgspec.structs.replace(request, frame=frame)


class Hoarder(Character):
    """Reserves whatever it can get, and assigns nothing."""

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not (isinstance(e, Request) and kind_of(e.frame) == Kind.ASSIGNMENT)]


class Withholder(Character):
    """Commits, and then does not open what it committed to, or does not hand over the data."""

    undercuts = True

    def answer(self, now: Now, peer: bytes, frame: bytes, effects: list[Effect]) -> list[Effect]:
        if kind_of(frame) != Kind.REVEAL_REQUEST:
            return effects
        body: d.RevealRequest = self.core.post.open(frame).body
        engagement = self.core.provider._by_commitment.get(body.commitment)
        if engagement is None or not self.falls_on(engagement.manifest_bytes, 2):
            return effects
        return [Reply(e.request_id, None) if isinstance(e, Reply) else e for e in effects]

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not isinstance(e, Grant)]


class Sybil(Character):
    """One of many keys and operators on one machine, each with an offer below everybody's: every other one answers
    nothing, and the rest quote and then reserve nothing."""

    undercuts = one_host = True

    def answer(self, now: Now, peer: bytes, frame: bytes, effects: list[Effect]) -> list[Effect]:
        quotes = self.site.index % 2 == 0 and kind_of(frame) == Kind.PROBE
        return effects if quotes or not kind_of(frame) else []


class Squatter(Character):
    """Takes every assignment, and never says a word about it again."""

    undercuts = True

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not isinstance(e, Fetch)]
