"""Looking after a node: configuration, health, backups."""

from __future__ import annotations

from pathlib import Path

from p2pcompute.cli import output
from p2pcompute.cli.money import format_bytes
from p2pcompute.cli.options import COMMON, Common


def config_show(*, common: Common = COMMON) -> None:
    """Show every setting in force. Prices are micro-credits, memory is bytes."""
    import msgspec

    from p2pcompute.node.config import load_config
    from p2pcompute.storage.home import Layout

    output.put_facts(_raw(msgspec.to_builtins(load_config(Layout(common.root).config))), as_json=common.json)


def _raw(values: dict[str, object]) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def config_set(name: str, value: str, /, *, common: Common = COMMON) -> None:
    """Set one setting in config.toml. A node that runs takes it up when it starts again.

    Args:
        name: As `p2pcompute config show --json` names it.
        value: A number, true or false, a text, or a list like ["a", "b"]. Prices are micro-credits, memory is bytes.
    """
    from p2pcompute.errors import HomeError
    from p2pcompute.node import factory
    from p2pcompute.node.config import set_field
    from p2pcompute.storage.home import Layout

    if not factory.home_exists(common.root):
        raise HomeError(f"there is no home at {common.root}; make one with: p2pcompute init --home {common.root}")
    done = set_field(Layout(common.root).config, name, value)
    output.put_facts({name: done}, as_json=common.json)


def doctor(*, common: Common = COMMON) -> int:
    """Look for anything that would keep this node from working; say the cause and the next step."""
    import trio

    return trio.run(_doctor, common)


async def _doctor(common: Common) -> int:
    from p2pcompute.node.doctor import examine

    rows = []
    async for finding in examine(common.root):
        row = {"what": finding.what, "ok": finding.ok, "found": finding.found, "fix": finding.fix}
        rows.append(row)
        if not common.json:
            output.put(f"{'ok   ' if finding.ok else 'FAULT'} {finding.what:14} {finding.found}")
            if finding.fix:
                output.put(f"      {'':14} {'hint' if finding.ok else 'next'}: {finding.fix}")
    faults = sum(1 for row in rows if not row["ok"])
    if common.json:
        output.put_json({"ok": not faults, "findings": rows})
    return 1 if faults else 0


def backup(file: Path, /, *, common: Common = COMMON) -> None:
    """Write a stopped home, keys included, to a new tar file. Keep it as private as the home.

    Args:
        file: The file to write; it must not exist.
    """
    from p2pcompute.storage.backup import back_up

    size = back_up(common.root, file)
    shown = size if common.json else format_bytes(size)
    output.put_facts({"file": str(file), "size": shown}, as_json=common.json)


def restore(file: Path, /, *, common: Common = COMMON) -> None:
    """Make a home out of a backup. Never let the old home run again beside it.

    Args:
        file: What `p2pcompute backup` wrote.
    """
    from p2pcompute.storage.backup import restore as restore_home

    epoch = restore_home(file, common.root)
    output.put_facts({"home": str(common.root), "epoch": epoch.hex()}, as_json=common.json)
