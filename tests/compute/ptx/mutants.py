"""Damaged kernels, run for real: `python -m tests.compute.ptx.mutants FIRST COUNT`.

Each number makes one mutant of a kernel in data/, by changes that often still parse: operands, types, constants and
lines exchanged. What parses is compiled and run on buffers between inaccessible pages, so that a stray access ends the
process.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import re
import sys
import threading
from functools import cache

import numpy as np

from p2pcompute.compute import ptx
from p2pcompute.errors import PtxError
from p2pcompute.wire.texture import Geometry, Texture
from tests.compute.ptx.running import DATA

BUFFERS = 3
BLOCKS = ((48, 1, 1), (128, 1, 1))
"""A warp and a half, and two teams (see `teams`); in turn."""
TEXTURES = (Texture(Geometry.PLANE, (64, 16, 1), linear=True), Texture(Geometry.LINE, (1024, 1, 1)))
RUN_S_MAX = 0.05
LARGE_BYTES_MAX = 12_000
SMALL_BYTES_MAX = 1_800
SMALL_COUNT = 2_000
_TOKEN = re.compile(r"%[\w.]+|\b0[xfFdD][0-9a-fA-F]+\b|-?\b\d+\b|\.[a-z]\w*|\b[a-z]\w*\b")
_WORDS = ("0", "1", "-1", "31", "32", "64", "2147483647", "-2147483648", "4294967296", "%tid.x", "%laneid", "%ctaid.x")


@cache
def bases() -> tuple[str, ...]:
    """The canonical text of every kernel in data/, one by one."""
    texts = []
    for path in sorted(DATA.glob("*.ptx")):
        whole = ptx.parse(path.read_text())
        for name, entry in whole.entries.items():
            alone = ptx.Module(whole.version, whole.target, {name: entry}, {}, whole.variables)
            texts.append(ptx.canonicalise(alone))
    return tuple(text for text in texts if len(text) < LARGE_BYTES_MAX)


@cache
def small_bases() -> tuple[str, ...]:
    """Those that compile in a few hundredths of a second."""
    return tuple(text for text in bases() if len(text) < SMALL_BYTES_MAX)


def mutant(number: int) -> str:
    """The same text for the same number, everywhere; the first SMALL_COUNT are of small kernels."""
    chance = random.Random(number)
    lines = chance.choice(small_bases() if number < SMALL_COUNT else bases()).split("\n")
    body = lines.index("{") + 1
    for _ in range(chance.randint(1, 4)):
        place, other = (chance.randrange(body, len(lines) - 2) for _ in range(2))
        match chance.randrange(5):
            case 0:
                lines[place], lines[other] = lines[other], lines[place]
            case 1:
                lines.insert(place, lines[other])
            case 2:
                del lines[place]
            case _:
                lines[place] = _changed(lines[place], lines[other], chance)
    return "\n".join(lines)


def _changed(line: str, other: str, chance: random.Random) -> str:
    """One word replaced by one of another line, or by a number that likes to break things."""
    words, donors = list(_TOKEN.finditer(line)), [match.group() for match in _TOKEN.finditer(other)]
    if not words:
        return line
    match = chance.choice(words)
    kind = [word for word in (*donors, *_WORDS) if word[0] == match.group()[0]] or _WORDS
    return line[: match.start()] + chance.choice(kind) + line[match.end() :]


class Guarded:
    """A buffer that ends where an inaccessible page begins, with another one before it."""

    def __init__(self, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        whole = -(-size_bytes // page) * page
        self._map = mmap.mmap(-1, whole + 2 * page)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        for start in (base, base + page + whole):
            if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(page), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        end = page + whole
        self.array = np.frombuffer(self._map, np.uint8)[end - size_bytes : end]


def run(number: int, buffers: list[Guarded]) -> str:
    """`refused`, or what the launch came to."""
    try:
        module = ptx.parse(mutant(number))
        (name,) = module.entries
        ptx.classify(module, name)
        compiled = ptx.compile_entry(module, name, BLOCKS[number % len(BLOCKS)])
    except PtxError:
        return "refused"
    chance = random.Random(number)
    memory = ptx.Memory([guarded.array for guarded in buffers])
    words = [memory.address(n) for n in range(BUFFERS)] * 2
    words += [memory.texture(0, "f32", texture) for texture in TEXTURES]
    arguments = [
        chance.choice(words).to_bytes(8, "little")
        if parameter.size_bytes == 8
        else chance.choice((0, 1, 7, 100, 2**31)).to_bytes(4, "little").ljust(parameter.size_bytes, b"\0")
        for parameter in compiled.entry.parameters
    ]
    arguments = [a[: p.size_bytes] for a, p in zip(arguments, compiled.entry.parameters, strict=True)]
    abort = ptx.Abort()
    timer = threading.Timer(RUN_S_MAX, abort.set)
    timer.start()
    try:
        packed = ptx.pack_parameters(compiled.entry, arguments)
        return compiled.launch(memory, packed, (2, 1, 1), 64, threads=1, abort=abort).status.value
    finally:
        timer.cancel()


def main(first: int, count: int) -> None:
    buffers = [Guarded(size) for size in (4096, 400, 16)]
    counts: dict[str, int] = {}
    for number in range(first, first + count):
        print(number, end="\r", flush=True)  # the last one shown is the culprit
        status = run(number, buffers)
        counts[status] = counts.get(status, 0) + 1
    print(" ".join(f"{name}={counts[name]}" for name in sorted(counts)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
