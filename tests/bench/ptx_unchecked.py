"""The engine without its range tests, to measure what they cost. Here only: kernels so compiled may read anything.

A test's result is replaced by "true" after it was computed, so that LLVM drops the test and the checked way behind it.
What has no window (gathers, scalars) keeps the checks that are part of the access.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from p2pcompute.compute.ptx.bounds import Bounds
from p2pcompute.compute.ptx.shapes import Window


@contextmanager
def without_range_tests() -> Iterator[None]:
    """What is compiled inside makes none. Never with a cache: its code would be taken for the checked one."""
    computed = Bounds.test

    def passed(bounds: Bounds, window: Window) -> str:
        computed(bounds, window)
        return "true"

    with mock.patch.object(Bounds, "test", passed):
        yield
