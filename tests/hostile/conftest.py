from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from tests.cli.command import serving
from tests.hostile.node import Victim


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One node for all attacks: it must take them one after the other."""
    with serving(tmp_path_factory.mktemp("victim") / "home", "--threads", "1") as provider:
        found = Victim(provider)
        trio.run(found.is_up)
        yield found
