"""What one peer did in one topic: P1 to P4."""

from __future__ import annotations

from p2pcompute.protocol.gossip.score.params import DECAY_TO_ZERO, TopicScore


class TopicRecord:
    """Counters of one peer in one topic, under that topic's parameters."""

    __slots__ = ("active", "failures", "first", "grafted_at_ms", "invalid", "mesh", "mesh_ms", "params")

    def __init__(self, params: TopicScore) -> None:
        self.params = params
        self.grafted_at_ms: int | None = None
        """None outside the mesh."""
        self.mesh_ms = 0
        self.active = False
        """In the mesh for long enough that a deficit counts."""
        self.first = self.mesh = self.failures = self.invalid = 0.0

    def grafted(self, now_ms: int) -> None:
        self.grafted_at_ms, self.mesh_ms, self.active = now_ms, 0, False

    def pruned(self) -> None:
        """Out of the mesh: a deficit stays as a failure (P3b), so that coming back does not clear it."""
        if self.active and self.grafted_at_ms is not None:
            self.failures += self.deficit() ** 2
        self.grafted_at_ms = None
        self.active = False

    def delivered_first(self) -> None:
        self.first = min(self.first + 1, self.params.first_deliveries_cap)
        self.delivered()

    def delivered(self) -> None:
        """A delivery while in the mesh, the first or soon after it."""
        if self.grafted_at_ms is not None:
            self.mesh = min(self.mesh + 1, self.params.mesh_deliveries_cap)

    @property
    def is_stained(self) -> bool:
        """Whether anything here speaks against the peer."""
        return bool(self.failures or self.invalid)

    def deficit(self) -> float:
        return max(0.0, self.params.mesh_deliveries_threshold - self.mesh)

    def value(self) -> float:
        """The topic's part of the score (v1.1, "The Score Function")."""
        p = self.params
        total = self.first * p.first_deliveries_weight
        if self.grafted_at_ms is not None:
            total += min(self.mesh_ms // p.time_in_mesh_quantum_ms, p.time_in_mesh_cap) * p.time_in_mesh_weight
        if self.active:
            total += self.deficit() ** 2 * p.mesh_deliveries_weight
        if self.failures or self.invalid:
            total += self.failures * p.mesh_failure_weight + self.invalid**2 * p.invalid_weight
        return total * p.weight

    def refresh(self, now_ms: int) -> None:
        """One heartbeat later."""
        p = self.params
        if self.first:
            self.first = _fade(self.first, p.first_deliveries_decay)
        if self.mesh:
            self.mesh = _fade(self.mesh, p.mesh_deliveries_decay)
        if self.failures or self.invalid:
            self.failures = _fade(self.failures, p.mesh_failure_decay)
            self.invalid = _fade(self.invalid, p.invalid_decay)
        if self.grafted_at_ms is not None:
            self.mesh_ms = now_ms - self.grafted_at_ms
            self.active = self.mesh_ms > p.mesh_deliveries_activation_ms

    def reset(self, params: TopicScore) -> None:
        """New parameters: counters stay, under the new caps."""
        self.params = params
        self.first = min(self.first, params.first_deliveries_cap)
        self.mesh = min(self.mesh, params.mesh_deliveries_cap)


def _fade(value: float, decay: float) -> float:
    value *= decay
    return value if value >= DECAY_TO_ZERO else 0.0
