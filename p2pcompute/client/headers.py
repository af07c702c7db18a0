"""The user's own files that a `.cu` file includes, and those include, found the way a compiler would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.wire import limits

SUFFIXES: Final = frozenset(
    {".h", ".hh", ".hpp", ".hxx", ".cuh", ".cu", ".inl", ".inc", ".def", ".tpp", ".ipp", ".c", ".cc", ".cpp", ".cxx"}
)
"""What may be read: an #include in a stranger's source is no reason to read a file that is no source."""
_INCLUDE: Final = re.compile(r"""^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)""", re.MULTILINE)


def included_files(path: Path, folders: Sequence[Path] = ()) -> dict[str, str]:
    """The texts of all files `path` includes that lie beside the including file or in `folders`, by their path
    relative to the folder of `path`. What is not found is left to the compiler, which serves common headers; at most
    limits.SOURCES_MAX files and limits.SOURCE_BYTES_MAX bytes are taken, the nearest first.

    Raises UsageError when a file that is there cannot be read.
    """
    root = path.resolve().parent
    found: dict[str, str] = {}
    seen = {path.resolve()}
    total = len(read_source(path))
    work = [path.resolve()]
    for file in work:
        for wanted, quoted in _includes(read_source(file)):
            target = _locate(wanted, file.parent, folders if quoted else (*folders, file.parent), quoted)
            if target is None or target in seen or len(found) + 1 >= limits.SOURCES_MAX:
                continue
            text = read_source(target)
            total += len(text)
            if total <= limits.SOURCE_BYTES_MAX:
                seen.add(target)
                found[Path(os.path.relpath(target, root)).as_posix()] = text
                work.append(target)
    return found


def read_source(path: Path) -> str:
    """A source's text. Raises UsageError when it cannot be read or is too long."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limits.SOURCE_BYTES_MAX:
        raise UsageError(f"{path} has {len(data)} bytes; a source may have {limits.SOURCE_BYTES_MAX}")
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def _includes(text: str) -> Iterator[tuple[str, bool]]:
    for match in _INCLUDE.finditer(text):
        yield (match[1] or match[2]).strip(), bool(match[1])


def _locate(wanted: str, beside: Path, folders: Sequence[Path], quoted: bool) -> Path | None:
    if wanted.startswith(("/", "~")) or Path(wanted).suffix not in SUFFIXES or not wanted.isprintable():
        return None
    for folder in (beside, *folders) if quoted else folders:
        candidate = folder / wanted
        if candidate.is_file():
            return candidate.resolve()
    return None
