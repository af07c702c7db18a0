"""The wrapper that all characters are: an honest core with a hand between it and the world, both ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final

from blake3 import blake3

from p2pcompute.errors import DecodeError
from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import (
    Effect,
    InspectOutcome,
    JobOutcome,
    Now,
    Ok,
    Outcome,
    PeerInfo,
    Reply,
    Request,
    SendOutcome,
    SetTimer,
)
from p2pcompute.protocol.post import Tag
from p2pcompute.wire.codec import open_envelope

if TYPE_CHECKING:
    from simnet.site import Site

TURN: Final = "character.turn"
ASK_MS: Final = 5_000

Outputs = tuple[tuple[bytes, int], ...]
"""(root, size in bytes) of each output."""


@dataclasses.dataclass(slots=True)
class Ring:
    """What peers of one character know of each other: the world gives the same one to all of them."""

    members: list[Site] = dataclasses.field(default_factory=list)
    notes: dict[bytes, Outputs] = dataclasses.field(default_factory=dict)
    """Manifest -> what one of them found out about its outputs."""


class Character:
    """Honest as it stands. A character overrides an input; or `out`, through which every effect leaves; or `answer`,
    through which go the effects of a request; or `result`, what its engine is said to have computed; or `turn`, in
    which it may do things of its own every `every_ms`. What it does not override is the honest core's."""

    honest: ClassVar[bool] = False
    """Whether invariants hold it to be an honest peer."""
    wrong_results: ClassVar[bool] = False
    """Whether it may state results that are not right."""
    undercuts: ClassVar[bool] = False
    """Whether it offers below everybody's price."""
    one_operator: ClassVar[bool] = False
    """Whether all of this character are keys of one operator."""
    colludes: ClassVar[bool] = False
    """Whether all of this character state one and the same wrong result."""
    one_host: ClassVar[bool] = False
    """Whether all of this character live at one address."""
    every_ms: ClassVar[int] = 0
    """Between two turns of its own; 0: it takes none."""

    def __init__(self, core: PeerCore, site: Site) -> None:
        self.core, self.site = core, site
        self._asked: dict[int, bytes] = {}

    @classmethod
    def is_plain(cls) -> bool:
        """Whether it is the honest core as it stands: then nobody needs to stand in between."""
        return cls is Honest

    def __getattr__(self, name: str) -> object:
        return getattr(self.core, name)

    # -- what characters override --------------------------------------------------------------------------------------

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        """What leaves of what the honest core wants."""
        return effects

    def answer(self, now: Now, peer: bytes, frame: bytes, effects: list[Effect]) -> list[Effect]:
        """What comes of a request that can be read, given what an honest core would do."""
        return effects

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        """What it says of a run, given what an honest engine says."""
        return honest

    def turn(self, now: Now) -> list[Effect]:
        """Something of its own."""
        return []

    def heard(self, now: Now, peer: bytes, frame: bytes) -> list[Effect]:
        """The answer to a question of its own."""
        return []

    # -- what they need ------------------------------------------------------------------------------------------------

    def ask(self, peer: bytes, frame: bytes) -> Request:
        """A question of its own."""
        request = self.core.post.ask(peer, frame, Tag("character", "ask", b"", peer), timeout_ms=ASK_MS)
        self._asked[request.request_id] = peer
        return request

    def some_peers(self, count: int) -> list[bytes]:
        """Neighbours by chance."""
        peers = list(self.core.peers)
        self.site.rng.shuffle(peers)
        return peers[:count]

    def falls_on(self, subject: bytes, one_in: int) -> bool:
        """Chance that depends on nothing but who and what."""
        return int.from_bytes(blake3(subject + self.site.peer).digest(length=4), "big") % one_in == 0

    # -- inputs --------------------------------------------------------------------------------------------------------

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        return self.out(now, [*self.core.start(now, journal), *self._next_turn(now)])

    def _next_turn(self, now: Now) -> list[Effect]:
        return [SetTimer(TURN, now.mono_ms + self.every_ms)] if self.every_ms else []

    def on_command(self, now: Now, command: Command) -> list[Effect]:
        return self.out(now, self.core.on_command(now, command))

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        return self.out(now, self.core.on_peer(now, info))

    def on_frame(self, now: Now, peer: bytes, channel: str, frame: bytes) -> list[Effect]:
        return self.out(now, self.core.on_frame(now, peer, channel, frame))

    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]:
        return self.out(now, self.core.on_record(now, peer, envelope))

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        return self.out(now, self.core.on_sent(now, peer, outcome))

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        effects = self.core.on_request(now, peer, request_id, frame)
        is_unread = any(isinstance(e, Reply) and e.frame is None for e in effects)
        return self.out(now, effects if is_unread else self.answer(now, peer, frame, effects))

    def on_response(self, now: Now, request_id: int, outcome: Outcome) -> list[Effect]:
        peer = self._asked.pop(request_id, None)
        if peer is None:
            return self.out(now, self.core.on_response(now, request_id, outcome))
        self.core.post.answered(request_id)
        return self.out(now, self.heard(now, peer, outcome.frame)) if isinstance(outcome, Ok) else []

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        if key == TURN:
            return self.out(now, [*self.turn(now), *self._next_turn(now)])
        return self.out(now, self.core.on_timer(now, key))

    def on_found(self, now: Now, topic: str, peers: tuple[tuple[bytes, tuple[str, ...]], ...]) -> list[Effect]:
        return self.out(now, self.core.on_found(now, topic, peers))

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        return self.out(now, self.core.on_job(now, token, outcome))

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        return self.out(now, self.core.on_inspected(now, token, outcome))

    def on_located(self, now: Now, token: str, byte: int | None, silent: tuple[bytes, ...] = ()) -> list[Effect]:
        return self.out(now, self.core.on_located(now, token, byte, silent))

    def on_redeemed(self, now: Now, key: bytes, fault: str) -> list[Effect]:
        return self.out(now, self.core.on_redeemed(now, key, fault))

    def on_compared(self, now: Now, token: str, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        return self.out(now, self.core.on_compared(now, token, pairs))

    def on_fetch(
        self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str = "", held_bytes: int = 0
    ) -> list[Effect]:
        return self.out(now, self.core.on_fetch(now, token, blobs, reason, held_bytes))


class Honest(Character):
    """Does what the protocol says."""

    honest = True


def kind_of(frame: bytes | None) -> int:
    """The kind of document that a frame holds; 0 when it holds none."""
    if frame is None or frame[:1] != b"\x99":
        return 0
    try:
        return open_envelope(frame).kind
    except DecodeError:
        return 0
