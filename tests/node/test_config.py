from __future__ import annotations

from pathlib import Path

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.identity.names import peer_id
from p2pcompute.node.config import Config, load_config, parse_config, with_changes


def test_a_home_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config.toml") == Config()


def test_a_file_sets_what_it_names() -> None:
    assert parse_config('slots = 3\nlisten = ["/ip4/127.0.0.1/tcp/1"]', "c").slots == 3


@pytest.mark.parametrize("text", ["slots = 0", "slot = 1", "slots = 'x'", "slots = ", "price_per_device_s = -1"])
def test_a_bad_file_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"home/config\.toml"):
        parse_config(text, "home/config.toml")


def test_changes_are_checked_like_a_file() -> None:
    assert with_changes(Config(), {"slots": 2, "region": None}).slots == 2
    with pytest.raises(UsageError, match="slots"):
        with_changes(Config(), {"slots": 0})


@pytest.mark.parametrize("name", ["direct", "relays"])
def test_peers_that_are_named_have_an_id(name: str) -> None:
    named = f"/ip4/192.0.2.1/tcp/1/p2p/{peer_id(bytes(32))}"
    assert getattr(parse_config(f"{name} = ['{named}']", "x"), name) == (named,)
    for text in ("/ip4/192.0.2.1/tcp/1", "nonsense"):
        with pytest.raises(UsageError):
            parse_config(f"{name} = ['{text}']", "x")
