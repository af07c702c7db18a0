"""What could keep a GPU from working, from the driver up: the first thing that is missing, with the command that mends
it (docs/gpu.md)."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import trio

from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.measure import GPU, measure
from p2pcompute.compute.nvml import DRIVER_MIN, INSTALL_DRIVER, INSTALL_PACKAGES, Gpu, Nvml
from p2pcompute.errors import DeviceError, P2PComputeError
from p2pcompute.node.finding import Finding

ENGINE_BYTES: Final = 2**30
NVIDIA_VENDOR: Final = "0x10de"
MAKE_NODES: Final = "sudo nvidia-modprobe -u -c 0"
BUILD_PYCUDA: Final = f"{sys.executable} -m pip install --force-reinstall --no-cache-dir --no-deps pycuda==2026.1"
PAGE: Final = "docs/gpu.md tells what a GPU needs"
PYCUDA_FIXES: Final = (
    ("No module named 'pycuda'", INSTALL_PACKAGES),
    (
        "libcuda.so",
        "sudo apt install libcuda1 on Debian; in a container, start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    ("libcurand.so", f"echo 'CUDA_ENABLE_CURAND = False' >>~/.aksetup-defaults.py && {BUILD_PYCUDA}"),
)
"""A part of what Python says, and what to do then; the first that fits."""
ENGINE_FIXES: Final = (
    ("busy or unavailable", "sudo nvidia-smi -i {uuid} -c DEFAULT"),
    ("initialization error", MAKE_NODES),
    ("unknown error", MAKE_NODES),
    ("unsupported display driver", "restart the machine"),
)
"""The same of what the driver says: CUDA driver API, CUresult 46, 3, 999 and 803."""


async def examine_gpus() -> AsyncIterator[Finding]:
    """The driver, its devices, PyCUDA, then each GPU with an engine on it. A machine without NVIDIA's hardware lacks
    nothing."""
    try:
        with Nvml.open() as nvml:
            gpus, version = nvml.gpus(), nvml.driver()
    except DeviceError as error:
        yield Finding("GPU driver", error.found, error.fix, hint=not has_nvidia_hardware())
        return
    yield (found := driver(version))
    if not found.ok:
        return
    missing = device_nodes() or await pycuda()
    if missing:
        yield missing
        return
    for gpu in gpus:
        yield await _gpu(gpu)


def has_nvidia_hardware(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a display or compute device of NVIDIA's is on the PCI bus."""
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            is_display = (device / "class").read_text().startswith("0x03")
            if is_display and (device / "vendor").read_text().strip() == NVIDIA_VENDOR:
                return True
    return False


def driver(version: str) -> Finding:
    """Of a version like 550.54.15."""
    major = re.match(r"\d+", version)
    if major and int(major[0]) < DRIVER_MIN:
        return Finding("GPU driver", f"{version}, older than {DRIVER_MIN}", INSTALL_DRIVER)
    return Finding("GPU driver", version)


def device_nodes(folder: Path = Path("/dev")) -> Finding | None:
    """Why the driver's devices cannot be opened. Inside of the jail nobody makes them (docs/spec/engines.md, 3.3)."""
    for path in (folder / "nvidiactl", folder / "nvidia-uvm", *sorted(folder.glob("nvidia[0-9]*"))):
        if not path.exists():
            return Finding("GPU devices", f"there is no {path}", MAKE_NODES)
        if not os.access(path, os.R_OK | os.W_OK):
            return Finding("GPU devices", f"this user may not use {path}", permit(path, path.stat()))
    return None


def permit(path: Path, facts: os.stat_result) -> str:
    """Being in its group helps, unless that is root's or has no more rights than others."""
    if facts.st_gid and facts.st_mode & 0o060 == 0o060:
        with contextlib.suppress(KeyError):
            return f"sudo usermod -aG {grp.getgrgid(facts.st_gid).gr_name} $USER, then log in again"
    return f"sudo chmod a+rw {path}"


async def pycuda() -> Finding | None:
    """Why PyCUDA cannot be used; it is imported by another process, since it loads the driver for good."""
    done = await trio.run_process(
        [sys.executable, "-c", "import pycuda.driver"], capture_stderr=True, check=False, stdin=b""
    )
    if done.returncode == 0:
        return None
    said = (done.stderr.decode(errors="replace").strip().splitlines() or ["it does not start"])[-1][:300]
    return Finding("PyCUDA", said, _fix(said, PYCUDA_FIXES))


def _fix(said: str, fixes: tuple[tuple[str, str], ...]) -> str:
    return next((fix for part, fix in fixes if part in said), PAGE)


async def _gpu(gpu: Gpu) -> Finding:
    engine = CudaEngine(gpu.uuid, memory_bytes_max=ENGINE_BYTES)
    try:
        await engine.start()
        speed = await measure(engine, GPU)
    except P2PComputeError as error:
        said = str(error)
        return Finding(gpu.name, f"{gpu.uuid}: {said}", _fix(said, ENGINE_FIXES).format(uuid=gpu.uuid))
    finally:
        await engine.aclose()
    gflops = f"{speed.mflops_f32 / 1000:.0f} GFLOP/s, {speed.mflops_f64 / 1000:.0f} in double precision"
    return Finding(gpu.name, f"{gpu.uuid}: {gflops}, copies {speed.mbytes_per_s / 1000:.0f} GB/s")
