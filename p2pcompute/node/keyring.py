"""The keys of one home and what they may do: the operator's, the node's, and the delegation between them.

keys/operator.key        who is liable; may live elsewhere (then a delegation is imported)
keys/node.key            this peer; its public key is the libp2p peer id
keys/node.delegation     the operator's signed delegation to the node key
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.identity import keys
from p2pcompute.identity.delegation import Capability, Delegation, Grant
from p2pcompute.identity.keys import KeyPair
from p2pcompute.storage.files import read_bounded, replace_file
from p2pcompute.storage.home import Layout
from p2pcompute.storage.keystore import Keystore
from p2pcompute.wire import documents as d

OPERATOR: Final = "operator"
NODE: Final = "node"
DELEGATION_MS: Final = 365 * 24 * 3600 * 1000
DELEGATION_BYTES_MAX: Final = 1024
EVERYTHING: Final = Capability.PROVIDE | Capability.REQUEST

Passphrase = str | Callable[[], str]


@dataclasses.dataclass(frozen=True)
class Keyring:
    """What a running peer needs of its keys."""

    node: KeyPair
    delegation: bytes
    operator: bytes

    @property
    def secret(self) -> bytes:
        """32 bytes that only this node can derive, the same in every life."""
        return blake3(self.node.seed, derive_key_context="p2pcompute 2026 commitment salts").digest()


def delegation_path(layout: Layout) -> Path:
    return layout.keys / "node.delegation"


def create_keyring(layout: Layout, passphrase: str, *, network: str, wall_ms: int, store: Keystore) -> Keyring:
    """New operator and node keys in a new home, the one delegated to the other for a year."""
    operator, node = KeyPair(secrets.token_bytes(32)), KeyPair(secrets.token_bytes(32))
    store.create(OPERATOR, operator.seed, passphrase)
    store.create(NODE, node.seed, passphrase)
    delegation = delegate(operator, node.public, EVERYTHING, network=network, wall_ms=wall_ms)
    replace_file(delegation_path(layout), delegation)
    return Keyring(node, delegation, operator.public)


def delegate(
    operator: KeyPair,
    subject: bytes,
    capabilities: Capability,
    *,
    network: str,
    wall_ms: int,
    lifetime_ms: int = DELEGATION_MS,
) -> bytes:
    """The operator's signed delegation to a key."""
    author = d.Author(network, operator.public, secrets.token_bytes(8), operator.sign)
    return author.write(wall_ms, Delegation(subject, capabilities), lifetime_ms=lifetime_ms).raw


def load_keyring(layout: Layout, passphrase: Passphrase, *, network: str, wall_ms: int, store: Keystore) -> Keyring:
    """The keys of an existing home. Raises HomeError for a damaged one, LocalError for a wrong passphrase, UsageError
    when the delegation is for another network or ran out."""
    node = KeyPair(store.load(NODE, passphrase))
    try:
        delegation = read_bounded(delegation_path(layout), DELEGATION_BYTES_MAX)
    except FileNotFoundError:
        return Keyring(node, b"", node.public)
    except OSError as error:
        raise HomeError(f"{delegation_path(layout)} cannot be read: {error.strerror}") from error
    grant = check_delegation(delegation or b"", node.public, network=network, wall_ms=wall_ms)
    return Keyring(node, delegation or b"", grant.operator)


def check_delegation(delegation: bytes, subject: bytes, *, network: str, wall_ms: int) -> Grant:
    """The grant in a delegation to `subject`. Raises UsageError with the next step when it does not hold."""
    hint = "make a new one with: p2pcompute key delegate"
    try:
        grant = d.open_delegation(network, delegation, keys.verify)
    except Exception as error:
        raise UsageError(f"the node's delegation does not verify on network {network!r} ({error}); {hint}") from error
    if grant.subject != subject:
        raise UsageError(f"the delegation is for another node key; {hint}")
    if not grant.issued_at <= wall_ms + 60_000 or wall_ms >= grant.expires_at:
        raise UsageError(f"the node's delegation has run out; {hint}")
    return grant
