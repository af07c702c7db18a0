"""What a person sees of the demo: a table of providers that changes as things happen, and a line for each event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from p2pcompute.identity import names

if TYPE_CHECKING:
    from p2pcompute.cli.demo_providers import Provider
    from p2pcompute.protocol.receipts import Audit

LIED: Final = "lied, banned"
SAYINGS: Final = {
    "job.assigned": ("assigned", "{who} takes the task"),
    "job.running": ("running", ""),
    "job.committed": ("committed", "{who} commits to a result"),
    "job.revealed": ("revealed", ""),
    "job.lost": ("lost", "{who} is lost: {reason}"),
    "job.disagreement": ("", "the replicas disagree: one more provider is asked"),
    "job.waiting": ("", "waiting: {reason}"),
    "job.paid": ("paid", ""),
}
"""Event -> (the provider's new state, the line said); empty: nothing."""


class DemoView:
    """Live on a terminal, plain lines elsewhere; on stderr, so that stdout stays for data."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = (
            Live(console=self._console, refresh_per_second=8) if self._console.is_terminal and not quiet else None
        )
        self._started = time.monotonic()
        self._providers: dict[bytes, Provider] = {}
        self._states: dict[bytes, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """One thing that happened; on a terminal above the table, which stays below."""
        stamped = f"{time.monotonic() - self._started:6.1f} s  {line}"
        self._print(Text(stamped))
        if self._live is not None:
            self._live.update(self._table())

    def provider(self, provider: Provider) -> None:
        """A provider process was started."""
        self._providers[provider.peer] = provider
        self._states[provider.peer] = "starting"
        liar = ", a liar" if provider.liar else ""
        self.say(f"{provider.name} starts as process {provider.process.pid}{liar}")

    def task(self, name: str, title: str) -> None:
        """A task is submitted."""
        self._states = {peer: state if state == LIED else "" for peer, state in self._states.items()}
        self.say(f"task {name}: {title}")

    def event(self, name: str, fields: Mapping[str, object]) -> None:
        """The requester's node did something."""
        peer = fields.get("peer")
        provider = self._providers.get(peer) if isinstance(peer, bytes) else None
        who = provider.name if provider else ""
        if name == "job.verdict" and isinstance(peer, bytes):
            agreed = fields.get("judgement") == "AGREED"
            self._states[peer] = "agreed" if agreed else LIED
            self.say(f"{who} {'agrees' if agreed else 'is outvoted: it lied, gets nothing, and no more work'}")
        elif name in SAYINGS:
            state, line = SAYINGS[name]
            if state and isinstance(peer, bytes):
                self._states[peer] = state
            if line:
                self.say(line.format(who=who, reason=fields.get("reason", "")))

    def _table(self) -> Table:
        table = Table(title="Providers", expand=False)
        for column in ("provider", "price per device-second", "state"):
            table.add_column(column)
        for peer, provider in self._providers.items():
            state = self._states.get(peer, "") if provider.alive else "dead"
            style = {LIED: "bold red", "agreed": "green", "paid": "green", "dead": "red"}.get(state, "")
            table.add_row(provider.name, f"{provider.price / 1e6:.2f} credits", Text(state, style=style))
        return table

    def receipts(self, checked: Audit) -> None:
        """The receipts, as verified offline."""
        table = Table(title="Receipts, verified offline from their file")
        for column in ("receipt", "provider", "n", "device time", "price", "countersigned", "verdict of the audit"):
            table.add_column(column)
        for line in checked.receipts:
            body = line.receipt.body
            table.add_row(
                line.receipt.id.hex()[:12],
                f"…{names.short(line.receipt.signer)}",
                str(body.n),
                f"{body.device_us / 1000:.1f} ms",
                f"{body.price / 1e6:.6f}",
                "yes" if line.countersigned else "no",
                "; ".join(line.faults) or "valid",
            )
        self._print(table)

    def summary(self, score: Mapping[str, object]) -> None:
        """The last word."""
        table = Table(title="The demo in numbers", show_header=False)
        for key, value in score.items():
            table.add_row(key.replace("_", " "), str(value))
        self._print(table)

    def _print(self, what: Table | Text) -> None:
        console = self._live.console if self._live is not None else self._console
        console.print(what, soft_wrap=isinstance(what, Text))
