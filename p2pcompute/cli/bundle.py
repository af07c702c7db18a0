"""Evidence files: signed documents one after the other, as a MessagePack stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgpack

from p2pcompute.errors import UsageError
from p2pcompute.wire import limits

MAGIC: Final = "p2pcompute evidence 1"
READ_BYTES: Final = 1 << 20


def write_bundle(path: Path, documents: Iterable[bytes]) -> None:
    """Write documents in this order."""
    with path.open("wb") as file:
        file.write(msgpack.packb(MAGIC))
        for raw in documents:
            file.write(msgpack.packb(raw))


def read_bundle(path: Path) -> Iterator[bytes]:
    """The documents of a file, unverified. Raises UsageError when it is missing or no evidence file."""
    bad = UsageError(f"{path} is no evidence file of p2pcompute, or is damaged")
    unpacker = msgpack.Unpacker(max_buffer_size=2 * READ_BYTES, max_bin_len=limits.DOCUMENT_BYTES_MAX, max_str_len=64)
    try:
        with path.open("rb") as file:
            first = True
            while data := file.read(READ_BYTES):
                unpacker.feed(data)
                for value in unpacker:
                    if first and value == MAGIC:
                        first = False
                    elif first or not isinstance(value, bytes):
                        raise bad
                    else:
                        yield value
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise bad from error
    if first:
        raise bad
