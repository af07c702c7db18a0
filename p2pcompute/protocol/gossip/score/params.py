"""Weights, caps, decays and thresholds of the score.

Source: gossipsub v1.1 "Peer Scoring" and "Score Thresholds". Names there and here: P1 time in mesh, P2 first
deliveries, P3 mesh deliveries, P3b mesh failures, P4 invalid messages, P5 application, P6 IP colocation, P7 behaviour.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.protocol.gossip.timing import HEARTBEAT_MS

DECAY_TO_ZERO: Final = 0.01
"""A counter below this is zero (v1.1, "Parameter Decay")."""


def decay_over(fade_ms: int) -> float:
    """The factor per heartbeat with which a counter of 1 fades to `DECAY_TO_ZERO` in `fade_ms`."""
    return float(DECAY_TO_ZERO ** (HEARTBEAT_MS / fade_ms))


@dataclasses.dataclass(frozen=True, slots=True)
class TopicScore:
    """How deliveries in one topic count. Raises UsageError for values that v1.1 does not allow.

    P3 and P3b are off by default: they punish peers that bring less than expected, and the traffic of our topics is
    not known beforehand. The defaults of P1 and P2 together give at most 13.
    """

    weight: float = 1.0
    time_in_mesh_weight: float = 0.01
    time_in_mesh_quantum_ms: int = 10_000
    time_in_mesh_cap: float = 300.0
    first_deliveries_weight: float = 0.5
    first_deliveries_decay: float = decay_over(600_000)
    first_deliveries_cap: float = 20.0
    mesh_deliveries_weight: float = 0.0
    mesh_deliveries_decay: float = decay_over(60_000)
    mesh_deliveries_cap: float = 100.0
    mesh_deliveries_threshold: float = 10.0
    mesh_deliveries_window_ms: int = 10
    """A further copy counts as a delivery for so long after the first one was judged."""
    mesh_deliveries_activation_ms: int = 30_000
    """Time in the mesh before a deficit counts."""
    mesh_failure_weight: float = 0.0
    mesh_failure_decay: float = decay_over(300_000)
    invalid_weight: float = -10.0
    """Times the square of their number. The first costs the place in the mesh, the fourth the connection: honest peers
    send none, since REJECT is for faults that every peer sees."""
    invalid_decay: float = decay_over(3_600_000)

    def __post_init__(self) -> None:
        _check_positive("weight", self.weight, zero=True)
        for name in ("time_in_mesh", "first_deliveries"):
            _check_positive(f"{name}_weight", getattr(self, f"{name}_weight"), zero=True)
            _check_positive(f"{name}_cap", getattr(self, f"{name}_cap"))
        _check_positive("time_in_mesh_quantum_ms", self.time_in_mesh_quantum_ms)
        for name in ("mesh_deliveries", "mesh_failure", "invalid"):
            _check_negative(f"{name}_weight", getattr(self, f"{name}_weight"))
            _check_decay(f"{name}_decay", getattr(self, f"{name}_decay"))
        _check_decay("first_deliveries_decay", self.first_deliveries_decay)
        _check_positive("mesh_deliveries_cap", self.mesh_deliveries_cap)
        _check_positive("mesh_deliveries_threshold", self.mesh_deliveries_threshold)
        _check_positive("mesh_deliveries_window_ms", self.mesh_deliveries_window_ms, zero=True)
        _check_positive("mesh_deliveries_activation_ms", self.mesh_deliveries_activation_ms)
        if self.mesh_deliveries_cap < self.mesh_deliveries_threshold:
            raise UsageError("mesh_deliveries_cap is below mesh_deliveries_threshold: nobody could deliver enough.")


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholds:
    """What a peer may still do at which score (v1.1, "Score Thresholds"). Below 0 it is in no mesh of ours."""

    gossip: float = -20.0
    """Below, IHAVE and IWANT are neither sent nor read."""
    publish: float = -50.0
    """Below, our own messages are not sent to it."""
    graylist: float = -150.0
    """Below, nothing of it is read."""
    accept_px: float = 10.0
    """Below, we do not dial whom it recommends. Only peers that bring much over a long time reach this."""
    opportunistic_graft: float = 1.0
    """When the median of a mesh is below, better peers are added."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_finite(field.name, getattr(self, field.name))
        if not self.graylist <= self.publish <= self.gossip <= 0:
            raise UsageError("The thresholds must fall from gossip over publish to graylist, and be 0 at most.")
        if self.accept_px < 0 or self.opportunistic_graft < 0:
            raise UsageError("accept_px and opportunistic_graft are thresholds for good scores: 0 at least.")


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreParams:
    """How the parts of a score are weighed. Raises UsageError for values that v1.1 does not allow."""

    topics: Mapping[str, TopicScore] = dataclasses.field(default_factory=dict)
    default_topic: TopicScore = dataclasses.field(default_factory=TopicScore)
    """For topics that are not in `topics`."""
    topic_cap: float = 15.0
    """The most that all topics together can add; 0 for no cap."""
    app_weight: float = 1.0
    colocation_weight: float = -5.0
    colocation_threshold: int = 10
    """Peers of one IPv4 address or IPv6 /64 before the square of their excess counts. An office can have ten."""
    colocation_exempt: tuple[str, ...] = ()
    """Networks (`203.0.113.0/24`) whose peers may share addresses. Loopback and private ones always may."""
    behaviour_weight: float = -10.0
    behaviour_threshold: float = 6.0
    """Penalties that an honest peer on a bad day collects: they count from here, squared."""
    behaviour_decay: float = 2 ** (-HEARTBEAT_MS / 60_000)
    retain_ms: int = 3_600_000
    """How long a score that is not positive outlives its connection, undecayed."""

    def __post_init__(self) -> None:
        _check_positive("topic_cap", self.topic_cap, zero=True)
        _check_finite("app_weight", self.app_weight)
        _check_negative("colocation_weight", self.colocation_weight)
        _check_positive("colocation_threshold", self.colocation_threshold)
        _check_negative("behaviour_weight", self.behaviour_weight)
        _check_positive("behaviour_threshold", self.behaviour_threshold, zero=True)
        _check_decay("behaviour_decay", self.behaviour_decay)
        _check_positive("retain_ms", self.retain_ms, zero=True)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise UsageError(f"{name} is {value}, which is no number to count with.")


def _check_positive(name: str, value: float, *, zero: bool = False) -> None:
    _check_finite(name, value)
    if value < 0 or (value == 0 and not zero):
        raise UsageError(f"{name} is {value:g}, and must be {'0 at least' if zero else 'above 0'}.")


def _check_negative(name: str, value: float) -> None:
    _check_finite(name, value)
    if value > 0:
        raise UsageError(f"{name} is {value:g}, and as the weight of a penalty must be 0 at most.")


def _check_decay(name: str, value: float) -> None:
    _check_finite(name, value)
    if not 0 < value < 1:
        raise UsageError(f"{name} is {value:g}, and as a decay must lie between 0 and 1.")
