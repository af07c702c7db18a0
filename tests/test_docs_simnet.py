"""The page on the simulated network, typed in: every file of it written, every command of it run, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "simnet.md"
BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    commands = 0
    for kind, text in BLOCK.findall(PAGE.read_text()):
        if kind != "console":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
            continue
        for command in text.splitlines():
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                cwd=tmp_path,
                env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            commands += 1
    assert commands >= 12
    assert (tmp_path / "told" / "report.html").is_file()
