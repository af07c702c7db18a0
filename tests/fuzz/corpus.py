"""The seeds in git: `seeds/TARGET/NAME`, made from real bytes by the target itself, and `found_*`, inputs that once
brought out what must not come out. `python -m tests.fuzz --write-seeds` makes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.fuzz.target import NAMES, load

SEEDS: Final = Path(__file__).parent / "seeds"
FOUND: Final = "found_"


def read(name: str) -> dict[str, bytes]:
    """A target's seeds, by file name."""
    return {path.name: path.read_bytes() for path in sorted((SEEDS / name).iterdir())}


def write() -> None:
    """Bring what the targets make into the folder; what was found stays."""
    for name in NAMES:
        folder = SEEDS / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if not path.name.startswith(FOUND):
                path.unlink()
        for seed, data in load(name).seeds().items():
            (folder / seed).write_bytes(data)
