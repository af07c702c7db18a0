"""docs/docker/Dockerfile.cuda, as far as it can be checked without building it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "docker" / "Dockerfile.cuda"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STAGES = re.compile(r"^FROM (\S+)(?: AS (\w+))?$", re.MULTILINE)


def steps(name: str) -> list[str]:
    """What follows an instruction, each time it is there."""
    text = re.sub(r"\\\n\s*", "", FILE.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_what_is_copied_from_the_repository_is_there() -> None:
    copied = [name for step in steps("COPY") if not step.startswith("--from") for name in step.split()[:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_every_package_and_what_the_build_reads_is_copied() -> None:
    copied = {name for step in steps("COPY") if not step.startswith("--from") for name in step.split()[:-1]}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"]} == copied


def test_stages_that_are_copied_from_are_there() -> None:
    named = {name for _, name in STAGES.findall(FILE.read_text()) if name}
    used = {step.split()[0].removeprefix("--from=") for step in steps("COPY") if step.startswith("--from")}
    assert used == named == {"toolkit", "build"}


def test_what_is_built_runs_on_the_same_python_which_we_support() -> None:
    bases = [base for base, _ in STAGES.findall(FILE.read_text())]
    assert bases[1:] == ["python:3.12-bookworm", "python:3.12-slim-bookworm"]
    assert "Programming Language :: Python :: 3.12" in PROJECT["classifiers"]


def test_the_headers_are_those_of_the_cuda_that_we_compile_with() -> None:
    image = STAGES.findall(FILE.read_text())[0][0]
    (nvrtc,) = (name for name in PROJECT["dependencies"] if name.startswith("nvidia-cuda-nvrtc"))
    version = ".".join(nvrtc.split("==")[1].split(".")[:2])
    assert image.startswith(f"nvidia/cuda:{version}.")
    assert f"/usr/local/cuda-{version}/" in "".join(steps("ARG"))


def test_the_system_packages_are_those_that_setting_up_needs() -> None:
    """python3-dev and -venv are in Python's own images; g++ is for PyCUDA."""
    building, running = (set(re.search(r"recommends ([\w+\d -]+)", step)[1].split()) for step in apt_steps())
    needed = set(re.findall(r"\|\| echo (lib\w+-dev|gcc)$", (ROOT / "dev").read_text(), re.MULTILINE)) - {"libc6-dev"}
    assert building == needed | {"g++"}
    assert running == {"libgmp10"}


def apt_steps() -> list[str]:
    return [step for step in steps("RUN") if "apt-get install" in step]


def test_pycuda_is_built_without_curand_for_the_headers_that_are_copied() -> None:
    (configured,) = (step for step in steps("RUN") if "aksetup-defaults.py" in step)
    assert "CUDA_ENABLE_CURAND = False" in configured
    targets = {step.split()[-1] for step in steps("COPY") if step.startswith("--from=toolkit")}
    assert set(re.findall(r'"(/[^"]+)"', configured)) == targets
    assert any(step.endswith("-c constraints.txt '.[gpu]'") for step in steps("RUN"))


def test_it_starts_a_command_of_ours_with_the_libraries_that_it_needs_and_not_as_root() -> None:
    (entry,), (arguments,), (user,) = steps("ENTRYPOINT"), steps("CMD"), steps("USER")
    assert json.loads(entry)[0] in PROJECT["scripts"]
    assert json.loads(arguments) == ["serve", "--engine", "cuda"]
    assert user != "root"
    (environment,) = steps("ENV")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment
