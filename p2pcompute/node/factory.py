"""Opens nodes for those above: in this process, or attached to the one that runs on the home already."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import trio

from p2pcompute.compute.compiler import Compiler
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.engine import Engine
from p2pcompute.compute.sandbox import available
from p2pcompute.errors import HomeError, SandboxError, UsageError
from p2pcompute.node.api import LocalNode, NodeApi
from p2pcompute.node.config import Config, load_config, with_changes
from p2pcompute.node.control import RemoteNode, serve_control
from p2pcompute.node.fleet import muster
from p2pcompute.node.keyring import Keyring, Passphrase, create_keyring, load_keyring
from p2pcompute.node.peer import Peer, open_peer
from p2pcompute.node.selling import appraise, open_nvml, sell
from p2pcompute.node.service import open_service
from p2pcompute.storage.home import Home, Layout
from p2pcompute.storage.keystore import Keystore
from p2pcompute.storage.passphrase import find_passphrase

HOME_VARIABLE: Final = "P2PCOMPUTE_HOME"
DRAIN_S: Final = 10.0
"""How long a stopping provider lets its running jobs end."""

EngineWrap = Callable[[Engine], Engine]


def default_home() -> Path:
    """P2PCOMPUTE_HOME, or the XDG data directory."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "p2pcompute"


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def create_home(root: Path, passphrase: str, config_text: str, network: str) -> bytes:
    """A new home with keys and configuration; the node's public key. Raises HomeError when there is one already."""
    half_made = home_exists(root) and not Keystore(Layout(root).keys).names()  # init was killed before it made keys
    with Home.open(root) if half_made else Home.create(root) as home:
        if config_text:
            home.layout.config.write_text(config_text)
        store = Keystore(home.layout.keys)
        return create_keyring(home.layout, passphrase, network=network, wall_ms=wall_ms(), store=store).node.public


def home_exists(root: Path) -> bool:
    """Whether a whole home lies there."""
    return Layout(root).marker.exists()


def refuse_existing_home(root: Path) -> None:
    """Raises HomeError when there is a home already: to be said before anything is asked."""
    if home_exists(root) and Keystore(Layout(root).keys).names():
        raise HomeError(f"{root} is a home already; use it, or choose another directory with --home")


def running_node(root: Path) -> NodeApi:
    """The node that another process runs on this home; its calls raise HomeError when there is none."""
    if not home_exists(root):
        raise HomeError(f"there is no home at {root}; make one with: p2pcompute init --home {root}")
    return RemoteNode(Layout(root).control_socket)


def is_here(node: NodeApi) -> bool:
    """Whether a node runs in this process."""
    return isinstance(node, LocalNode)


def passphrase_source(given: str | None, prompt: Callable[[], str] | None) -> Passphrase:
    """A passphrase that is only looked for when a key needs one."""
    return lambda: find_passphrase(os.environ, given=given, prompt=prompt)


def ensure_home(root: Path, passphrase: str, network: str) -> None:
    """Make the home unless it is there already."""
    with contextlib.suppress(HomeError):
        if not Layout(root).marker.exists():
            create_home(root, passphrase, "", network)


@contextlib.asynccontextmanager
async def open_requester(
    root: Path, passphrase: Passphrase, changes: Mapping[str, object], *, attach: bool = True
) -> AsyncIterator[NodeApi]:
    """A node that submits, and recomputes blocks of results. When another process runs on this home, its node is used,
    with its own configuration: of `changes`, bootstrap addresses are connected to, and the network must be its. Raises
    HomeError, LocalError, UsageError."""
    layout = Layout(root)
    config = with_changes(load_config(layout.config), {"listen": ("/ip4/127.0.0.1/tcp/0",), **changes})
    try:
        home = Home.open(root)
    except HomeError:
        if not (attach and layout.control_socket.exists()):
            raise
        remote = RemoteNode(layout.control_socket)
        await _agree(remote, changes)
        yield remote
        return
    with home:
        keyring = _keyring(home, passphrase, config)
        engine = CpuEngine(threads=config.threads, memory_bytes_max=config.memory_bytes)  # its worker starts at need
        async with open_peer(home, keyring, config, [engine]) as peer:
            yield LocalNode(peer)


async def _agree(remote: RemoteNode, changes: Mapping[str, object]) -> None:
    """Ask of a running node what it can still do for these changes. Raises UsageError for what it cannot."""
    network, serving = changes.get("network"), (await remote.status())["network"]
    if network not in (None, serving):
        raise UsageError(f"the node that runs on this home is of network {serving!r}, not {network!r}")
    addresses = changes.get("bootstrap")
    for address in addresses if isinstance(addresses, tuple) else ():
        await remote.act("connect", address)


@contextlib.asynccontextmanager
async def open_provider(
    root: Path, passphrase: Passphrase, changes: Mapping[str, object], *, wrap: EngineWrap | None = None
) -> AsyncIterator[tuple[Peer, LocalNode]]:
    """A node that serves: engines started and measured, the offer published, the control socket open. At the end it
    drains. `wrap` replaces each engine by one of the caller's own around it."""
    layout = Layout(root)
    config = with_changes(load_config(layout.config), dict(changes))
    with Home.open(root) as home, open_nvml() as (nvml, missing):
        keyring = _keyring(home, passphrase, config)
        report = available()
        if not report.is_full:
            raise SandboxError(f"this machine cannot jail strangers' kernels: {'; '.join(report.missing)}")
        fleet = muster(config, nvml, missing)
        engines = [wrap(engine) if wrap is not None else engine for engine in fleet.engines]
        checkers = [cpu_engine(config.memory_bytes)] if fleet.gpus else []
        async with open_peer(home, keyring, config, engines, checkers) as peer, open_service() as nursery:
            node = LocalNode(peer)
            await nursery.start(serve_control, node, layout.control_socket)
            terms, failed = await appraise(fleet)
            peer.remarks += [f"not sold: {passed}" for passed in (*fleet.passed, *failed)]
            await nursery.start(sell, peer, fleet, terms, nvml)
            try:
                yield peer, node
            finally:
                with trio.CancelScope(shield=True):
                    await peer.drain(DRAIN_S)


def _keyring(home: Home, passphrase: Passphrase, config: Config) -> Keyring:
    store = Keystore(home.layout.keys)
    return load_keyring(home.layout, passphrase, network=config.network, wall_ms=wall_ms(), store=store)


def cpu_engine(memory_bytes: int) -> CpuEngine:
    """A jailed CPU engine on all processors; close it with `aclose`."""
    return CpuEngine(threads=os.cpu_count() or 1, memory_bytes_max=memory_bytes)


def compiler() -> Compiler:
    """A jailed CUDA compiler; use it as an async context manager."""
    return Compiler()
