"""The artifact that engines load: canonical PTX, and nothing else (docs/spec/manifest.md, M4)."""

from __future__ import annotations

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.errors import PtxError


def load_artifact(data: bytes) -> ptx.Module:
    """Raises PtxError for anything but canonical PTX."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise PtxError("the PTX is not ASCII text") from error
    module = ptx.parse(text)
    if canonical_form(module)[0] != text:
        raise PtxError("the PTX is not in canonical form; engines load nothing else")
    return module


def find_entry(module: ptx.Module, name: str) -> ptx.Entry:
    """Raises PtxError for an unknown entry."""
    if name not in module.entries:
        known = ", ".join(sorted(module.entries)[:8])
        raise PtxError(f"the PTX has no entry {name[:64]!r}; it has {known}")
    return module.entries[name]


def warm_text() -> bytes:
    """Canonical PTX of a kernel that does nothing."""
    header = ".version 8.4\n.target sm_75\n.address_size 64\n"
    return ptx.canonicalise(ptx.parse(f"{header}.visible .entry warm()\n{{\nret;\n}}\n")).encode()
