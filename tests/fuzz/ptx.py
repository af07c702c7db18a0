"""PTX text: parsed, canonicalised and classified. What is taken has one canonical form, which is taken again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from p2pcompute.compute.ptx import canonicalise, classify, parse
from p2pcompute.errors import PtxError
from tests.fuzz.target import Target

DATA = Path(__file__).parent.parent / "compute" / "ptx" / "data"
SEED_BYTES_MAX = 3_000
HEADER = ".version 8.4\n.target sm_75\n.address_size 64\n"


def feed(data: bytes) -> None:
    """As the compiler's output or a stranger's artifact comes in."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PtxError("not text") from None
    module = parse(text)
    for entry in module.entries:
        classify(module, entry)
    canonical = canonicalise(module)
    again = parse(canonical)
    assert canonicalise(again) == canonical, "the canonical form is not its own canonical form"
    for entry in module.entries:
        assert classify(again, entry).name == classify(module, entry).name


def seeds() -> Mapping[str, bytes]:
    """Short kernels as NVRTC wrote them, one by one, with what stands before them in their file."""
    found = {"empty": (HEADER + ".visible .entry k()\n{\nret;\n}\n").encode()}
    for path in sorted(DATA.glob("*.ptx")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        parts = re.split(r"(?m)^(?=\.visible \.entry|\.entry|\.func|\.visible \.func)", text)
        head = re.sub(r"\n\s*\n", "\n", parts[0])
        kernels = [part for part in parts[1:] if ".entry" in part.partition("(")[0]]
        for kernel in sorted(kernels, key=len)[:2]:
            short = (head + re.sub(r"\n\s*\n", "\n", kernel)).encode()
            name = re.search(r"\.entry (\w+)", kernel)
            if name and len(short) <= SEED_BYTES_MAX and feeds(short):
                found[f"{path.stem}_{name[1][:40]}"] = short
    return {
        **found,
        "bad_character": b"\xff",
        "bad_open": (HEADER + ".visible .entry k()\n{\n").encode(),
        "bad_nested": (HEADER + ".visible .entry k()\n" + "{" * 2_000).encode(),
    }


def feeds(data: bytes) -> bool:
    """Whether a kernel stands on its own, without the functions of its file."""
    return TARGET.takes(data)


TARGET = Target(feed, (PtxError,), seeds, held_bytes_per_byte=4_096, input_bytes_max=8_192)
