from __future__ import annotations

from pathlib import Path

import pytest

from p2pcompute.errors import LocalError
from p2pcompute.storage.passphrase import find_passphrase


def _must_not_ask() -> str:
    raise AssertionError("prompted although the passphrase was known")


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "secret").write_text("from file\n")
    (tmp_path / "p2pcompute-passphrase").write_text("from systemd")
    return {
        "P2PCOMPUTE_PASSPHRASE": "from variable",
        "P2PCOMPUTE_PASSPHRASE_FILE": str(tmp_path / "secret"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }


def test_sources_are_asked_in_the_documented_order(everything: dict[str, str]) -> None:
    assert find_passphrase(everything, given="from argument", prompt=_must_not_ask) == "from argument"
    assert find_passphrase(everything, prompt=_must_not_ask) == "from variable"
    del everything["P2PCOMPUTE_PASSPHRASE"]
    assert find_passphrase(everything, prompt=_must_not_ask) == "from file"
    del everything["P2PCOMPUTE_PASSPHRASE_FILE"]
    assert find_passphrase(everything, prompt=_must_not_ask) == "from systemd"
    del everything["CREDENTIALS_DIRECTORY"]
    assert find_passphrase(everything, prompt=lambda: "typed") == "typed"


def test_without_any_source_the_error_names_them() -> None:
    with pytest.raises(LocalError, match="P2PCOMPUTE_PASSPHRASE or P2PCOMPUTE_PASSPHRASE_FILE"):
        find_passphrase({})


def test_a_unit_with_other_credentials_falls_through(tmp_path: Path) -> None:
    assert find_passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}, prompt=lambda: "typed") == "typed"


def test_an_empty_variable_is_an_empty_passphrase() -> None:
    assert find_passphrase({"P2PCOMPUTE_PASSPHRASE": ""}, prompt=_must_not_ask) == ""


def test_only_the_last_line_break_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b" two\nlines \r\n")
    assert find_passphrase({"P2PCOMPUTE_PASSPHRASE_FILE": str(tmp_path / "secret")}) == " two\nlines "


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"x" * 5000, "longer than 1024")]
)
def test_a_named_file_that_cannot_serve_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalError, match=message):
        find_passphrase({"P2PCOMPUTE_PASSPHRASE_FILE": str(path)}, prompt=_must_not_ask)
