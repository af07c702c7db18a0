"""What commands print: data on stdout, talk on stderr; with --json one JSON value per line on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH: Final = 10_000
"""Columns of a table that nobody looks at: nothing is cut off or wrapped in a pipe."""
_KEYS: Final = {"peer": "peer", "operator": "did", "requester": "peer"}
"""Fields of events that hold public keys, and the name by which people know them."""


def say(text: str) -> None:
    """Talk to the person."""
    print(text, file=sys.stderr, flush=True)


def put(text: str) -> None:
    """A line of data."""
    print(text, flush=True)


def put_json(value: object) -> None:
    """One JSON value on a line of its own. Bytes are written in hex."""
    put(json.dumps(value, default=_jsonable, ensure_ascii=False))


def _jsonable(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, tuple | frozenset | set):
        return list(value)
    return str(value)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table: the row's key, its title, and how a value is written."""

    key: str
    title: str
    write: Callable[[Any], str] = str
    right: bool = False


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; in a pipe, as wide as need be."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(file=stream)
    return Console(file=stream, width=PIPE_WIDTH, color_system=None, soft_wrap=True)


def make_table(rows: Iterable[Mapping[str, object]], columns: Sequence[Column]) -> Any:
    """A rich table without lines."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.write(row[column.key])) for column in columns))
    return table


def put_table(rows: Sequence[Mapping[str, object]], columns: Sequence[Column], *, as_json: bool, none: str) -> None:
    """Rows for people, or a JSON array of them. `none` is said (on stderr) when there are no rows."""
    if as_json:
        put_json(rows)
    elif rows:
        console().print(make_table(rows, columns))
    else:
        say(none)


def put_facts(facts: Mapping[str, object], *, as_json: bool) -> None:
    """One object: `name  value` lines, or a JSON object."""
    if as_json:
        put_json(facts)
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        for line in value if isinstance(value, list | tuple) and value else [value]:
            put(f"{name.replace('_', ' '):{width}}  {_plain(line)}")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == [] or value == () or value == "":
        return "-"
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_plain(one)}" for name, one in value.items()) or "-"
    return value.hex() if isinstance(value, bytes) else str(value)


def event_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """An event's fields with public keys written as peer ids and did:keys, other bytes in hex."""
    from p2pcompute.identity import names

    def write(key: str, value: object) -> object:
        if isinstance(value, bytes) and len(value) == 32 and key in _KEYS:
            return names.peer_id(value) if _KEYS[key] == "peer" else names.did_key(value)
        if key == "peers" and isinstance(value, list | tuple):
            return [names.peer_id(peer) for peer in value]
        if isinstance(value, list | tuple):
            return [write("", part) for part in value]
        return value.hex() if isinstance(value, bytes) else value

    return {key: write(key, value) for key, value in fields.items()}
