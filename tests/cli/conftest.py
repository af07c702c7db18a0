from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command, Provider, serving


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command line, in an empty directory and with nothing in its environment."""
    for name in ("P2PCOMPUTE_PASSPHRASE", "P2PCOMPUTE_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY", "P2PCOMPUTE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("P2PCOMPUTE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One provider for all tests of a module."""
    with serving(tmp_path_factory.mktemp("provider") / "home", "--price", "0.5") as running:
        yield running
