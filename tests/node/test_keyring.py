from __future__ import annotations

from pathlib import Path

import pytest

from p2pcompute.errors import LocalError, UsageError
from p2pcompute.identity.delegation import Capability
from p2pcompute.identity.keys import KeyPair
from p2pcompute.node import keyring
from p2pcompute.storage.home import Layout
from p2pcompute.storage.keystore import Cost, Keystore

NOW_MS = 1_800_000_000_000
CHEAP = Cost(passes=1, memory_bytes=8192)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.keys.mkdir(mode=0o700)
    return layout


def test_a_new_keyring_loads_again_with_its_passphrase(layout: Layout) -> None:
    store = Keystore(layout.keys, CHEAP)
    made = keyring.create_keyring(layout, "secret", network="n", wall_ms=NOW_MS, store=store)
    loaded = keyring.load_keyring(layout, "secret", network="n", wall_ms=NOW_MS, store=store)
    assert (loaded.node.public, loaded.operator, loaded.delegation) == (
        made.node.public,
        made.operator,
        made.delegation,
    )
    assert loaded.secret == made.secret != made.node.seed
    with pytest.raises(LocalError):
        keyring.load_keyring(layout, "wrong", network="n", wall_ms=NOW_MS, store=store)


def test_a_delegation_of_another_network_or_time_is_refused(layout: Layout) -> None:
    store = Keystore(layout.keys, CHEAP)
    keyring.create_keyring(layout, "", network="n", wall_ms=NOW_MS, store=store)
    with pytest.raises(UsageError, match="key delegate"):
        keyring.load_keyring(layout, "", network="other", wall_ms=NOW_MS, store=store)
    with pytest.raises(UsageError, match="run out"):
        keyring.load_keyring(layout, "", network="n", wall_ms=NOW_MS + keyring.DELEGATION_MS, store=store)


def test_a_node_without_a_delegation_is_its_own_operator(layout: Layout) -> None:
    store = Keystore(layout.keys, CHEAP)
    keyring.create_keyring(layout, "", network="n", wall_ms=NOW_MS, store=store)
    keyring.delegation_path(layout).unlink()
    loaded = keyring.load_keyring(layout, "", network="n", wall_ms=NOW_MS, store=store)
    assert loaded.operator == loaded.node.public


def test_a_delegation_to_another_key_is_refused() -> None:
    operator, node, other = (KeyPair(bytes([i]) * 32) for i in (1, 2, 3))
    raw = keyring.delegate(operator, other.public, Capability.PROVIDE, network="n", wall_ms=NOW_MS)
    with pytest.raises(UsageError, match="another node key"):
        keyring.check_delegation(raw, node.public, network="n", wall_ms=NOW_MS)
