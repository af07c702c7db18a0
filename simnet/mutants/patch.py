"""Changes running code: one function with a piece of its source replaced, and everything as before afterwards."""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from p2pcompute.errors import UsageError

Owner = type[Any] | ModuleType
_FLAGS: Final = __future__.annotations.compiler_flag


def function_of(owner: Owner, name: str) -> FunctionType:
    """The plain function behind a module's or a class's attribute."""
    held: object = vars(owner)[name]
    held = getattr(held, "__func__", getattr(held, "fget", held))
    assert isinstance(held, FunctionType)
    return held


def source_of(owner: Owner, name: str) -> str:
    """Its source, without the indentation of its class."""
    return textwrap.dedent(inspect.getsource(function_of(owner, name)))


def rewritten(owner: Owner, name: str, old: str, new: str) -> ast.Module:
    """The function with `old` replaced by `new`. Raises UsageError unless `old` is there exactly once: a mutant whose
    place is gone must not pass for one that nobody catches."""
    source = source_of(owner, name)
    if source.count(old) != 1:
        raise UsageError(f"{owner.__name__}.{name} holds {old!r} {source.count(old)} times, not once")
    return ast.parse(source.replace(old, new))


@contextlib.contextmanager
def planted(owner: Owner, name: str, tree: ast.Module) -> Iterator[None]:
    """Run with another text for a function, in the globals of the one that it replaces."""
    before = vars(owner)[name]
    made: dict[str, object] = {}
    code = compile(tree, f"<{name}, mutated>", "exec", flags=_FLAGS, dont_inherit=True)
    exec(code, function_of(owner, name).__globals__, made)
    setattr(owner, name, made[name])
    try:
        yield
    finally:
        setattr(owner, name, before)
