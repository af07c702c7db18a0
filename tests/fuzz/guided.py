"""One target under atheris (libFuzzer for Python): `python -m tests.fuzz.guided TARGET CORPUS [libFuzzer options]`.

A process of its own, since libFuzzer ends the process it runs in.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz import corpus
from tests.fuzz.target import CORES, load

RSS_MB_MAX: Final = 1_024
"""Of the whole process, instrumented code and corpus included; `test_random` bounds what one input takes."""
INPUT_S_MAX: Final = 20
"""One input; a core that thinks for longer can be stopped by a stranger."""


def run(name: str, runs: int, *, seed: int = 1) -> int:
    """How many inputs a target took, `runs` at least. Raises AssertionError with atheris' report for a defect."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", name, folder, *_options(name, runs, seed, folder)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        kept = sorted(Path(folder).glob("defect-*"))
        inputs = "".join(f"\n{path.name}: {path.read_bytes().hex()}" for path in kept)
    finished = re.search(r"Done (\d+) runs", done.stdout)
    if done.returncode or finished is None:
        raise AssertionError(f"{name} under seed {seed}:\n{done.stdout[-8_000:]}{inputs}")
    return int(finished[1])


def _options(name: str, runs: int, seed: int, folder: str) -> list[str]:
    return [
        str(corpus.SEEDS / name),
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={load(name).input_bytes_max}",
        f"-rss_limit_mb={RSS_MB_MAX}",
        f"-timeout={INPUT_S_MAX}",
        f"-artifact_prefix={folder}/defect-",
    ]


def main() -> None:
    """Instrument the core while it is imported, then hand over to libFuzzer, which never returns."""
    import atheris

    name = sys.argv[1]
    with atheris.instrument_imports(include=[CORES[name]]):
        target = load(name)

    def test_one(data: bytes) -> None:
        target.takes(data)

    atheris.Setup([f"fuzz {name}", *sys.argv[2:]], test_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
