"""How a job goes on, on stderr: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from p2pcompute.cli import output
from p2pcompute.cli.money import format_credits
from p2pcompute.identity import names

if TYPE_CHECKING:
    from rich.live import Live

    from p2pcompute.node.api import Event, NodeApi

STEPS: Final = {
    "job.assigned": "assigned",
    "job.running": "running",
    "job.committed": "committed",
    "job.revealed": "opened its result",
    "job.disputed": "is in dispute with another",
    "job.fetching": "sends the outputs",
    "job.lost": "lost",
    "job.declined": "declined",
    "job.receipt": "gave a receipt",
    "job.paid": "was paid",
}


class Progress:
    """One job's replicas and what each did last. Set `job` once its id is known."""

    def __init__(self, *, quiet: bool) -> None:
        self.job: bytes | None = None
        self._early: list[Event] = []
        self._quiet = quiet
        self._live: Live | None = None
        self._rows: dict[bytes, dict[str, object]] = {}
        self._headline = "looking for providers"
        self._started = time.monotonic()

    def take(self, event: Event) -> None:
        """An event of the node; those of other jobs are passed over."""
        if event.name.startswith("job.") and (self.job is None or event.fields.get("job") == self.job):
            self._show(event.name, event.fields)

    def _show(self, name: str, fields: Mapping[str, Any]) -> None:
        text = self._headline_of(name, fields)
        peer = fields.get("peer")
        if text:
            if text != self._headline:
                self._line(text)
            self._headline = text
        elif isinstance(peer, bytes):
            step = self._step_of(name, fields)
            row = self._rows.setdefault(peer, {"peer": names.short(peer), "step": "", "since": 0.0})
            row |= {"step": step, "since": time.monotonic() - self._started}
            self._line(f"{names.short(peer)} {step}")
        if self._live is not None:
            self._live.update(self.render())

    @staticmethod
    def _headline_of(name: str, fields: Mapping[str, Any]) -> str:
        match name:
            case "job.probing":
                return f"asking {len(fields['peers'])} providers for a price"
            case "job.waiting":
                return f"waiting: {fields['reason']}"
            case "job.disagreement":
                return f"{fields['replicas']} replicas disagree: asking one more"
            case "job.done":
                return "done"
            case _:
                return ""

    @staticmethod
    def _step_of(name: str, fields: Mapping[str, Any]) -> str:
        if name == "job.verdict":
            judged = {
                "AGREED": "agreed",
                "OUTVOTED": "was outvoted, and is banned",
                "REFUTED": "was refuted by a block recomputed here, and is banned",
            }
            judgement = str(fields["judgement"])
            return judged.get(judgement, "says the kernel is at fault")
        step = STEPS.get(name, name.removeprefix("job."))
        if name == "job.assigned":
            per_s, per_gb = (format_credits(int(fields[key])) for key in ("price_per_device_s", "price_per_gb"))
            return f"{step} at {per_s} credits per device-second and {per_gb} per GB"
        reason = fields.get("reason")
        return f"{step}: {reason}" if reason else step

    def _line(self, text: str) -> None:
        if self._live is None and not self._quiet:
            output.say(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def render(self) -> Any:
        """The live table."""
        from rich.console import Group
        from rich.text import Text

        columns = [
            output.Column("peer", "provider"),
            output.Column("step", "state"),
            output.Column("since", "at", lambda s: f"{s:.1f} s", right=True),
        ]
        table = output.make_table(list(self._rows.values()), columns)
        return Group(Text(self._headline, style="bold"), *([table] if self._rows else []))


@contextlib.asynccontextmanager
async def following(node: NodeApi, *, quiet: bool) -> AsyncIterator[Progress]:
    """Show what happens to one job for as long as the block runs; nothing at all when `quiet`."""
    progress = Progress(quiet=quiet)
    async with node.events() as events, trio.open_nursery() as nursery:

        async def follow() -> None:
            async for event in events:
                progress.take(event)

        with contextlib.ExitStack() as stack:
            if not quiet and sys.stderr.isatty():
                from rich.live import Live

                live = Live(progress.render(), console=output.console(stderr=True), refresh_per_second=8)
                progress._live = stack.enter_context(live)
            nursery.start_soon(follow)
            yield progress
            await trio.lowlevel.checkpoint()  # events that are already here are shown
        nursery.cancel_scope.cancel()
