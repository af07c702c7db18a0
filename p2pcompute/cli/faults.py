"""How an error reaches a person: one sentence on stderr, one JSON object on stdout when asked for, an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from typing import Final

from p2pcompute.cli import output
from p2pcompute.errors import P2PComputeError

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""
DEBUG_VARIABLE: Final = "P2PCOMPUTE_DEBUG"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def cause_of(error: BaseException) -> BaseException:
    """The one error to tell out of a group: an interrupt first, then ours, then any."""
    found = list(_leaves(error))
    for kind in (KeyboardInterrupt, P2PComputeError):
        for leaf in found:
            if isinstance(leaf, kind):
                return leaf
    return found[0]


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell what went wrong; the exit code."""
    cause = cause_of(error)
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(cause, KeyboardInterrupt):
        return _tell("interrupted", INTERRUPTED, as_json=as_json)
    if isinstance(cause, BrokenPipeError):  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(cause, P2PComputeError):
        return _tell(str(cause), cause.exit_code, as_json=as_json)
    if isinstance(cause, OSError):
        where = f"{cause.filename}: " if cause.filename else ""
        return _tell(f"{where}{cause.strerror or cause}", 1, as_json=as_json)
    text = f"unexpected {type(cause).__name__}: {cause}; {DEBUG_VARIABLE}=1 shows where"
    return _tell(text, 1, as_json=as_json)


def usage(text: str, *, as_json: bool) -> int:
    """A command line that cannot be understood."""
    return _tell(text, 2, as_json=as_json)


def _tell(text: str, code: int, *, as_json: bool) -> int:
    output.say(f"p2pcompute: {text}")
    if as_json:
        output.put_json({"error": text, "code": code})
    return code
