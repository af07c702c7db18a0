"""What one neighbour may cost us: signature checks by the second, control traffic by the heartbeat."""

from __future__ import annotations

import dataclasses

from p2pcompute.protocol.gossip.params import GossipParams


@dataclasses.dataclass(slots=True)
class _Budget:
    verify_tokens: float
    verify_at_ms: int
    ihaves: int = 0
    ids_asked: int = 0
    iwant_bytes: int = 0


class Budgets:
    """One budget per connected neighbour; all start full."""

    def __init__(self, params: GossipParams) -> None:
        self._params = params
        self._budgets: dict[bytes, _Budget] = {}

    def forget(self, peer: bytes) -> None:
        self._budgets.pop(peer, None)

    def verify(self, peer: bytes, now_ms: int) -> bool:
        """Whether one more signature of this neighbour's may be checked (a token bucket)."""
        budget = self._of(peer, now_ms)
        elapsed_ms = now_ms - budget.verify_at_ms
        if elapsed_ms > 0:
            earned = elapsed_ms * self._params.verifies_per_second / 1_000
            budget.verify_tokens = min(self._params.verifies_burst, budget.verify_tokens + earned)
            budget.verify_at_ms = now_ms
        if budget.verify_tokens < 1:
            return False
        budget.verify_tokens -= 1
        return True

    def ihave(self, peer: bytes) -> bool:
        """Whether one more IHAVE is read in this heartbeat."""
        budget = self._of(peer)
        budget.ihaves += 1
        return budget.ihaves <= self._params.ihaves_per_heartbeat

    def ids_left(self, peer: bytes) -> int:
        return self._params.ids_asked_per_heartbeat - self._of(peer).ids_asked

    def ask(self, peer: bytes, count: int) -> None:
        self._of(peer).ids_asked += count

    def may_send(self, peer: bytes) -> bool:
        return self._of(peer).iwant_bytes < self._params.iwant_bytes_per_heartbeat

    def sent(self, peer: bytes, size: int) -> None:
        self._of(peer).iwant_bytes += size

    def heartbeat(self) -> None:
        for budget in self._budgets.values():
            budget.ihaves = budget.ids_asked = budget.iwant_bytes = 0

    def _of(self, peer: bytes, now_ms: int = 0) -> _Budget:
        budget = self._budgets.get(peer)
        if budget is None:
            budget = self._budgets[peer] = _Budget(float(self._params.verifies_burst), now_ms)
        return budget
