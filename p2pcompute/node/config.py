"""What an operator can set: config.toml in the home, overridden by the command line."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from p2pcompute.errors import UsageError
from p2pcompute.node.sharing import parse_when
from p2pcompute.protocol.lease import CAPS
from p2pcompute.protocol.ledger import CREDIT
from p2pcompute.storage.files import replace_file
from p2pcompute.transport.address import parse_address
from p2pcompute.wire import limits
from p2pcompute.wire.documents import Count, Label, Labels, Money

DEFAULT_NETWORK = "main"
DEFAULT_PORT = 9471
"""Unassigned by IANA."""
BLOB_BYTES_PER_S = 128 * limits.MIB
"""A gigabit line is filled by one peer, a faster one is shared."""
BLOB_BYTES_PER_S_MIN = 2**18
"""A chunk a second: all transfers of one peer together move well within sources.STALL_S."""
SETTLEMENT_ARGUMENTS_MAX = 64
Seconds = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
Argument = Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices are micro-credits, memory is bytes. `price_floor`: of a device-second, for demands; 0: none is answered
    below the price. Lists of multiaddrs: `listen` to bind, `announce` to publish instead,
    `bootstrap` to join through, `direct` for peers by agreement (always connected, never judged), `relays` to be
    reached through. `relay`: let peers that cannot be dialled be reached through this node. `mdns`: find peers of the
    local network, unless only loopback is listened on. `blob_bytes_per_s`: of inputs and outputs to one peer.
    `jurisdictions`, `watts` and `gco2_per_kwh` are stated in the offer; 0 states nothing. `credit`, `credit_first`,
    `credit_strangers`: risked on one at the most, on one who never paid, on all beyond what they paid, in a day.
    `settle_at`: of cheques between this node and another, before value is to leave for them; 0: it never is.
    `settlement`: the command, and its arguments, that has value leave for this node's cheques.
    `engine`: `cpu`, `cuda`, or `auto` for GPUs where there are any; `gpus`: UUIDs of those to sell, all when empty.
    `when`: `always`, `idle`, hours like `22:00-07:00`, or several with commas; `idle_s`, `resume_s`, `cpu_percent_max`,
    `gpu_percent_max`, `celsius_max` and `watts_max` are those of sharing.Bounds; `patience_s`: so long an interrupted
    job may wait. `leases_per_requester` and `leases_strangers`: slots held without work by one, and by all who never
    paid here; `renewals`: in a row."""

    network: Label = DEFAULT_NETWORK
    listen: tuple[str, ...] = (f"/ip4/0.0.0.0/tcp/{DEFAULT_PORT}",)
    announce: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    relay: bool = True
    mdns: bool = True
    region: Label = "any"
    jurisdictions: Labels = ()
    watts: Count = 0
    gco2_per_kwh: Count = 0
    engine: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: tuple[Label, ...] = ()
    when: str = "always"
    idle_s: Seconds = 300
    resume_s: Seconds = 30
    patience_s: Seconds = 60
    cpu_percent_max: Annotated[int, msgspec.Meta(ge=0, le=100)] = 25
    gpu_percent_max: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
    celsius_max: Annotated[int, msgspec.Meta(ge=0, le=150)] = 0
    watts_max: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    slots: Annotated[int, msgspec.Meta(ge=1, le=limits.SLOTS_MAX)] = 1
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    memory_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=limits.MEMORY_BYTES_MAX)] = 4 * limits.GIB
    blob_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 16 * limits.GIB
    blob_bytes_per_s: Annotated[int, msgspec.Meta(ge=BLOB_BYTES_PER_S_MIN, le=2**40)] = BLOB_BYTES_PER_S
    device_ms_max: Annotated[int, msgspec.Meta(ge=1, le=limits.DEVICE_MS_MAX)] = 3_600_000
    price_per_device_s: Money = 1_000_000
    price_per_gb: Money = 10_000
    price_minimum: Money = 1_000
    price_floor: Money = 0
    credit: Money = CREDIT.paying
    credit_first: Money = CREDIT.first
    credit_strangers: Money = CREDIT.strangers
    leases_per_requester: Annotated[int, msgspec.Meta(ge=1, le=limits.SLOTS_MAX)] = CAPS.per_requester
    leases_strangers: Annotated[int, msgspec.Meta(ge=1, le=limits.SLOTS_MAX)] = CAPS.strangers
    settle_at: Money = 0
    settlement: Annotated[tuple[Argument, ...], msgspec.Meta(max_length=SETTLEMENT_ARGUMENTS_MAX)] = ()
    renewals: Annotated[int, msgspec.Meta(ge=0, le=limits.RENEWALS_MAX)] = CAPS.renewals
    provide: bool = True


def load_config(path: Path) -> Config:
    """The configuration in a TOML file; the defaults when there is none. Raises UsageError with file and cause."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, name: str) -> Config:
    """Raises UsageError naming the bad line or field."""
    try:
        return _checked(msgspec.convert(tomllib.loads(text), Config))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{name}: {error}") from error


def _checked(config: Config) -> Config:
    """Peers that are named must be, and hours hours. Raises UsageError."""
    parse_when(config.when)
    for name in ("direct", "relays"):
        for text in getattr(config, name):
            if parse_address(text).peer is None:
                raise UsageError(f"{name}: {text!r} does not end in /p2p/ID of the peer")
    return config


def dump_config(values: Mapping[str, object]) -> str:
    """TOML of these fields: strings, integers, booleans and lists of strings, which JSON writes as TOML reads them."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def set_field(path: Path, name: str, text: str) -> object:
    """Set one field of a configuration file to a TOML value, or to `text` itself when it is none; the value set.

    Comments in the file are lost. Raises UsageError when the result would be no configuration.
    """
    if name not in Config.__struct_fields__:
        raise UsageError(f"there is no setting {name[:64]!r}; there are {', '.join(Config.__struct_fields__)}")
    load_config(path)
    values: dict[str, object] = tomllib.loads(path.read_text()) if path.exists() else {}
    try:
        values[name] = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        values[name] = text
    if isinstance(msgspec.to_builtins(Config())[name], tuple | list) and isinstance(values[name], str):
        values[name] = [values[name]]
    parse_config(dump_config(values), name)
    replace_file(path, dump_config(values).encode())
    return values[name]


def with_changes(config: Config, changes: dict[str, object]) -> Config:
    """`config` with the given fields replaced (None leaves one as it is), checked again. Raises UsageError."""
    values = msgspec.to_builtins(config) | {k: v for k, v in changes.items() if v is not None}
    try:
        return _checked(msgspec.convert(values, Config))
    except msgspec.ValidationError as error:
        raise UsageError(str(error)) from error
