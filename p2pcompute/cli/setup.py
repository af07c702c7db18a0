"""Making a home."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from p2pcompute.cli import output
from p2pcompute.cli.options import COMMON, Common, ask_passphrase
from p2pcompute.errors import UsageError


def init(
    *,
    network: str = "",
    bootstrap: list[str] | None = None,
    passphrase_file: Path | None = None,
    no_passphrase: bool = False,
    common: Common = COMMON,
) -> None:
    """Make a home: keys, configuration, journal.

    Args:
        network: Name of the network to belong to [default: main].
        bootstrap: Address of a peer to join through; may be given several times.
        passphrase_file: File that holds the passphrase for the keys.
        no_passphrase: Leave the keys unencrypted, guarded by the files' mode only.
    """
    from p2pcompute.identity import names
    from p2pcompute.node import config, factory

    settings = {"network": network or None, "bootstrap": bootstrap or None}
    text = config.dump_config({key: value for key, value in settings.items() if value is not None})
    configured = config.parse_config(text, "the options")
    root = common.root
    factory.refuse_existing_home(root)
    passphrase = new_passphrase(passphrase_file, no_passphrase, os.environ)
    public = factory.create_home(root, passphrase, text, configured.network)
    facts: dict[str, object] = {"home": str(root), "peer": names.peer_id(public), "did": names.did_key(public)}
    facts |= {"network": configured.network, "encrypted": bool(passphrase)}
    output.put_facts(facts, as_json=common.json)
    where = f" --home {common.home}" if common.home is not None else ""
    output.say(f"Next: p2pcompute serve{where}   or: p2pcompute run FILE.cu --entry NAME …{where}")


def new_passphrase(file: Path | None, none: bool, environment: Mapping[str, str]) -> str:
    """From the file, the environment, or typed twice at the terminal; empty only when asked for. Raises UsageError."""
    from p2pcompute.storage import passphrase

    if none and file is not None:
        raise UsageError("--no-passphrase and --passphrase-file exclude each other")
    if none:
        return ""
    if file is not None:
        return passphrase.find_passphrase({passphrase.FILE_VARIABLE: str(file)})
    if passphrase.VARIABLE in environment or environment.get(passphrase.FILE_VARIABLE):
        return passphrase.find_passphrase(environment)
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for a passphrase; give --passphrase-file FILE or --no-passphrase")
    return type_twice()


def type_twice() -> str:
    """A new passphrase from the terminal. Raises UsageError when it is empty or the two differ."""
    first = ask_passphrase("New passphrase: ")
    if not first:
        raise UsageError("an empty passphrase leaves the keys unencrypted; say so with --no-passphrase")
    if ask_passphrase("Once more: ") != first:
        raise UsageError("the two passphrases differ")
    return first
