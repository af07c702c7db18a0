"""The operator's command that has value leave: what it is told, and what it may do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import trio

from p2pcompute.identity.names import peer_id
from p2pcompute.node import payments
from p2pcompute.node.payments import Command
from p2pcompute.protocol.machine import Redeem

PAYEE = bytes([7]) * 32
ORDER = Redeem(b"k" * 32, PAYEE, 5, 12, b"document")


def python(tmp_path: Path, text: str, *arguments: str) -> Command:
    """A command that is a Python program; it knows `out`, a file of its own."""
    program = tmp_path / "pay.py"
    program.write_text(f"import json, os, sys, time\nout = {str(tmp_path / 'out')!r}\n{text}\n")
    return Command([sys.executable, "-I", str(program), *arguments], "testing", pay_s=20)


async def test_it_is_told_one_object_on_stdin_and_nothing_in_its_environment_but_the_path(tmp_path: Path) -> None:
    os.environ["P2PCOMPUTE_PASSPHRASE"] = "secret"
    try:
        told = "json.dump([sys.stdin.read(), dict(os.environ), sys.argv[1:]], open(out, 'w'))"
        assert await python(tmp_path, told, "--to", "two words").pay(ORDER) == ""
    finally:
        del os.environ["P2PCOMPUTE_PASSPHRASE"]
    stdin, environment, arguments = json.loads((tmp_path / "out").read_text())
    assert json.loads(stdin) == {
        "network": "testing",
        "payee": peer_id(PAYEE),
        "amount": 5,
        "cumulative": 12,
        "cheque": (b"k" * 32).hex(),
        "document": b"document".hex(),
        "key": (b"k" * 32).hex(),
    }
    assert stdin.endswith("}\n")
    assert set(environment) - {"LC_CTYPE"} == {"PATH"}  # Python sets the former itself
    assert arguments == ["--to", "two words"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sys.stdin.close()", ""),
        ("print('done'); sys.exit(0)", ""),
        ("print('first'); print('no money\\x1b[2J left'); sys.exit(3)", "exit code 3: no money[2J left"),
        ("sys.exit(1)", "exit code 1: it said nothing"),
        ("os.kill(os.getpid(), 9)", "exit code -9: it said nothing"),
        ("print('x' * 500); sys.exit(1)", "exit code 1: " + "x" * payments.REASON_CHARACTERS_MAX),
        (f"print('x' * {payments.OUTPUT_BYTES_MAX + 1})", "said more than 65536 bytes"),
    ],
)
async def test_exit_code_zero_alone_says_that_value_left(tmp_path: Path, text: str, fault: str) -> None:
    assert await python(tmp_path, text).pay(ORDER) == fault


@pytest.mark.parametrize("argv", ["/nonexistent/program", "/"])
async def test_a_program_that_cannot_be_run_is_a_fault_and_no_error(argv: str) -> None:
    assert f"{argv} cannot be run" in await Command([argv], "testing").pay(ORDER)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie whose parent is not us has."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


async def test_one_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    text = "pid = os.fork() or time.sleep(99)\nopen(out, 'w').write(str(pid))\nprint('x', flush=True)\ntime.sleep(99)"
    command = python(tmp_path, text)
    command._pay_s = 1.5
    assert await command.pay(ORDER) == "took longer than 2 s"
    child = int((tmp_path / "out").read_text())
    with trio.fail_after(5):
        while not is_gone(child):
            await trio.sleep(0.01)


async def test_a_node_that_stops_takes_its_command_with_it(tmp_path: Path) -> None:
    command = python(tmp_path, "open(out, 'w').write(str(os.getpid()))\ntime.sleep(99)")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(command.pay, ORDER)
        with trio.fail_after(10):
            while not (tmp_path / "out").exists() or not (tmp_path / "out").read_text():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert is_gone(int((tmp_path / "out").read_text()))


async def test_only_one_runs_at_a_time(tmp_path: Path) -> None:
    text = "f = os.open(out, os.O_CREAT | os.O_EXCL)\ntime.sleep(0.2)\nos.unlink(out)"
    command, faults = python(tmp_path, text), list[str]()

    async def pay() -> None:
        faults.append(await command.pay(ORDER))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(pay)
    assert faults == ["", "", ""]
