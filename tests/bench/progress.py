"""What a benchmark is at, for whoever watches. Benchmarks say it; the command shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_watcher: ContextVar[Callable[[str], object] | None] = ContextVar("_watcher", default=None)


def step(text: str) -> None:
    """Say what begins now. Nothing happens when nobody watches, as in tests."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(text)


@contextmanager
def watched(watcher: Callable[[str], object]) -> Iterator[None]:
    """Every step inside is given to `watcher`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
