"""The operator's command that has value leave for cheques: K10 of docs/spec/market.md.

It runs with nothing but PATH in its environment, gets one JSON object on stdin, and has so long. Exit code 0 says that
the value has left, or had left before under this key. Anything else, or too much to say, says nothing for sure: it is
run again later with the same key.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Final

import trio

from p2pcompute.identity import names
from p2pcompute.protocol.machine import Redeem
from p2pcompute.wire import limits

PAY_S: Final = 120.0
OUTPUT_BYTES_MAX: Final = 64 * limits.KIB
REASON_CHARACTERS_MAX: Final = 200


class Command:
    """Runs it, once at a time for all payees together."""

    def __init__(self, argv: Sequence[str], network: str, *, pay_s: float = PAY_S) -> None:
        """`argv`: the program and its arguments. `network`: which credits these are."""
        self._argv, self._network, self._pay_s = list(argv), network, pay_s
        self._turn = trio.Lock()

    async def pay(self, effect: Redeem) -> str:
        """As node.ports.Payments says."""
        async with self._turn:
            try:
                return await self._run(self._order(effect))
            except OSError as error:
                return f"{self._argv[0]} cannot be run: {error.strerror}"

    def _order(self, effect: Redeem) -> bytes:
        facts = {
            "network": self._network,
            "payee": names.peer_id(effect.payee),
            "amount": effect.amount,
            "cumulative": effect.cumulative,
            "cheque": effect.key.hex(),
            "document": effect.document.hex(),
            "key": effect.key.hex(),
        }
        return json.dumps(facts).encode() + b"\n"

    async def _run(self, order: bytes) -> str:
        process = await trio.lowlevel.open_process(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = bytearray()
        code: int | None = None
        try:
            with trio.move_on_after(self._pay_s) as scope:
                async with process.stdin:
                    with contextlib.suppress(trio.BrokenResourceError):  # it need not read all, or any of it
                        await process.stdin.send_all(order)
                async for some in process.stdout:
                    said += some
                    if len(said) > OUTPUT_BYTES_MAX:
                        return f"said more than {OUTPUT_BYTES_MAX} bytes"
                code = await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, kill=code is None)
        if scope.cancelled_caught:
            return f"took longer than {self._pay_s:.0f} s"
        return f"exit code {code}: {_last_line(said)}" if code else ""


async def _end(process: trio.Process, *, kill: bool) -> None:
    """One that is not to be waited for goes with all that it started."""
    if kill:
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


def _last_line(said: bytes | bytearray) -> str:
    lines = bytes(said).decode(errors="replace").strip().splitlines()
    text = "".join(c for c in lines[-1] if c.isprintable()) if lines else "it said nothing"
    return text[:REASON_CHARACTERS_MAX]
