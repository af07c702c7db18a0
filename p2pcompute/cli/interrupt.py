"""Ctrl-C and SIGTERM: the first cancels, so that everything cleans up after itself; the second ends the process."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_signal(main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run(main)`, cancelled by the first signal. Raises KeyboardInterrupt when it ended for that."""
    import trio

    async def guarded() -> T:
        results: list[T] = []
        async with trio.open_nursery() as nursery:

            async def watch(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    task_status.started()
                    await anext(signals)
                # The handlers from before are back: one more Ctrl-C interrupts whatever is still cleaning up.
                nursery.cancel_scope.cancel()

            await nursery.start(watch)
            results.append(await main())
            nursery.cancel_scope.cancel()
        if not results:
            raise KeyboardInterrupt
        return results[0]

    return trio.run(guarded)
