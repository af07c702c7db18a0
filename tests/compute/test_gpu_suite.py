"""The GPU tests and their report work, as far as that shows without a GPU: on the fake device, a few of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from p2pcompute.compute import cuda, sandbox
from p2pcompute.compute.cuda import CudaEngine
from tests.bench import gpu, registry
from tests.compute import fake_cuda
from tests.gpu import client, report
from tests.gpu.client import Place, WorkerGoneError
from tests.gpu.faults import usable

ROOT = Path(__file__).parents[2]
SELECTION = "saxpy or far_away or endless_kernel or quota or wrong_bit or killed_leaves or energy or jail"
TIMEOUT_S = 900


def run(tmp_path: Path, selection: str) -> subprocess.CompletedProcess[str]:
    fake = fake_cuda.install(tmp_path)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "P2PCOMPUTE_FAKE_PYCUDA": str(fake),
        "P2PCOMPUTE_GPU_SELECT": selection,
    }
    command = ["bash", str(ROOT / "tests/gpu/run.sh"), "-", str(tmp_path / "out")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_the_one_command_writes_its_report(tmp_path: Path) -> None:
    done = run(tmp_path, SELECTION)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("gpu-*.json")
    figures = json.loads(path.read_text())
    assert figures["fake"] == report.NOT_A_RESULT
    assert figures["tests"]["failed"] == 0
    assert figures["tests"]["passed"] >= 8
    assert figures["bit_equal_kernels"] == figures["exact_kernels"] > 0
    assert all(key in figures for key in gpu.GOALS)
    table = path.with_suffix(".md").read_text()
    assert report.NOT_A_RESULT in table
    assert "| device_time_ratio |" in table


@pytest.mark.nightly
def test_everything_runs_on_the_fake_device(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert done.returncode == 0, done.stdout + done.stderr


_ALL_KERNELS = """
import dataclasses, json, sys
from tests.bench import gpu
from tests.gpu.client import Place
scope = dataclasses.replace(gpu.SMALL, names=gpu.FULL.names)
print(json.dumps(gpu.measure_on(Place("fake", (sys.argv[1],)), scope)))
"""


@pytest.mark.nightly
def test_the_benchmark_runs_every_kernel_on_the_fake_device(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ALL_KERNELS, str(fake_cuda.install(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["failed"], figures["bits_differ"]) == ("", 0)
    assert figures["exact_kernels"] + figures["other_kernels"] == len(gpu.FULL.names)


def test_without_a_gpu_the_benchmark_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "NODES", ())
    with pytest.raises(registry.MissingPeerError) as caught:
        gpu.measure(quick=True)
    assert str(caught.value) == "the benchmark 'gpu' needs an NVIDIA GPU, and this machine has none"


@pytest.mark.skipif(not sandbox.available().is_full, reason="this machine lacks layers of the sandbox")
def test_a_jail_that_does_not_fit_the_driver_does_not_hide_all_else(tmp_path: Path) -> None:
    """On a lent GPU one would see nothing else; the jail's own test fails and says why."""
    secret = tmp_path / "needed"
    secret.write_bytes(b"")
    place, fault = usable(Place("fake", (str(fake_cuda.install(tmp_path, needs_file=str(secret))),)))
    assert not place.jailed
    assert "PermissionError" in fault


def test_a_device_on_which_nothing_works_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkerGoneError, match="no CUDA-capable device"):
        usable(Place("fake", (str(fake_cuda.install(tmp_path, devices=0)),)))


def test_workers_are_started_as_the_engine_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mapping[str, str]] = []
    monkeypatch.setattr(cuda, "Child", lambda *arguments, environment: given.append(environment))
    CudaEngine(int(client.DEVICE), memory_bytes_max=1)._spawn()
    assert given == [client.ENVIRONMENT]


def test_a_report_without_tests_counts_as_failed() -> None:
    assert report.tests(None)["failed"] == 1


def test_the_readme_names_commands_that_are_there() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "tests/gpu/README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [line.split()[0] for block in blocks for line in block.splitlines()]
    assert commands == ["tests/gpu/wheels.sh", "tests/gpu/run.sh"]
    assert all(os.access(ROOT / name, os.X_OK) for name in commands)
