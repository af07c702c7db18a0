"""The pages for those who run a node: each command of ours on them is one, each setting and file is there.

What needs root, a GPU or a container is not run; `config set` is, and what `serve` is given must be a configuration.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from p2pcompute.cli import serve
from p2pcompute.cli.app import make_app
from p2pcompute.cli.options import Common
from p2pcompute.node.config import Config, with_changes
from tests.cli.command import Command
from tests.cli.conftest import command  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("operator.md", "gpu.md")
FENCE = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"^\| `(\w+)` \| (\S+) \|", re.MULTILINE)
FOREIGN = {"sudo", "nvidia-smi", "docker", "echo"}


def lines(page: str) -> list[list[str]]:
    """The words of every command on a page, without comments."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [shlex.split(line, comments=True) for block in FENCE.findall(text) for line in block.splitlines()]


COMMANDS = [words[1:] for page in PAGES for words in lines(page) if words[0] == "p2pcompute"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_one(words: list[str]) -> None:
    make_app().parse_args(words, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[:2] == ["config", "set"]], ids=" ".join)
def test_every_setting_can_be_set(command: Command, words: list[str]) -> None:  # noqa: F811
    assert command("init", "--no-passphrase") == 0
    assert command(*words) == 0, command.err


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "serve"], ids=" ".join)
def test_every_way_to_serve_is_a_configuration(
    command: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    served: list[Config] = []

    async def note(common: Common, changes: Mapping[str, object], stopped: list[bool]) -> None:
        served.append(with_changes(Config(), dict(changes)))

    monkeypatch.setattr(serve, "_serve", note)
    assert command(*words) == 0, command.err
    assert len(served) == 1


def test_the_defaults_that_are_named_are_the_defaults() -> None:
    table = dict(SETTING.findall((ROOT / "docs" / "operator.md").read_text(encoding="utf-8")))
    assert len(table) == 8
    defaults = msgspec.to_builtins(Config())
    assert table == {name: str(defaults[name]) if name != "when" else f"`{defaults[name]}`" for name in table}


def test_scripts_packages_and_files_that_are_named_are_there() -> None:
    commands = [[word for word in words if "=" not in word or word.startswith("-")] for words in lines("gpu.md")]
    others = [words for words in commands if words[0] not in FOREIGN | {"p2pcompute"}]
    assert {words[0] for words in others} == {
        "./dev",
        ".venv/bin/python",
        "tests/gpu/wheels.sh",
        "tests/gpu/run.sh",
    }
    assert all((ROOT / words[0]).is_file() for words in others if words[0] != ".venv/bin/python")
    files = [word for words in commands for word in words if word.endswith((".txt", ".cuda"))]
    assert set(files) == {"constraints.txt", "docs/docker/Dockerfile.cuda"}
    assert all((ROOT / name).is_file() for name in files)


def test_the_extra_has_what_the_page_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    pycuda, nvml = extras["gpu"]
    name, version = pycuda.split("==")
    assert (name, nvml.split(">=")[0]) == ("pycuda", "nvidia-ml-py")
    assert f"PyCUDA {version}" in page
    assert f"pycuda=={version}" in (ROOT / "tests" / "gpu" / "wheels.sh").read_text()
    assert "-e '.[gpu]'" in page
