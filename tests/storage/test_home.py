from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2pcompute.errors import HomeError
from p2pcompute.storage.home import Home, Layout
from p2pcompute.storage.journal import Journal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_home_is_private_and_whole(root: Path) -> None:
    with Home.create(root) as home:
        epoch = home.epoch
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    with Home.open(root) as again:
        assert again.epoch == epoch


def test_a_restored_home_begins_a_new_epoch(root: Path) -> None:
    with Home.create(root) as home:
        before = home.epoch
        after = home.begin_new_epoch()
    with Home.open(root) as again:
        assert again.epoch == after != before


def test_an_empty_directory_becomes_a_private_home(root: Path) -> None:
    root.mkdir(mode=0o755)
    Home.create(root).close()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_home_is_not_made_twice(root: Path) -> None:
    Home.create(root).close()
    with pytest.raises(HomeError, match="is a home already"):
        Home.create(root)


def test_a_directory_with_other_things_is_left_alone(root: Path) -> None:
    root.mkdir()
    (root / "thesis.tex").write_text("work of years")
    with pytest.raises(HomeError, match="holds other things"):
        Home.create(root)
    assert [p.name for p in root.iterdir()] == ["thesis.tex"]


def test_a_missing_home_says_how_to_make_one(root: Path) -> None:
    with pytest.raises(HomeError, match=f"no home at {root}; make one with: p2pcompute init --home {root}"):
        Home.open(root)


@pytest.mark.parametrize("survivors", [["lock"], ["lock", "keys"], ["lock", "keys", "blobs", "journal.db"]])
def test_an_interrupted_creation_is_named_and_can_be_finished(root: Path, survivors: list[str]) -> None:
    Home.create(root).close()
    for path in list(root.iterdir()):
        if path.name not in survivors:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(HomeError, match="not a whole home; make one with"):
        Home.open(root)
    Home.create(root).close()
    Home.open(root).close()


def test_a_used_home_that_lost_its_marker_is_not_made_anew(root: Path) -> None:
    Home.create(root).close()
    layout = Layout(root)
    (layout.keys / "node.key").write_text("precious")
    layout.marker.unlink()
    with pytest.raises(HomeError, match="holds other things"):
        Home.create(root)
    assert (layout.keys / "node.key").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("format = 2\n", "format 2, this version reads 1; update"), ("\0\0", "unreadable"), ("", "unreadable")],
)
def test_a_foreign_marker_is_refused(root: Path, content: str, message: str) -> None:
    Home.create(root).close()
    Layout(root).marker.write_text(content)
    with pytest.raises(HomeError, match=message):
        Home.open(root)


def test_a_home_open_to_others_is_refused(root: Path) -> None:
    Home.create(root).close()
    root.chmod(0o750)
    with pytest.raises(HomeError, match="chmod 700"):
        Home.open(root)


@pytest.mark.parametrize("part", ["keys", "blobs"])
def test_a_lost_part_is_damage(root: Path, part: str) -> None:
    Home.create(root).close()
    shutil.rmtree(root / part)
    with pytest.raises(HomeError, match=f"damaged: {part}/ is missing"):
        Home.open(root)


def test_a_lost_journal_is_damage_and_frees_the_lock(root: Path) -> None:
    Home.create(root).close()
    journal = Layout(root).journal
    journal.rename(root / "aside")
    with pytest.raises(HomeError, match="is missing; restore"):
        Home.open(root)
    (root / "aside").rename(journal)
    Home.open(root).close()


def test_a_file_in_place_of_the_home_is_named(root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(HomeError, match=str(root)):
        Home.create(root)


# The lock -------------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, pathlib
from p2pcompute.storage.home import Home
home = Home.open(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_home(root: Path) -> None:
    Home.create(root).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HomeError, match=f"in use by process {holder.pid}; stop it or use another --home"):
            Home.open(root)
        holder.send_signal(signal.SIGKILL)
    Home.open(root).close()


def test_one_process_cannot_open_a_home_twice(root: Path) -> None:
    with Home.create(root), pytest.raises(HomeError, match=f"in use by process {os.getpid()}"):
        Home.open(root)


def test_a_home_that_was_closed_is_free_although_a_starting_child_has_a_copy_of_its_files(root: Path) -> None:
    """Between fork and exec, a program that any thread starts holds every descriptor of this process."""
    home = Home.create(root)
    copy = os.dup(home._lock._descriptor)
    try:
        home.close()
        Home.open(root).close()
    finally:
        os.close(copy)


def test_a_forked_child_does_not_keep_the_home_locked(root: Path) -> None:
    """A child that outlives us must not hold the lock: it closes its copy when it starts."""
    started, told = os.pipe()
    waits, ends = os.pipe()
    home = Home.create(root)
    child = os.fork()
    if child == 0:
        os.close(ends)
        os.write(told, b"1")
        os.read(waits, 1)
        os._exit(0)
    try:
        os.read(started, 1)
        home.close()
        Home.open(root).close()
    finally:
        os.close(ends)
        os.waitpid(child, 0)
        for descriptor in (started, told, waits):
            os.close(descriptor)


# Paths ----------------------------------------------------------------------------------------------------------------


def test_a_home_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    assert Layout(Path("/srv/p2p")).control_socket == Path("/srv/p2p/control.sock")
    with pytest.raises(HomeError, match="too long for its control socket"):
        _ = Layout(tmp_path / ("d" * 120)).control_socket


def test_the_journal_of_a_home_is_its_own(root: Path) -> None:
    with Home.create(root) as home:
        home.journal.append([b"record"])
    with Journal.open(Layout(root).journal) as journal:
        assert journal.last_lsn == 1
