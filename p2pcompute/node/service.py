"""A nursery for background tasks under a block of somebody else's code.

trio wraps whatever leaves a nursery in an exception group. Here an error of the block comes out as it is, and so does
the first error of a background task: callers catch the classes they know.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio


@contextlib.asynccontextmanager
async def open_service() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks run as long as the block, and are cancelled at its end. When a task fails, the block is
    cancelled and the task's error raised."""
    failed: list[Exception] = []
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except Exception as error:
                failed.append(error)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _first(group) from None
    if failed:
        raise failed[0]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group that is no group; a cancellation only when there is nothing else."""
    leaves = list(_leaves(group))
    return next((e for e in leaves if not isinstance(e, trio.Cancelled)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
