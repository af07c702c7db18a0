"""One provider, and a requester whose every letter is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import records
from p2pcompute.protocol.engagement import Engagement
from p2pcompute.protocol.lease import CAPS, Caps, Lease
from p2pcompute.protocol.machine import (
    Effect,
    Fetch,
    JobOutcome,
    JobStatus,
    Ok,
    Persist,
    Reply,
    Request,
    RunJob,
)
from p2pcompute.protocol.reservation import NONE
from p2pcompute.protocol.verification import nonce_commitment
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import encode_manifest, manifest_id
from p2pcompute.wire.policy import Policy
from tests.protocol.stage import MANIFEST, NETWORK, Actor, Stage, delegation, key_of, right, terms, verify_once

replace: Any = msgspec.structs.replace
REQUESTER, STRANGER = key_of("requester"), key_of("stranger")
DATA = encode_manifest(MANIFEST)
NONCE = b"n" * 32
REFUSED = "refused"
LIFE_MS = 10 * 86_400_000


class Desk:
    """A provider, everything it was asked, and what it said."""

    def __init__(self, *, credit: int = 10**9, caps: Caps = CAPS, **offer: object) -> None:
        self.stage = Stage()
        self.actor: Actor = self.stage.actor("provider", credit=credit, caps=caps)
        self.actor.publish(terms(delegation=self.actor.delegation, **offer))
        self.stage.settle()
        self.held: dict[str, bytes] = {}
        self.effects: list[Effect] = []
        self._n = 0

    @property
    def core(self) -> Any:
        return self.actor.core

    @property
    def state(self) -> str:
        e, lease = self.engagement, self.lease
        return e.state if e is not None else lease.state if lease is not None else "none"

    @property
    def lease(self) -> Lease | None:
        rows = list(self.core.provider.leasing._leases.values())
        return rows[-1] if rows else None

    @property
    def engagement(self) -> Engagement | None:
        rows = list(self.core.provider._engagements.values())
        return rows[-1] if rows else None

    def write(self, body: msgspec.Struct, key: KeyPair = REQUESTER, *, epoch: bytes = bytes(8)) -> bytes:
        author = d.Author(NETWORK, key.public, epoch, key.sign)
        self._n += 1
        author.seen(2**60 + self._n)
        return author.write(self.stage.now.wall_ms, body, lifetime_ms=LIFE_MS).raw

    def send(self, raw: bytes, key: KeyPair = REQUESTER) -> d.AnyDocument | str:
        """The answer to a request: a document, "" for an acknowledgement, or REFUSED."""
        return self.take(self.core.on_request(self.stage.now, key.public, 1, raw))

    def take(self, effects: list[Effect]) -> Any:
        self.effects = effects
        answer: object = None
        for effect in effects:
            if isinstance(effect, Persist):
                self.actor.journal.append(effect.record)
            elif isinstance(effect, Reply):
                assert answer is None, "answered twice"
                answer = REFUSED if effect.frame is None else effect.frame
        if answer in (None, REFUSED, b""):
            return answer or ""
        return d.open_document(NETWORK, answer, verify_once)  # type: ignore[arg-type]

    def ask(self, body: msgspec.Struct, key: KeyPair = REQUESTER) -> Any:
        return self.send(self.write(body, key), key)

    @property
    def journaled(self) -> list[records.AnyRecord]:
        return [records.decode_record(e.record) for e in self.effects if isinstance(e, Persist)]

    def effect(self, kind: type[Any]) -> Any:
        return next((e for e in self.effects if isinstance(e, kind)), None)

    # -- the way through an engagement -------------------------------------------------------------------------------

    def probe(self) -> d.Probe:
        return d.Probe(delegation(key_of("buyer"), REQUESTER.public), "cpu", MANIFEST.memory_bytes_max, 1_000, 1_000)

    def reserve(self, lease_ms: int = 15_000, assignments: int = 1) -> None:
        quote = self.ask(self.probe())
        self.held["quote"] = quote.id
        self.held["request"] = self.write(d.ReservationRequest(quote.id, lease_ms, assignments))
        self.held["reservation"] = self.send(self.held["request"]).id  # type: ignore[union-attr]

    def assignment(self, **changes: object) -> d.Assignment:
        return replace(  # type: ignore[no-any-return]
            d.Assignment(
                self.held.get("reservation", NONE), manifest_id(DATA), merkle.blob_root(DATA), len(DATA),
                1_000_000, 0, 100, 1_000_000, self.stage.now.wall_ms + 61_000, Policy(), nonce_commitment(NONCE),
            ),
            **changes,
        )  # fmt: skip

    def assign(self) -> None:
        self.held["assign"] = self.write(self.assignment())
        assert self.send(self.held["assign"]) == ""
        self.held["assignment"] = d.open_document(NETWORK, self.held["assign"], verify_once).id

    def fetched(self, data: bytes | None = DATA) -> None:
        fetch = self.effect(Fetch)
        blobs = None if data is None else (data,) if fetch.token.startswith("manifest") else ()
        self.take(self.core.on_fetch(self.stage.now, fetch.token, blobs, "not there"))

    def ran(self, outcome: JobOutcome | None = None) -> None:
        run = self.effect(RunJob)
        self.take(self.core.on_job(self.stage.now, run.token, outcome or JobOutcome(JobStatus.OK, right(DATA), 50_000)))
        letter = self.effect(Request)
        document = d.open_document(NETWORK, letter.frame, verify_once)
        self.held["told"] = letter.request_id.to_bytes(8, "big")
        if isinstance(document.body, d.Commitment):
            self.held["commitment"] = document.id

    def acknowledge(self) -> None:
        self.take(self.core.on_response(self.stage.now, int.from_bytes(self.held["told"], "big"), Ok(b"")))

    def reveal_request(self) -> d.RevealRequest:
        mine = self.held.get("commitment", NONE)
        return d.RevealRequest(mine, (bytes([1]) * 32, mine), NONCE)

    def verdict(self, **changes: object) -> d.Verdict:
        roots = tuple(root for root, _ in right(DATA))
        agreed = d.Verdict(self.held.get("commitment", NONE), d.Judgement.AGREED, roots, 2, 50_000)
        return replace(agreed, **changes)  # type: ignore[no-any-return]

    def agree(self) -> None:
        self.held["verdict"] = self.write(self.verdict())
        self.held["receipt"] = self.send(self.held["verdict"]).id  # type: ignore[union-attr]

    def cheque(self, **changes: object) -> d.Cheque:
        return replace(d.Cheque(self.actor.peer, 50_000, self.held.get("receipt", NONE)), **changes)  # type: ignore[no-any-return]


STEPS: dict[str, Callable[[Desk], object]] = {
    "held": Desk.reserve,
    "fetching": Desk.assign,
    "running": lambda desk: (desk.fetched(), desk.fetched()),
    "committed": Desk.ran,
    "awaiting verdict": lambda desk: desk.ask(desk.reveal_request()),
    "unpaid": Desk.agree,
    "paid": lambda desk: desk.ask(desk.cheque()),
}
"""The straight way; each step leads to the state it is named after."""

ENDS: dict[str, tuple[str, Callable[[Desk], object]]] = {
    "failed": ("fetching", lambda desk: desk.fetched(None)),
    "crashed": ("running", lambda desk: desk.ran(JobOutcome(JobStatus.CRASHED, reason="power"))),
    "released": ("held", lambda desk: desk.ask(d.Release(desk.held["reservation"]))),
    "aborted": ("running", lambda desk: desk.ask(d.Abort(desk.held["assignment"], "no more"))),
    "acknowledged": ("committed", Desk.acknowledge),
    "outvoted": ("awaiting verdict", lambda desk: desk.ask(desk.verdict(judgement=d.Judgement.OUTVOTED, price=0))),
    "trapped": ("running", lambda desk: desk.ran(JobOutcome(JobStatus.TRAP, reason="block 3"))),
}
STATES = ("none", *STEPS, *ENDS)


def desk_at(where: str, **options: Any) -> Desk:
    desk = Desk(**options)
    if where in ENDS:
        before, end = ENDS[where]
        for name, step in STEPS.items():
            step(desk)
            if name == before:
                break
        end(desk)
        return desk
    for name, step in STEPS.items():
        if where == "none":
            break
        step(desk)
        if name == where:
            break
    return desk


REQUESTS: dict[str, Callable[[Desk], msgspec.Struct]] = {
    "probe": Desk.probe,
    "reservation request": lambda desk: d.ReservationRequest(desk.held.get("quote", NONE), 15_000, 1),
    "renew": lambda desk: d.Renew(desk.held.get("reservation", NONE), 15_000),
    "release": lambda desk: d.Release(desk.held.get("reservation", NONE)),
    "assignment": Desk.assignment,
    "abort": lambda desk: d.Abort(desk.held.get("assignment", NONE), ""),
    "reveal request": Desk.reveal_request,
    "verdict": Desk.verdict,
    "outvoted": lambda desk: desk.verdict(judgement=d.Judgement.OUTVOTED, price=0),
    "undecided": lambda desk: desk.verdict(judgement=d.Judgement.UNDECIDED, agreed_roots=(), price=0),
    "cheap verdict": lambda desk: desk.verdict(price=0),
    "delivery": lambda desk: d.Delivery(desk.held.get("receipt", NONE)),
    "cheque": Desk.cheque,
}


def code(answer: Any) -> d.DeclineCode:
    assert isinstance(answer.body, d.Decline), answer
    return answer.body.code
