"""Is everything that belongs to the packages in the wheel? `python -m tests.wheel_content dist/NAME.whl`

A kernel or header that the metadata forgot works from a checkout and is missing for everybody else.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("p2pcompute", "kernels_cu", "simnet")


def left_out(wheel: Path) -> list[str]:
    """Paths of the packages' files that `wheel` lacks."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    ours = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    wanted = (path.relative_to(ROOT).as_posix() for path in ours if "__pycache__" not in path.parts)
    return sorted(set(wanted) - inside)


def main(wheel: str) -> int:
    missing = left_out(Path(wheel))
    for path in missing:
        print(f"{path} is not in the wheel; name it under [tool.setuptools.package-data] in pyproject.toml")
    print(f"{Path(wheel).name}: {len(missing)} files left out")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
