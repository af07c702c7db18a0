"""Parameters that v1.1 does not allow are refused with a sentence."""

from __future__ import annotations

import math

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol.gossip import ScoreParams, Thresholds, TopicScore
from p2pcompute.protocol.gossip.score import decay_over


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": -1},
        {"time_in_mesh_weight": -0.1},
        {"time_in_mesh_quantum_ms": 0},
        {"time_in_mesh_cap": 0},
        {"first_deliveries_weight": -1},
        {"first_deliveries_decay": 1.0},
        {"first_deliveries_cap": -1},
        {"mesh_deliveries_weight": 1},
        {"mesh_deliveries_decay": 0},
        {"mesh_deliveries_cap": 5, "mesh_deliveries_threshold": 10},
        {"mesh_deliveries_threshold": 0},
        {"mesh_deliveries_window_ms": -1},
        {"mesh_deliveries_activation_ms": 0},
        {"mesh_failure_weight": 0.5},
        {"mesh_failure_decay": 2},
        {"invalid_weight": 1},
        {"invalid_decay": -0.5},
        {"weight": math.nan},
        {"first_deliveries_cap": math.inf},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_a_topic_score_that_makes_no_sense_is_a_usage_error(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TopicScore(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic_cap": -1},
        {"app_weight": math.inf},
        {"colocation_weight": 1},
        {"colocation_threshold": 0},
        {"behaviour_weight": 1},
        {"behaviour_threshold": -1},
        {"behaviour_decay": 1},
        {"retain_ms": -1},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_score_parameters_that_make_no_sense_are_a_usage_error(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ScoreParams(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gossip": 1},
        {"gossip": -60},
        {"publish": -200},
        {"graylist": -30},
        {"accept_px": -1},
        {"opportunistic_graft": -1},
        {"graylist": -math.inf},
    ],
)
def test_thresholds_out_of_order_are_a_usage_error(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Thresholds(**wrong)


def test_the_defaults_are_allowed() -> None:
    assert ScoreParams().default_topic == TopicScore()
    assert Thresholds().graylist < 0


def test_a_decay_fades_a_counter_to_nothing_in_its_time() -> None:
    value = 1.0
    for _ in range(60):
        value *= decay_over(60_000)
    assert value == pytest.approx(0.01)
