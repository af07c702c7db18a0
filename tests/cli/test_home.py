"""Homes and keys on the command line: init, key, config, backup, restore, doctor."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from p2pcompute.identity import names
from tests.cli.command import Command


@pytest.fixture
def home(command: Command, tmp_path: Path) -> Path:
    assert command("init", "--no-passphrase", "--json") == 0
    return tmp_path / "home"


def test_init_tells_who_the_node_is(command: Command) -> None:
    assert command("init", "--no-passphrase", "--network", "test", "--bootstrap", "/ip4/1.2.3.4/tcp/1", "--json") == 0
    told = command.last
    assert names.parse_name(told["peer"]) == names.parse_name(told["did"])
    assert told["network"] == "test"
    assert not told["encrypted"]
    assert command("config", "show", "--json") == 0
    assert command.last["bootstrap"] == ["/ip4/1.2.3.4/tcp/1"]


def test_init_says_what_comes_next(command: Command) -> None:
    assert command("init", "--home", "other", "--no-passphrase") == 0
    assert "Next: p2pcompute serve --home other" in command.err


def test_a_second_home_at_the_same_place_is_refused(command: Command, home: Path) -> None:
    assert command("init", "--no-passphrase") == 1
    assert f"{home} is a home already" in command.err


def test_init_completes_a_home_that_has_no_keys_yet(command: Command, home: Path) -> None:
    for key in (home / "keys").iterdir():
        key.unlink()
    assert command("serve") == 1
    assert "make one with: p2pcompute init" in command.err
    assert command("init", "--no-passphrase") == 0
    assert command("key", "show", "--json") == 0
    assert [row["key"] for row in command.last["keys"]] == ["operator", "node"]


def test_init_asks_nobody_when_nobody_is_there(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert command("init") == 2
    assert "--passphrase-file FILE or --no-passphrase" in command.err
    assert not (tmp_path / "home").exists()


def test_keys_are_encrypted_with_the_passphrase_of_a_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    assert command("init", "--passphrase-file", tmp_path / "secret", "--json") == 0
    assert command.last["encrypted"]
    assert command("ledger") == 1
    assert "passphrase is needed" in command.err
    monkeypatch.setenv("P2PCOMPUTE_PASSPHRASE", "wrong")
    assert command("ledger") == 1
    assert "the passphrase for the key node is wrong" in command.err
    monkeypatch.setenv("P2PCOMPUTE_PASSPHRASE", "correct horse")
    assert command("ledger", "--json") == 0
    assert command.last == []


def test_a_passphrase_can_be_given_later(command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "secret").write_text("later")
    assert command("key", "passphrase", "--passphrase-file", home.parent / "secret", "--json") == 0
    assert command.last["changed"] == ["operator", "node"]
    assert command("key", "show", "--json") == 0
    assert all(row["encrypted"] for row in command.last["keys"])


def test_one_operator_lends_another_homes_node_its_name(command: Command, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert command("init", "--home", other, "--no-passphrase", "--json") == 0
    node = command.last["did"]
    assert command("key", "delegate", "lent", "--subject", node, "--provide", "--days", 3, "--json") == 0
    operator = command.last["operator"]
    assert command("key", "import", "lent", "--home", other, "--json") == 0
    assert command.last["may"] == ["provide"]
    assert command("key", "show", "--home", other, "--json") == 0
    assert command.last["delegation"]["operator"] == operator
    assert command("key", "import", "lent") == 2
    assert "for another node key" in command.err


def test_a_delegation_must_allow_something(command: Command, home: Path) -> None:
    assert command("key", "delegate", "lent", "--subject", "did:key:z6Mkxx") == 2
    assert command.err == "p2pcompute: a delegation must allow something: --provide, --request or both\n"
    assert not Path("lent").exists()


def test_a_revocation_is_written_though_nobody_hears_of_it(command: Command, home: Path) -> None:
    assert command("key", "show", "--json") == 0
    node = command.last["keys"][1]["did"]
    assert command("key", "revoke", "revoked", "--subject", node, "--json") == 0
    assert not command.last["spread"]
    assert Path("revoked").stat().st_size > 64


def test_a_key_moves_to_another_home(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PCOMPUTE_EXPORT_PASSPHRASE", "for the road")
    assert command("key", "export", "operator", "operator.txt") == 0
    assert Path("operator.txt").stat().st_mode & 0o777 == 0o600
    assert command("key", "export", "operator", "operator.txt") == 2
    assert command("key", "import", "operator.txt", "--name", "client", "--json") == 0
    moved = command.last["did"]
    assert command("key", "show", "--json") == 0
    keys = {row["key"]: row["did"] for row in command.last["keys"]}
    assert keys["client"] == keys["operator"] == moved


def test_settings_are_checked_before_they_are_kept(command: Command, home: Path) -> None:
    assert command("config", "set", "slots", "2") == 0
    assert command("config", "set", "region", "eu") == 0
    assert command("config", "set", "slots", "0") == 2
    assert command("config", "set", "slotz", "1") == 2
    assert "there is no setting 'slotz'" in command.err
    assert command("config", "show", "--json") == 0
    assert (command.last["slots"], command.last["region"]) == (2, "eu")


def test_a_damaged_configuration_names_its_file(command: Command, home: Path) -> None:
    (home / "config.toml").write_text("slots = \n")
    assert command("serve") == 2
    assert "config.toml" in command.err
    assert command.err.count("\n") == 1


@pytest.mark.parametrize("part", ["home.toml", "journal.db", "keys/node.key"])
def test_a_corrupt_home_is_one_sentence(command: Command, home: Path, part: str) -> None:
    (home / part).write_bytes(b"garbage" * 100)
    assert command("serve") == 1
    assert command.err.count("\n") == 1
    assert "backup" in command.err


def test_a_restored_home_has_the_old_keys_and_a_new_epoch(command: Command, home: Path, tmp_path: Path) -> None:
    assert command("key", "show", "--json") == 0
    keys = command.last["keys"]
    assert command("backup", "home.tar") == 0
    assert command("backup", "home.tar") == 2
    assert command("restore", "home.tar", "--home", tmp_path / "second", "--json") == 0
    first = command.last["epoch"]
    assert command("restore", "home.tar", "--home", tmp_path / "third", "--json") == 0
    assert command.last["epoch"] != first
    assert command("key", "show", "--home", tmp_path / "third", "--json") == 0
    assert command.last["keys"] == keys
    assert command("restore", "home.tar", "--home", tmp_path / "third") == 1


def test_something_else_is_no_backup(command: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    assert command("restore", "junk", "--home", tmp_path / "second") == 2
    assert not (tmp_path / "second").exists()


def test_the_doctor_finds_nothing_wrong_with_a_new_home(command: Command, home: Path) -> None:
    assert command("config", "set", "listen", "/ip4/127.0.0.1/tcp/0") == 0
    assert command("doctor", "--json") == 0, command.out
    assert {row["what"] for row in command.last["findings"]} >= {"sandbox", "compiler", "CPU engine", "home", "port"}


def test_the_doctor_names_a_broken_part_and_the_next_step(command: Command, home: Path) -> None:
    (home / "keys" / "node.key").write_text("garbage")
    assert command("doctor", "--json") == 1
    (fault,) = (row for row in command.last["findings"] if row["what"] == "keys" and not row["ok"])
    assert "damaged" in fault["found"]
    assert fault["fix"]
    assert json.dumps(command.last)
