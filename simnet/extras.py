"""A tester's own characters and invariants, out of a Python file."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Final

from p2pcompute.errors import UsageError
from simnet.characters import CHARACTERS, Character
from simnet.invariants import INVARIANTS, Invariant

_MODULE: Final = "simnet_extras"


def load_extras(path: str) -> list[str]:
    """Run the file and take in every Character and Invariant that it defines; their names. A character is called after
    its class (`LateRiser` is `late-riser`), an invariant says its name. Raises UsageError for a file that cannot be
    run, or for a name that is taken."""
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} does not run: {type(error).__name__}: {error}") from error
    names = []
    for thing in list(vars(module).values()):
        if not inspect.isclass(thing) or thing.__module__ != _MODULE:
            continue
        if issubclass(thing, Character):
            names.append(_take(CHARACTERS, re.sub(r"(?<!^)(?=[A-Z])", "-", thing.__name__).lower(), thing))
        elif issubclass(thing, Invariant):
            names.append(_take(INVARIANTS, thing.name, thing))
    if not names:
        raise UsageError(f"{path} defines no Character and no Invariant")
    return names


def _take(registry: dict[str, type], name: str, thing: type) -> str:
    known = registry.get(name)
    if known is not None and known.__module__ != _MODULE:
        raise UsageError(f"there is a {name!r} already; call yours something else")
    registry[name] = thing
    return name
