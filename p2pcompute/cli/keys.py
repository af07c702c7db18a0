"""Keys: who is who, and who may act for whom."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from p2pcompute.cli import output
from p2pcompute.cli.attach import ask_running
from p2pcompute.cli.options import COMMON, Common, ask_passphrase
from p2pcompute.cli.setup import new_passphrase
from p2pcompute.errors import HomeError, UsageError

_COLUMNS: Final = (
    *(output.Column(key, key) for key in ("key", "did", "peer")),
    output.Column("encrypted", "encrypted", lambda is_so: "yes" if is_so else "no"),
)
FILE_BYTES_MAX: Final = 4096
EXPORT_VARIABLE: Final = "P2PCOMPUTE_EXPORT_PASSPHRASE"


def key_show(*, common: Common = COMMON) -> None:
    """Show the keys of the home, and what the operator lends the node. Needs no passphrase."""
    from p2pcompute.node import custody

    shown = custody.describe(common.root)
    if common.json:
        output.put_json(shown)
        return
    keys = shown["keys"]
    assert isinstance(keys, list)
    output.put_table(keys, _COLUMNS, as_json=False, none="the home has no keys; make them with: p2pcompute init")
    delegation = shown["delegation"]
    if isinstance(delegation, dict):
        output.put_facts(delegation, as_json=False)
    else:
        output.say("No delegation: the node is its own operator.")


def key_delegate(
    out: Path,
    /,
    *,
    subject: str,
    provide: bool = False,
    request: bool = False,
    days: int = 365,
    common: Common = COMMON,
) -> None:
    """Lend another key this operator's name: write a signed delegation for `p2pcompute key import` there.

    Args:
        out: The file to write.
        subject: The key that may act, as did:key or peer id.
        provide: It may offer and run work.
        request: It may submit and pay for work.
        days: For how long.
    """
    from p2pcompute.node import custody

    data, described = custody.delegate_to(
        common.root, common.passphrase(), subject, provide=provide, request=request, days=days
    )
    out.write_bytes(data)
    output.put_facts({"file": str(out), **described}, as_json=common.json)
    output.say(f"Next, at the home of that key: p2pcompute key import {out}")


def key_import(file: Path, /, *, name: str = "", common: Common = COMMON) -> None:
    """Take over a delegation for this node, or a key that `p2pcompute key export` wrote.

    Args:
        file: The file.
        name: The key to keep an exported one as: operator, node or client [default: it is a delegation].
    """
    from p2pcompute.node import custody

    content = _read(file)
    if not name:
        output.put_facts(custody.install_delegation(common.root, content), as_json=common.json)
        return
    export = os.environ.get(EXPORT_VARIABLE) or (lambda: _asked("Passphrase of the file: "))
    did = custody.import_key(common.root, name, content, export, common.passphrase())
    output.put_facts({"key": name, "did": did}, as_json=common.json)


def key_revoke(out: Path, /, *, subject: str, common: Common = COMMON) -> None:
    """Take back every delegation to a key: write the signed revocation, and spread it if the node runs.

    Args:
        out: The file to write.
        subject: The key, as did:key or peer id.
    """
    from p2pcompute.node import custody

    data = custody.revoke(common.root, common.passphrase(), subject)
    out.write_bytes(data)
    try:
        spread = ask_running(common, lambda node: node.act("announce", data.hex()))
    except HomeError:
        spread = ""
        output.say("No node runs on this home, so nobody has heard of it; start it, then: p2pcompute key announce FILE")
    output.put_facts({"file": str(out), "subject": subject, "spread": bool(spread)}, as_json=common.json)


def key_announce(file: Path, /, *, common: Common = COMMON) -> None:
    """Spread a signed revocation through the running node.

    Args:
        file: The file that `p2pcompute key revoke` wrote.
    """
    data = _read(file)
    said = ask_running(common, lambda node: node.act("announce", data.hex()))
    output.put_facts({"done": said}, as_json=common.json)


def key_passphrase(
    *,
    passphrase_file: Path | None = None,
    no_passphrase: bool = False,
    common: Common = COMMON,
) -> None:
    """Encrypt all keys of the home with a new passphrase. The old one comes from where it always does.

    Args:
        passphrase_file: File that holds the new passphrase.
        no_passphrase: Leave the keys unencrypted.
    """
    from p2pcompute.node import custody

    old = common.passphrase()
    changed = custody.change_passphrase(common.root, old, lambda: new_passphrase(passphrase_file, no_passphrase, {}))
    output.put_facts({"changed": changed}, as_json=common.json)


def key_export(
    name: str,
    out: Path,
    /,
    *,
    unencrypted: Annotated[bool, Parameter(help="Write the key in clear.")] = False,
    common: Common = COMMON,
) -> None:
    """Write a private key as a file under a passphrase of its own ($P2PCOMPUTE_EXPORT_PASSPHRASE, or asked for).

    Args:
        name: operator, node or client.
        out: The file to write; it must not exist.
    """
    from p2pcompute.node import custody

    if unencrypted:
        export = ""
    else:
        export = os.environ.get(EXPORT_VARIABLE) or _asked("Passphrase for the file: ")
        if not export:
            raise UsageError("an empty passphrase writes the key in clear; say so with --unencrypted")
    custody.export_key(common.root, name, common.passphrase(), export, out)
    output.put_facts({"key": name, "file": str(out)}, as_json=common.json)


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask for a passphrase; set {EXPORT_VARIABLE}")
    return ask_passphrase(prompt)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise UsageError(f"{file} is too long to be a key, delegation or revocation")
    return content
