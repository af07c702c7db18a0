"""How the running node does: once, or live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from p2pcompute.cli import output
from p2pcompute.cli.attach import ask_running
from p2pcompute.cli.interrupt import run_until_signal
from p2pcompute.cli.jobs import COLUMNS as JOB_COLUMNS
from p2pcompute.cli.market import BOOK_COLUMNS
from p2pcompute.cli.options import COMMON, Common

if TYPE_CHECKING:
    from p2pcompute.node.api import NodeApi

REFRESH_S: Final = 1.0
ROWS_MAX: Final = 20


def status(*, common: Common = COMMON) -> None:
    """Show the running node: who it is, where it is reached, what it does."""
    output.put_facts(ask_running(common, lambda node: node.status()), as_json=common.json)


def top(*, common: Common = COMMON) -> int:
    """Watch the running node: status, jobs and the cheapest offers, until Ctrl-C. Prints once when nobody watches."""
    if common.json or not sys.stdout.isatty():
        state = ask_running(common, _state)
        if common.json:
            output.put_json(state)
        else:
            output.console().print(_render(state))
        return 0
    try:
        run_until_signal(lambda: _live(common))
    except KeyboardInterrupt:
        return 0
    return 0


async def _state(node: NodeApi) -> dict[str, Any]:
    book = await node.table("book")
    book.sort(key=lambda row: (row["price_per_device_s"], row["peer"]))
    return {"status": await node.status(), "jobs": (await node.table("jobs"))[-ROWS_MAX:], "book": book[:ROWS_MAX]}


def _render(state: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.text import Text

    s = state["status"]
    head = (
        f"{s['peer']}  {s['peers']} peers  {s['offers']} offers  {s['busy']}/{s['slots']} slots busy  "
        f"{s['jobs']} jobs running"
    )
    return Group(
        Text(head, style="bold"),
        *([Text(f"nothing is sold: {s['paused']}")] if s["paused"] else []),
        Text(""),
        output.make_table(state["book"], BOOK_COLUMNS),
        Text(""),
        output.make_table(state["jobs"], JOB_COLUMNS),
    )


async def _live(common: Common) -> None:
    import trio
    from rich.live import Live

    from p2pcompute.node import factory

    node = factory.running_node(common.root)
    state = await _state(node)
    with Live(_render(state), console=output.console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_render(await _state(node)), refresh=True)
            await trio.sleep(REFRESH_S)
