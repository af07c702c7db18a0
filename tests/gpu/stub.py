"""Build a libcuda.so.1 for machines without a GPU: `python -m tests.gpu.stub OUTDIR INCLUDE device|nothing`.

`nothing`: every function of cuda.h returns CUDA_ERROR_NO_DEVICE; enough to build PyCUDA and to see what it does where
there is no GPU. `device`: one device that computes nothing (stub/libcuda.c). Neither gives GPU results, and no report
may count what ran on them as such. INCLUDE holds cuda.h, for instance that of nvidia-cuda-runtime-cu12. Needs gcc.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "stub"
NO_DEVICE, NOT_SUPPORTED = 100, 801
_NAME = re.compile(r"\b(cu[A-Z]\w*)\s*\(")


def names(include: Path) -> list[str]:
    """Every function that cuda.h and cudaProfiler.h declare, under all their version suffixes."""
    found: set[str] = set()
    for extra in ([], ["-D__CUDA_API_VERSION_INTERNAL"]):
        headers = ["-include", "cuda.h", "-include", str(HERE / "cudaProfiler.h")]
        command = ["gcc", "-E", "-P", "-I", str(include), *extra, *headers, "-x", "c", "/dev/null"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found |= set(_NAME.findall(text))
    return sorted(found)


def failing(include: Path, code: int) -> str:
    """C text in which each of them, weakly, does nothing but fail."""
    lines = [f"__attribute__((weak)) int {name}(void) {{ return {code}; }}" for name in names(include)]
    explained = "no CUDA-capable device is detected (stub libcuda)"
    for what, text in (("Name", "CUDA_ERROR_NO_DEVICE"), ("String", explained)):
        lines = [line for line in lines if f" cuGetError{what}(" not in line]
        head = f"__attribute__((weak)) int cuGetError{what}(int code, const char **text)"
        lines.append(f'{head} {{ *text = "{text}"; return 0; }}')
    return "\n".join(lines) + "\n"


def build(folder: Path, include: Path, *, has_device: bool) -> Path:
    """folder/libcuda.so.1, and libcuda.so for the linker. Raises CalledProcessError when gcc does not like it."""
    folder.mkdir(parents=True, exist_ok=True)
    generated = folder / "failing.c"
    generated.write_text(failing(include, NOT_SUPPORTED if has_device else NO_DEVICE), encoding="ascii")
    library = folder / "libcuda.so.1"
    sources = [str(generated), *([str(HERE / "libcuda.c")] if has_device else [])]
    flags = ["-shared", "-fPIC", "-O1", "-w", "-fno-builtin", "-Wl,-soname,libcuda.so.1", "-I", str(include)]
    subprocess.run(["gcc", *flags, "-o", str(library), *sources], check=True)
    link = folder / "libcuda.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)
    return library


if __name__ == "__main__":
    out, headers, kind = sys.argv[1:]
    print(build(Path(out), Path(headers), has_device={"device": True, "nothing": False}[kind]))
