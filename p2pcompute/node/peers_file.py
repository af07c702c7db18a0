"""peers.txt in the home: where peers were met, so that a node that starts again needs no bootstrap.

One multiaddr with /p2p/ID per line, the one met last first, one per peer. Lines that are none are skipped: the file may
be edited by hand.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.storage.files import read_bounded, replace_file
from p2pcompute.transport.address import ADDRESS_CHARACTERS_MAX, parse_address

log = logging.getLogger(__name__)

PEERS_MAX: Final = 64
FILE_BYTES_MAX: Final = 4 * PEERS_MAX * ADDRESS_CHARACTERS_MAX
_HEAD: Final = "# Peers met, the last one first. Written by the node.\n"


class PeersFile:
    """The file's content; `save` writes it when it changed."""

    def __init__(self, path: Path) -> None:
        """What cannot be read counts as empty: this is a cache."""
        self._path = path
        self._by_peer: dict[bytes, str] = {}  # the one met last stands last
        self._saved: tuple[str, ...] = ()
        try:
            content = read_bounded(path, FILE_BYTES_MAX) or b""
        except OSError:
            content = b""
        for line in reversed(content.decode("utf-8", "replace").splitlines()[: 2 * PEERS_MAX]):
            self.remember(line.strip())
        self._saved = self.addresses()

    def addresses(self) -> tuple[str, ...]:
        """The one met last first."""
        return tuple(reversed(self._by_peer.values()))

    def remember(self, address: str) -> None:
        """A peer was met there. What is no address with a peer id is ignored."""
        try:
            target = parse_address(address)
        except UsageError:
            return
        if target.peer is None or target.port == 0:
            return
        self._by_peer.pop(target.peer, None)
        self._by_peer[target.peer] = str(target)
        while len(self._by_peer) > PEERS_MAX:
            del self._by_peer[next(iter(self._by_peer))]

    def knows(self, peer: bytes) -> bool:
        return peer in self._by_peer

    def address_of(self, peer: bytes) -> str | None:
        return self._by_peer.get(peer)

    def forget(self, address: str) -> None:
        peer = parse_address(address).peer
        if peer is not None:
            self._by_peer.pop(peer, None)

    @property
    def is_unsaved(self) -> bool:
        """Whether there is something to save."""
        return self.addresses() != self._saved

    def save(self, addresses: tuple[str, ...]) -> None:
        """Write these, which `addresses` gave, whole or not at all; in a thread, since it waits for the disk. A full
        one costs the cache, not the node."""
        try:
            replace_file(self._path, (_HEAD + "".join(f"{address}\n" for address in addresses)).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
        self._saved = addresses
