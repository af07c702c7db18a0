"""What a peer may do at its score. Peers of an explicit agreement are trusted whatever they do, and in no mesh."""

from __future__ import annotations

from collections.abc import Collection

from p2pcompute.protocol.gossip.score.board import Scores
from p2pcompute.protocol.gossip.score.params import Thresholds


class Standing:
    """Questions about peers, answered by their scores (v1.1, "Score Thresholds")."""

    def __init__(self, scores: Scores, thresholds: Thresholds, direct: Collection[bytes]) -> None:
        self.score = scores.score
        scores.watch_below = thresholds.graylist
        self._low = scores.low
        self._thresholds = thresholds
        self.direct: dict[bytes, None] = dict.fromkeys(direct)
        """Peers that the operators of both sides agreed on (v1.1, "Explicit Peering Agreements")."""

    def in_mesh(self, peer: bytes) -> bool:
        """Whether it may be in a mesh of ours."""
        return self.score(peer) >= 0 and peer not in self.direct

    def gossips(self, peer: bytes) -> bool:
        """Whether IHAVE and IWANT are exchanged with it."""
        return self.score(peer) >= self._thresholds.gossip or peer in self.direct

    def publishes(self, peer: bytes) -> bool:
        """Whether our own messages are sent to it."""
        return self.score(peer) >= self._thresholds.publish or peer in self.direct

    def graylisted(self, peer: bytes) -> bool:
        """Whether nothing of it is read."""
        return peer in self._low and peer not in self.direct

    def recommends(self, peer: bytes) -> bool:
        """Whether we dial whom it names."""
        return self.score(peer) >= self._thresholds.accept_px

    def is_poor(self, score: float) -> bool:
        """Whether a mesh with this median should get better peers."""
        return score < self._thresholds.opportunistic_graft
