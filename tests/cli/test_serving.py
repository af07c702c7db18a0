"""`serve` when and while its owner allows it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from p2pcompute.cli.serve import _at_first
from tests.cli.command import Command, serving


def another_hour() -> str:
    """A window of this day that opens in two hours."""
    hour = time.localtime().tm_hour
    return f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--when", "00:00-00:00", "when: '00:00-00:00' is no span of a day"),
        ("--when", "tonight", "when: 'tonight' is neither always, idle nor hours like 22:00-07:00"),
        ("--engine", "tpu", "engine"),
        ("--celsius-max", "200", "celsius_max"),
    ],
)
def test_terms_that_mean_nothing_are_a_usage_error(command: Command, option: str, value: str, says: str) -> None:
    assert command("init", "--no-passphrase") == 0
    assert command("serve", option, value) == 2
    assert command.err.count("\n") == 1
    assert says in command.err


def test_a_gpu_that_is_asked_for_and_missing_is_one_sentence(command: Command) -> None:
    assert command("init", "--no-passphrase") == 0
    assert command("serve", "--gpu", "GPU-missing") == 1
    assert command.err.startswith("p2pcompute: ")
    assert command.err.count("\n") == 1


def test_what_was_to_be_told_before_anybody_listened_is_told_at_first() -> None:
    assert _at_first({"remarks": [], "paused": ""}) == []
    assert _at_first({"remarks": ["not sold: no GPU"], "paused": "it is not the hour"}) == [
        ("node.remark", {"text": "not sold: no GPU"}),
        ("node.paused", {"reason": "it is not the hour"}),
    ]


def test_a_node_outside_of_its_hours_listens_sells_nothing_and_says_why(command: Command, tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--engine", "cpu", "--when", another_hour()) as node:
        assert node.listening["addresses"]
        assert node.process.stdout is not None
        assert json.loads(node.process.stdout.readline()) == {"event": "node.paused", "reason": "it is not the hour"}
        assert command("status", "--json") == 0
        status = command.last
        assert (status["offering"], status["offers"], status["paused"]) == (False, 0, "it is not the hour")
        assert command("status") == 0
        assert "it is not the hour" in command.out
        assert command("book", "--json") == 0
        assert command.last == []
        assert command("top") == 0
        assert "nothing is sold: it is not the hour" in command.out
        code, rest = node.stop()
    assert code == 0
    assert [json.loads(line)["event"] for line in rest.splitlines()][-1] == "stopped"


def test_a_node_that_sells_has_no_reason_not_to(command: Command, tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--engine", "auto", "--when", f"{another_hour()},always"):
        assert command("status", "--json") == 0
        assert (command.last["offering"], command.last["offers"], command.last["paused"]) == (True, 1, "")
        assert command("top") == 0
        assert "nothing is sold" not in command.out
