"""Writes down what a core is told: for hashes that hold one driver to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from blake3 import blake3

from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.machine import Effect, InspectOutcome, JobOutcome, Missed, Now, Outcome, PeerInfo, SendOutcome

if TYPE_CHECKING:
    from p2pcompute.protocol.core import PeerCore
    from simnet.site import Site
    from simnet.trace import Trace


class Traced:
    """A core, honest or not, whose every input is noted."""

    def __init__(self, core: PeerCore, site: Site, trace: Trace) -> None:
        self._inner, self._site, self._trace = core, site, trace

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def _note(self, now: Now, what: str, *details: object) -> None:
        self._trace.note(self._site, now.mono_ms, what, *details)

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        held = list(journal)
        self._note(now, "start", len(held), blake3(b"".join(held)).digest())
        return self._inner.start(now, held)

    def on_command(self, now: Now, command: Command) -> list[Effect]:
        self._note(now, "command", type(command).__name__)
        return self._inner.on_command(now, command)

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        self._note(now, "peer", info.peer, info.up, info.outbound)
        return self._inner.on_peer(now, info)

    def on_frame(self, now: Now, peer: bytes, channel: str, frame: bytes) -> list[Effect]:
        self._note(now, "frame", peer, blake3(frame).digest())
        return self._inner.on_frame(now, peer, channel, frame)

    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]:
        self._note(now, "record", peer)
        return self._inner.on_record(now, peer, envelope)

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        self._note(now, "sent", peer, outcome.value)
        return self._inner.on_sent(now, peer, outcome)

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        self._note(now, "request", peer, request_id, blake3(frame).digest())
        return self._inner.on_request(now, peer, request_id, frame)

    def on_response(self, now: Now, request_id: int, outcome: Outcome) -> list[Effect]:
        shown = outcome.value if isinstance(outcome, Missed) else blake3(outcome.frame).digest()
        self._note(now, "response", request_id, shown)
        return self._inner.on_response(now, request_id, outcome)

    def on_found(self, now: Now, topic: str, peers: tuple[tuple[bytes, tuple[str, ...]], ...]) -> list[Effect]:
        self._note(now, "found", topic, *(peer for peer, _ in peers))
        return self._inner.on_found(now, topic, peers)

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        self._note(now, "timer", key)
        return self._inner.on_timer(now, key)

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        self._note(now, "job", token[:8], outcome.status.name)
        return self._inner.on_job(now, token, outcome)

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        self._note(now, "inspected", token[:8], outcome.finding.name, outcome.blocks)
        return self._inner.on_inspected(now, token, outcome)

    def on_located(self, now: Now, token: str, byte: int | None, silent: tuple[bytes, ...] = ()) -> list[Effect]:
        self._note(now, "located", token[:8], repr(byte), *silent)
        return self._inner.on_located(now, token, byte, silent)

    def on_redeemed(self, now: Now, key: bytes, fault: str) -> list[Effect]:
        self._note(now, "redeemed", key, fault)
        return self._inner.on_redeemed(now, key, fault)

    def on_compared(self, now: Now, token: str, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        self._note(now, "compared", token[:8], repr(pairs))
        return self._inner.on_compared(now, token, pairs)

    def on_fetch(
        self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str = "", held_bytes: int = 0
    ) -> list[Effect]:
        self._note(now, "fetch", token[:16], reason if blobs is None else len(blobs))
        return self._inner.on_fetch(now, token, blobs, reason, held_bytes)
