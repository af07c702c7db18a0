from __future__ import annotations

import pytest

from p2pcompute.compute import source
from p2pcompute.wire import limits


def test_the_toolchain_id_is_short_and_stable() -> None:
    first = source.toolchain_id.__wrapped__("1")
    assert first == source.toolchain_id.__wrapped__("1")
    assert len(first) <= limits.LABEL_BYTES_MAX


def test_the_toolchain_id_changes_with_every_ingredient(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {source.toolchain_id.__wrapped__(version) for version in ("1", "2")}
    headers = source.served_headers()
    monkeypatch.setattr(source, "served_headers", lambda: {**headers, source.MATH_HEADER: "// nothing"})
    ids.add(source.toolchain_id.__wrapped__("1"))
    monkeypatch.setattr(source, "OPTIONS", ("--fmad=true",))
    ids.add(source.toolchain_id.__wrapped__("1"))
    assert len(ids) == 4


def test_headers_name_their_siblings_in_full() -> None:
    headers = source.served_headers()
    groups = [name for name in headers if name.startswith("cooperative_groups/")]
    assert groups
    assert '#include "cooperative_groups/details/info.h"' in headers["cooperative_groups/details/driver_abi.h"]
