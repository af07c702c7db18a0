from __future__ import annotations

from pathlib import Path

import pytest

from p2pcompute.node.peers_file import PEERS_MAX, PeersFile
from p2pcompute.transport.address import Address


def address(index: int, port: int = 9_000) -> str:
    return str(Address("203.0.113.5", port, index.to_bytes(32, "big")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers.txt"


def test_what_was_met_is_read_back_the_last_one_first(path: Path) -> None:
    file = PeersFile(path)
    for index in (1, 2, 3, 1):
        file.remember(address(index))
    file.save(file.addresses())
    assert PeersFile(path).addresses() == (address(1), address(3), address(2))


def test_a_peer_has_one_address(path: Path) -> None:
    file = PeersFile(path)
    file.remember(address(1))
    file.remember(address(1, 9_001))
    assert file.addresses() == (address(1, 9_001),)


def test_the_file_is_bounded(path: Path) -> None:
    file = PeersFile(path)
    for index in range(3 * PEERS_MAX):
        file.remember(address(index))
    assert len(file.addresses()) == PEERS_MAX
    assert file.addresses()[0] == address(3 * PEERS_MAX - 1)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\n", b"# only this\n", b"nonsense\n/ip4/1.2.3.4/tcp/5\n", b"x" * 10**6]
)
def test_a_file_of_other_things_is_empty(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert PeersFile(path).addresses() == ()


def test_an_address_that_nobody_can_dial_is_not_kept(path: Path) -> None:
    file = PeersFile(path)
    file.remember(address(1, 0))
    file.remember("/ip4/203.0.113.5/tcp/9000")
    assert file.addresses() == ()


def test_a_forgotten_peer_is_gone(path: Path) -> None:
    file = PeersFile(path)
    file.remember(address(1))
    assert file.is_unsaved
    file.forget(address(1))
    assert file.addresses() == ()
    assert not file.is_unsaved


def test_a_directory_that_cannot_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    file = PeersFile(tmp_path / "gone" / "peers.txt")
    file.remember(address(1))
    file.save(file.addresses())
    assert file.addresses() == (address(1),)
