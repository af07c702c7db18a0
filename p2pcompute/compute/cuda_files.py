"""What a CUDA worker may open, once it has loaded its own code: NVIDIA's libraries, devices, and what they read of the
system. Never a home directory, never a key, never another process's part of /proc.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Final

from p2pcompute.compute.landlock import Grant

_LIBRARIES: Final = ("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/nvidia", "/sys")
_PROCESS_FILES: Final = (
    "cpuinfo",
    "devices",
    "driver/nvidia",
    "driver/nvidia-caps",
    "driver/nvidia-nvlink",
    "filesystems",
    "meminfo",
    "modules",
    "self",
    "stat",
    "sys/vm",
    "version",
)
"""Below /proc; `self` is this process's own directory."""
_HARMLESS: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")
_DEVICES: Final = (
    "/dev/nvidia[0-9]*",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-caps/*",
)
"""Which of the numbered ones is whose only the driver knows; CUDA opens all of them."""


def grants() -> tuple[Grant, ...]:
    """For landlock.restrict. Device nodes that do not exist yet cannot be granted."""
    readable = [*_LIBRARIES, *(f"/proc/{name}" for name in _PROCESS_FILES), *_driver_folders()]
    devices = [*_HARMLESS, *(path for pattern in _DEVICES for path in sorted(glob.glob(pattern)))]
    return (*(Grant(path) for path in readable), *(Grant(path, is_device=True) for path in devices))


def _driver_folders() -> list[str]:
    """Where libcuda was loaded from: it looks there for its compiler (libnvidia-ptxjitcompiler)."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/libcuda.so" in line}
    return sorted({os.path.dirname(os.path.realpath(path)) for path in paths if Path(path).is_absolute()})
