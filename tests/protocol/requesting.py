"""A requester among real providers on a stage, which are bent where a test needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from p2pcompute.protocol import records
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import Effect, Reply, Request
from p2pcompute.wire import codec
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import encode_manifest
from tests.protocol.stage import (
    MANIFEST,
    NETWORK,
    Actor,
    Stage,
    right,
    verify_once,
)

replace: Any = msgspec.structs.replace
JOB_ID = b"j" * 16
RIGHT = tuple(root for root, _ in right(encode_manifest(MANIFEST)))


def scene(providers: int, **changes: object) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(providers, **changes)
    return stage, stage.actor("requester"), row


def job_of(r: Actor) -> Job:
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    return job


def opened(frame: bytes) -> d.AnyDocument:
    return d.open_document(NETWORK, frame, verify_once)


def engaged(r: Actor) -> list[bytes]:
    """Peers that were assigned the job, in order."""
    return [x.peer for x in r.records(records.Assigned)]  # type: ignore[union-attr]


def kinds_sent(r: Actor) -> list[d.Kind]:
    """Watch what a requester asks for; call before the play."""
    seen: list[d.Kind] = []

    def watch(effect: Effect) -> Effect:
        if isinstance(effect, Request) and effect.frame[:1] == b"\x99":
            seen.append(d.Kind(codec.open_envelope(effect.frame).kind))
        return effect

    r.mangle = watch
    return seen


def answering(actor: Actor, schema: type[Any], change: Callable[[d.AnyDocument], bytes | None]) -> None:
    """Bend an actor's answers of one kind."""

    def bend(effect: Effect) -> Effect:
        if isinstance(effect, Reply) and effect.frame and effect.frame[:1] == b"\x99":
            document = opened(effect.frame)
            if isinstance(document.body, schema):
                return Reply(effect.request_id, change(document))
        return effect

    actor.mangle = bend


def going_deaf(actor: Actor) -> Callable[[d.AnyDocument], bytes]:
    """Say this one thing, then hear nothing more."""

    def last_word(document: d.AnyDocument) -> bytes:
        actor.deaf = True
        return document.raw

    return last_word


def resigned(actor: Actor, document: d.AnyDocument, *, epoch: bytes = b"", **changes: object) -> bytes:
    author = d.Author(NETWORK, actor.peer, epoch or document.epoch, actor.key.sign)
    author.seen(document.sequence)
    body = replace(document.body, **changes)
    return author.write(document.issued_at, body, lifetime_ms=document.expires_at - document.issued_at).raw


def swallowing(actor: Actor, kind: type[Any]) -> None:
    actor.mangle = lambda effect: None if isinstance(effect, kind) else effect


def paid(r: Actor, p: Actor) -> int:
    account = p.core.ledger.account(r.peer)
    assert account.covered == account.earned
    return account.covered
