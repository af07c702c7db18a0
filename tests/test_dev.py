"""The entry for people and the locked versions. What ./dev installs is tried by .ci/run, not here."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _dev(*arguments: str, path: str = "/usr/bin:/bin", venv: str = "/nonexistent") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "dev", *arguments],
        env={"PATH": path, "DEV_VENV": venv},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command() -> None:
    done = _dev("help")
    assert done.returncode == 0
    for command in ("setup", "demo", "test", "lint", "bench", "docs"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_an_unknown_command_is_a_usage_error_and_installs_nothing() -> None:
    done = _dev("frobnicate")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "There is no ./dev frobnicate." in done.stderr


def test_a_machine_without_a_fitting_python_is_told_what_to_type(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "readlink", "cat", "sha256sum", "cut"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = _dev("test", path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11, 3.12 or 3.13 is needed")
    assert done.stderr.count("\n") == 1


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["dev"], *extras["bench"]]


@pytest.mark.parametrize("requirement", _requirements())
def test_every_dependency_has_one_exact_version_per_python(requirement: str) -> None:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    name = re.sub(r"[-_.]+", "-", match[0]).lower()
    locked = re.findall(rf"^{re.escape(name)}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert locked, f"{name} is missing in constraints.txt; write it anew with the command in its head"


def test_the_locked_versions_name_no_place_to_get_them_from() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|^-", text, re.MULTILINE)


def test_the_js_packages_are_pinned_and_name_no_registry() -> None:
    folder = ROOT / "tests" / "interop" / "js"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    lock = json.loads((folder / "package-lock.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert all(lock["packages"][f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    assert all("integrity" in one and "resolved" not in one for name, one in lock["packages"].items() if name)
