from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import pwhash, signing

from p2pcompute.errors import HomeError, LocalError, UsageError
from p2pcompute.storage import keystore as keystore_module
from p2pcompute.storage.keystore import Cost, Keystore

SEED = bytes(range(32))
CHEAP = Cost(passes=pwhash.argon2id.OPSLIMIT_MIN, memory_bytes=pwhash.argon2id.MEMLIMIT_MIN)


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path, CHEAP)


def test_the_default_cost_is_the_interactive_one() -> None:
    assert Cost() == Cost(passes=2, memory_bytes=64 * 1024 * 1024)


def test_a_key_comes_back_with_its_passphrase(tmp_path: Path, store: Keystore) -> None:
    store.create("node", SEED, "correct horse")
    assert store.load("node", "correct horse") == SEED
    assert store.protected("node")
    assert store.public("node") == bytes(signing.SigningKey(SEED).verify_key)
    path = tmp_path / "node.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SEED.hex() not in path.read_text()


def test_a_wrong_passphrase_is_one_sentence(store: Keystore) -> None:
    store.create("node", SEED, "right")
    with pytest.raises(LocalError, match=r"^the passphrase for the key node is wrong$"):
        store.load("node", "wrong")
    with pytest.raises(LocalError, match="no passphrase was given"):
        store.load("node", "")


def test_the_same_passphrase_typed_on_another_system_fits(store: Keystore) -> None:
    store.create("node", SEED, "caf\u00e9")
    assert store.load("node", "cafe\u0301") == SEED


def test_an_unprotected_key_says_so_and_never_asks(tmp_path: Path, store: Keystore) -> None:
    def ask() -> str:
        raise AssertionError("asked for a passphrase that nobody set")

    store.create("node", SEED, "")
    assert store.load("node", ask) == SEED
    assert not store.protected("node")
    assert "protection: none" in (tmp_path / "node.key").read_text()
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600


def test_a_protected_key_asks(store: Keystore) -> None:
    store.create("node", SEED, "secret")
    assert store.load("node", lambda: "secret") == SEED


def test_a_key_is_never_overwritten(store: Keystore) -> None:
    store.create("node", SEED, "")
    with pytest.raises(HomeError, match="never overwritten"):
        store.create("node", bytes(32), "")
    assert store.load("node") == SEED


def test_keys_are_listed_in_order_of_rank(store: Keystore) -> None:
    store.create("client", SEED, "")
    store.create("operator", SEED, "")
    assert store.names() == ["operator", "client"]


def test_unknown_names_and_short_seeds_are_refused(store: Keystore) -> None:
    with pytest.raises(UsageError, match="the keys are operator, node, client"):
        store.create("../evil", SEED, "")
    with pytest.raises(UsageError, match="32 bytes, not 31"):
        store.create("node", SEED[:-1], "")


def test_a_missing_key_says_how_to_make_one(store: Keystore) -> None:
    with pytest.raises(HomeError, match=r"there is no key .*node\.key; make one with"):
        store.load("node")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_open_to_others_is_refused(tmp_path: Path, store: Keystore, mode: int) -> None:
    store.create("node", SEED, "")
    (tmp_path / "node.key").chmod(mode)
    with pytest.raises(HomeError, match="chmod 600"):
        store.load("node")


def test_a_key_under_another_name_is_refused(tmp_path: Path, store: Keystore) -> None:
    store.create("node", SEED, "")
    (tmp_path / "node.key").rename(tmp_path / "operator.key")
    with pytest.raises(HomeError, match="holds the key 'node'"):
        store.load("operator")


def test_a_new_passphrase_replaces_the_old(store: Keystore) -> None:
    store.create("node", SEED, "old")
    store.change_passphrase("node", "old", "new")
    assert store.load("node", "new") == SEED
    with pytest.raises(LocalError, match="is wrong"):
        store.load("node", "old")
    store.change_passphrase("node", "new", "")
    assert not store.protected("node")


def test_an_exported_key_moves_to_another_home(tmp_path: Path, store: Keystore) -> None:
    store.create("node", SEED, "here")
    text = store.export("node", "here", "on the way")
    other = Keystore(tmp_path / "other", CHEAP)
    (tmp_path / "other").mkdir()
    with pytest.raises(LocalError, match="the passphrase for the exported key is wrong"):
        other.import_("operator", text, "guess", "there")
    other.import_("operator", text, "on the way", "there")
    assert other.load("operator", "there") == SEED


@pytest.mark.parametrize("text", ["", "hello", "x" * 10_000, "check: \n"])
def test_text_that_is_no_exported_key_is_refused(store: Keystore, text: str) -> None:
    with pytest.raises(UsageError, match="exported key"):
        store.import_("node", text, "", "")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(min_value=0), new=st.integers(min_value=0, max_value=255), cut=st.booleans())
def test_a_damaged_file_is_never_taken_for_a_key(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: int, cut: bool
) -> None:
    directory = tmp_path_factory.mktemp("keys")
    store = Keystore(directory)
    store.create("node", SEED, "")
    path = directory / "node.key"
    whole = path.read_bytes()
    at %= len(whole) - 1
    damaged = whole[:at] if cut else whole[:at] + bytes([new]) + whole[at + 1 :]
    path.write_bytes(damaged)
    if damaged == whole:
        assert store.load("node") == SEED
    else:
        with pytest.raises(HomeError):
            store.load("node")


@pytest.mark.parametrize(
    "protection",
    ["argon2id 99 65536", "argon2id 2 99999999999999", "argon2id 2", "argon2id x y", "rot13", "argon2id 0 0"],
)
def test_a_file_cannot_ask_for_more_work_than_the_limits(tmp_path: Path, store: Keystore, protection: str) -> None:
    store.create("node", SEED, "secret")
    path = tmp_path / "node.key"
    body = path.read_text().partition("check: ")[0]
    line = next(line for line in body.splitlines() if line.startswith("protection"))
    body = body.replace(line, f"protection: {protection}")
    path.write_text(f"{body}check: {keystore_module._check(body)}\n")
    with pytest.raises(HomeError, match="its protection"):
        store.load("node", "secret")


def test_an_overlong_passphrase_is_refused(store: Keystore) -> None:
    with pytest.raises(UsageError, match="at most 1024 bytes"):
        store.create("node", SEED, "x" * 1025)
