"""What an owner does with the keys of a home while nothing runs: look, lend, take back, move, protect."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from p2pcompute.errors import DecodeError, HomeError, SignatureError, UsageError
from p2pcompute.identity import keys, names
from p2pcompute.identity.delegation import Capability, Revocation
from p2pcompute.identity.keys import KeyPair
from p2pcompute.node.config import load_config
from p2pcompute.node.keyring import (
    DELEGATION_BYTES_MAX,
    NODE,
    OPERATOR,
    Passphrase,
    check_delegation,
    delegate,
    delegation_path,
)
from p2pcompute.storage.files import read_bounded, replace_file, write_new_file
from p2pcompute.storage.home import Layout
from p2pcompute.storage.keystore import Keystore
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits

DAY_MS: Final = 24 * 3600 * 1000
DAYS_MAX: Final = limits.DOCUMENT_LIFETIME_MS_MAX // DAY_MS


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _open(root: Path) -> tuple[Layout, Keystore]:
    layout = Layout(root)
    if not layout.marker.exists():
        raise HomeError(f"there is no home at {root}; make one with: p2pcompute init --home {root}")
    return layout, Keystore(layout.keys)


def _network(layout: Layout) -> str:
    return load_config(layout.config).network


def describe(root: Path) -> dict[str, object]:
    """`keys`: a row for each; `delegation`: what the operator lends the node, None without one."""
    layout, store = _open(root)
    rows = [
        {
            "key": name,
            "did": names.did_key(store.public(name)),
            "peer": names.peer_id(store.public(name)),
            "encrypted": store.protected(name),
        }
        for name in store.names()
    ]
    try:
        raw = read_bounded(delegation_path(layout), DELEGATION_BYTES_MAX)
    except FileNotFoundError:
        return {"keys": rows, "delegation": None}
    return {"keys": rows, "delegation": _describe_delegation(_network(layout), raw or b"")}


def _describe_delegation(network: str, raw: bytes) -> dict[str, object]:
    """Who lends whom what, until when; or why the delegation does not hold."""
    try:
        grant = d.open_delegation(network, raw, keys.verify)
    except (DecodeError, SignatureError) as error:
        return {"fault": f"does not verify on network {network}: {error}"}
    return {
        "operator": names.did_key(grant.operator),
        "subject": names.did_key(grant.subject),
        "may": [c.name.lower() for c in Capability if c in grant.capabilities and c.name],
        "until": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(grant.expires_at / 1000)),
    }


def _operator(store: Keystore, passphrase: Passphrase) -> KeyPair:
    return KeyPair(store.load(OPERATOR, passphrase))


def delegate_to(
    root: Path, passphrase: Passphrase, subject: str, *, provide: bool, request: bool, days: int
) -> tuple[bytes, dict[str, object]]:
    """A signed delegation by this home's operator, and what it says. Raises UsageError."""
    layout, store = _open(root)
    capabilities = Capability.PROVIDE * provide | Capability.REQUEST * request
    if not capabilities:
        raise UsageError("a delegation must allow something: --provide, --request or both")
    if not 1 <= days <= DAYS_MAX:
        raise UsageError(f"a delegation lasts 1 to {DAYS_MAX} days, not {days}")
    public, network, lifetime_ms = names.parse_name(subject), _network(layout), days * DAY_MS
    operator = _operator(store, passphrase)
    raw = delegate(
        operator, public, Capability(capabilities), network=network, wall_ms=_wall_ms(), lifetime_ms=lifetime_ms
    )
    return raw, _describe_delegation(network, raw)


def install_delegation(root: Path, raw: bytes) -> dict[str, object]:
    """Take over a delegation for this home's node; what it says. Raises UsageError when it does not hold."""
    layout, store = _open(root)
    check_delegation(raw, store.public(NODE), network=_network(layout), wall_ms=_wall_ms())
    replace_file(delegation_path(layout), raw)
    return _describe_delegation(_network(layout), raw)


def revoke(root: Path, passphrase: Passphrase, subject: str) -> bytes:
    """A signed revocation of every delegation to `subject` up to now, in force until the last of them could end."""
    layout, store = _open(root)
    operator = _operator(store, passphrase)
    author = d.Author(_network(layout), operator.public, secrets.token_bytes(8), operator.sign)
    body = Revocation(names.parse_name(subject))
    return author.write(_wall_ms(), body, lifetime_ms=limits.DOCUMENT_LIFETIME_MS_MAX).raw


def change_passphrase(root: Path, old: Passphrase, new: Callable[[], str]) -> list[str]:
    """Seal every key of the home anew; their names. All are opened before the first is written."""
    _, store = _open(root)
    before = _once(old)
    for name in store.names():
        store.load(name, before)
    after = new()
    for name in store.names():
        store.change_passphrase(name, before, after)
    return store.names()


def _once(passphrase: Passphrase) -> Callable[[], str]:
    """Asks at most once."""
    known: list[str] = []

    def get() -> str:
        if not known:
            known.append(passphrase if isinstance(passphrase, str) else passphrase())
        return known[0]

    return get


def export_key(root: Path, name: str, passphrase: Passphrase, export_passphrase: str, path: Path) -> None:
    """Write a key, under a passphrase of its own, to a new file of mode 0600. Raises UsageError when it exists."""
    _, store = _open(root)
    text = store.export(name, passphrase, export_passphrase)
    try:
        write_new_file(path, text.encode())
    except FileExistsError:
        raise UsageError(f"{path} exists already; a key is never overwritten") from None


def import_key(root: Path, name: str, content: bytes, export_passphrase: Passphrase, passphrase: Passphrase) -> str:
    """Keep an exported key as `name`, protected like the home's other keys; its did:key."""
    _, store = _open(root)
    protected = any(store.protected(other) for other in store.names())
    sealing = (passphrase if isinstance(passphrase, str) else passphrase()) if protected else ""
    store.import_(name, content.decode("ascii", "replace"), export_passphrase, sealing)
    return names.did_key(store.public(name))
