"""The wrapper that all characters are: an honest core with a hand between it and the world, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Effect, JobOutcome, Now, Outcome, PeerInfo, SendOutcome

if TYPE_CHECKING:
    from simnet.site import Site


class Character:
    """Honest as it stands. A character overrides an input, or `out`, through which every effect leaves, or `result`,
    what its engine is said to have computed. What it does not override is the honest core's."""

    honest: ClassVar[bool] = False
    """Whether invariants hold it to be an honest peer."""
    wrong_results: ClassVar[bool] = False
    """Whether it may state results that are not right."""

    def __init__(self, core: PeerCore, site: Site) -> None:
        self.core, self.site = core, site

    undercuts: ClassVar[bool] = False
    """Whether it offers below everybody's price."""

    @classmethod
    def is_plain(cls) -> bool:
        """Whether it is the honest core as it stands: then nobody needs to stand in between."""
        return cls is Honest

    def __getattr__(self, name: str) -> object:
        return getattr(self.core, name)

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        """What leaves of what the honest core wants."""
        return effects

    def result(self, manifest: bytes, honest: JobOutcome) -> JobOutcome:
        """What it says of a run, given what an honest engine says."""
        return honest

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        return self.out(now, self.core.start(now, journal))

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
        return self.out(now, self.core.on_request(now, peer, request_id, frame))

    def on_response(self, now: Now, request_id: int, outcome: Outcome) -> list[Effect]:
        return self.out(now, self.core.on_response(now, request_id, outcome))

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        return self.out(now, self.core.on_timer(now, key))

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        return self.out(now, self.core.on_job(now, token, outcome))

    def on_fetch(self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str = "") -> list[Effect]:
        return self.out(now, self.core.on_fetch(now, token, blobs, reason))


class Honest(Character):
    """Does what the protocol says."""

    honest = True
