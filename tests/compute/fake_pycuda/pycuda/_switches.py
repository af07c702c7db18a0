"""What kind of device the fake pretends to be: `device.json` in the folder that holds the package, read at import."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Switches:
    """`libcuda` false: importing the driver fails as without one. `missing`: UUIDs of devices that are not there.
    `held_bytes`: memory that is not free although this process has not taken it. `faults`: a CUDA error code for each
    driver routine that shall fail, always. `hangs`: driver routines that never return. `needs_zeros`: freeing memory
    that is not all zero is an error. `context_lost_after`: after so many launches the device fails as by a hardware
    fault (0: never). `threads`: of the CPU engine. `needs_file`: a context opens this file, as a driver may that the
    jail does not know.
    """

    libcuda: bool = True
    devices: int = 1
    missing: tuple[str, ...] = ()
    name: str = "Fake GPU (CPU engine)"
    compute_capability: tuple[int, int] = (9, 0)
    total_bytes: int = 256 << 20
    held_bytes: int = 0
    driver_version: int = 12040
    attributes: dict[str, int] = dataclasses.field(default_factory=dict)
    faults: dict[str, int] = dataclasses.field(default_factory=dict)
    hangs: tuple[str, ...] = ()
    needs_zeros: bool = False
    context_lost_after: int = 0
    threads: int = 1
    needs_file: str = ""


def read() -> Switches:
    path = Path(__file__).parent.parent / "device.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Switches()
    for name in ("compute_capability", "hangs", "missing"):
        if name in given:
            given[name] = tuple(given[name])
    return Switches(**given)


SWITCHES = read()
