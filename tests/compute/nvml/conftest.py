"""The real bindings (nvidia-ml-py) on a stub of the library, built once: nothing here tells of a real GPU."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from p2pcompute.compute.nvml import Nvml

SOURCE = Path(__file__).with_name("stub.c")


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loaded under its soname, so that whoever asks for libnvidia-ml.so.1 in this process gets it; without STUB_GPUS in
    the environment it says that it is not there."""
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    options = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{path.name}")
    subprocess.run(["gcc", *options, "-o", str(path), str(SOURCE)], check=True)
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return path


@pytest.fixture
def gpus(stub_library: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One GPU that does nothing; set STUB_… for more."""
    monkeypatch.setenv("STUB_GPUS", "1")
    return monkeypatch


@pytest.fixture
def nvml(gpus: pytest.MonkeyPatch) -> Nvml:
    return Nvml.open()
