"""The fake PyCUDA (fake_pycuda/) as the device of one test: its own folder, its own switches."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent / "fake_pycuda" / "pycuda"
_START = """import runpy, sys
sys.path.insert(0, {folder!r})
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def install(folder: Path, **switches: Any) -> Path:
    """A folder for `sys.path` in which `pycuda` is the fake, with these switches (fake_pycuda/pycuda/_switches.py).
    Call it again to change the switches of processes that start later.
    """
    link = folder / "pycuda"
    if not link.is_symlink():
        link.symlink_to(PACKAGE, target_is_directory=True)
    (folder / "device.json").write_text(json.dumps(switches), encoding="utf-8")
    return folder


def command(folder: Path, module: str) -> list[str]:
    """What starts `python -m module` in a process that finds the fake; arguments follow. `-E`, as our children start,
    leaves PYTHONPATH unread."""
    return [sys.executable, "-E", "-P", "-c", _START.format(folder=str(folder), module=module)]
