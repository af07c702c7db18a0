from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.storage.backup import back_up, restore
from p2pcompute.storage.home import Home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home with one record and one other file in it."""
    root = tmp_path / "home"
    with Home.create(root) as home:
        home.journal.append([b"a record"])
        (root / "keys" / "node.key").write_bytes(b"secret")
    return root


def test_what_was_backed_up_comes_back_in_a_new_epoch(root: Path, tmp_path: Path) -> None:
    with Home.open(root) as home:
        epoch = home.epoch
    size = back_up(root, tmp_path / "home.tar")
    assert size == (tmp_path / "home.tar").stat().st_size
    assert (tmp_path / "home.tar").stat().st_mode & 0o777 == 0o600
    new = restore(tmp_path / "home.tar", tmp_path / "new")
    assert new != epoch
    with Home.open(tmp_path / "new") as home:
        assert home.epoch == new
        assert [record for _, record in home.journal.replay()] == [b"a record"]
    assert (tmp_path / "new" / "keys" / "node.key").read_bytes() == b"secret"


def test_a_home_in_use_is_not_backed_up(root: Path, tmp_path: Path) -> None:
    with Home.open(root), pytest.raises(HomeError, match="in use"):
        back_up(root, tmp_path / "home.tar")
    assert not (tmp_path / "home.tar").exists()


def test_nothing_is_overwritten(root: Path, tmp_path: Path) -> None:
    back_up(root, tmp_path / "home.tar")
    with pytest.raises(UsageError, match="exists already"):
        back_up(root, tmp_path / "home.tar")
    with pytest.raises(HomeError, match="exists already"):
        restore(tmp_path / "home.tar", root)


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        _member("../escaped"),
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("hard", tarfile.LNKTYPE, "../escaped"),
        _member("device", tarfile.CHRTYPE),
        _member("nothing of ours"),
    ],
    ids=lambda member: member.name,
)
def test_a_hostile_or_foreign_tar_file_leaves_nothing(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(UsageError, match=r"bad\.tar is no backup of a home"):
        restore(_tar(tmp_path / "bad.tar", member), tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.tar"]


def test_a_torn_backup_leaves_nothing(root: Path, tmp_path: Path) -> None:
    size = back_up(root, tmp_path / "home.tar")
    with (tmp_path / "home.tar").open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises((UsageError, HomeError)):
        restore(tmp_path / "home.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
