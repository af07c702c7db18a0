from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import p2pcompute
from p2pcompute.cli import faults
from p2pcompute.errors import BudgetError, NoPeersError, P2PComputeError, UsageError, VerificationError
from tests.cli.command import Command

VERBS = (
    *("init", "serve", "demo", "run", "job", "kernel", "book", "offer", "order", "peer", "receipt", "audit", "ledger"),
    *("status", "top", "doctor", "config", "key", "backup", "restore"),
)
HEAVY = ("trio", "numpy", "libp2p", "llvmlite", "nacl", "msgspec", "kernels_cu")


def test_help_names_every_verb(command: Command) -> None:
    assert command("--help") == 0
    for verb in VERBS:
        assert f" {verb} " in command.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(command: Command, verb: str) -> None:
    assert command(verb, "--help") == 0
    assert f"Usage: p2pcompute {verb}" in command.out


def test_help_loads_nothing_heavy() -> None:
    program = "import sys; from p2pcompute.cli.app import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not set(HEAVY) & set(done.stderr.split())


def test_version(command: Command) -> None:
    assert command("--version") == 0
    assert command.out.strip() == p2pcompute.__version__


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["run"], ["run", "my.cu", "--grid", "x"], ["serve", "--slots", "many"], ["peer", "eat"]],
)
def test_a_bad_command_line_is_one_sentence_and_exit_code_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments, "--json") == 2
    assert command.err.startswith("p2pcompute: ")
    assert command.err.count("\n") == 1
    assert command.last == {"error": command.err.removeprefix("p2pcompute: ").rstrip("\n"), "code": 2}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (P2PComputeError("x"), 1),
        (UsageError("x"), 2),
        (NoPeersError("x"), 3),
        (BudgetError("x"), 4),
        (VerificationError("x"), 5),
        (FileNotFoundError(2, "No such file", "x"), 1),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("g", [ValueError("y"), ExceptionGroup("h", [UsageError("x")])]), 2),
        (BaseExceptionGroup("g", [UsageError("x"), KeyboardInterrupt()]), 130),
        (ValueError("a bug"), 1),
    ],
)
def test_every_error_has_its_exit_code_and_one_sentence(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    assert faults.report(error, as_json=True) == code
    out, err = capsys.readouterr()
    assert err.count("\n") == out.count("\n") == 1
    assert f'"code": {code}' in out


def test_without_a_home_commands_say_how_to_make_one(command: Command, tmp_path: Path) -> None:
    for verb in (["serve"], ["status"], ["ledger"], ["key", "show"], ["config", "set", "slots", "2"]):
        assert command(*verb) == 1
        home = tmp_path / "home"
        said = f"there is no home at {home}; make one with: p2pcompute init --home {home}"
        assert command.err == f"p2pcompute: {said}\n"


def test_an_interrupt_inside_a_group_is_an_interrupt(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise BaseExceptionGroup("from a nursery", [KeyboardInterrupt()])

    monkeypatch.setattr("p2pcompute.cli.app.make_app", interrupted)
    assert command("serve") == 130
    assert command.err == "p2pcompute: interrupted\n"
