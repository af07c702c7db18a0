"""What could keep a node from working: each finding with its cause and the next step."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from p2pcompute.compute.compiler import Compiler
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.measure import measure
from p2pcompute.compute.sandbox import available
from p2pcompute.errors import P2PComputeError
from p2pcompute.node import custody
from p2pcompute.node.config import Config, load_config
from p2pcompute.node.control import RemoteNode
from p2pcompute.node.doctor_gpu import examine_gpus
from p2pcompute.node.finding import Finding
from p2pcompute.node.usage import Inputs
from p2pcompute.storage.home import Home, Layout
from p2pcompute.storage.keystore import Keystore
from p2pcompute.storage.passphrase import find_passphrase
from p2pcompute.transport.address import parse_address

KERNEL: Final = 'extern "C" __global__ void probe(int *x) { x[threadIdx.x] = threadIdx.x; }'
ENGINE_BYTES: Final = 64 * 2**20
COMPILER_PACKAGES: Final = "nvidia-cuda-nvrtc-cu12==12.4.127 nvidia-cuda-runtime-cu12==12.4.127"
"""The compiler, and headers that it is given (pyproject.toml)."""


async def examine(root: Path) -> AsyncIterator[Finding]:
    """Look at everything once; changes nothing."""
    yield Finding("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}")
    yield _sandbox()
    yield await _compiler()
    yield await _engine()
    async for finding in examine_gpus():
        yield finding
    yield _input()
    layout = Layout(root)
    if not layout.marker.exists():
        yield Finding("home", f"there is no home at {root}", f"p2pcompute init --home {root}")
        return
    running = _home(root)
    yield running
    try:
        config = load_config(layout.config)
    except P2PComputeError as error:
        yield Finding("configuration", str(error), f"mend {layout.config}")
        return
    yield Finding("configuration", f"network {config.network}, {len(config.bootstrap)} bootstrap addresses")
    yield _keys(layout)
    yield _delegation(root)
    if "in use" not in running.found:
        for address in config.listen:
            yield _port(address)
    else:
        yield await _reachability(layout)
    for finding in _bootstraps(config):
        yield finding


async def _reachability(layout: Layout) -> Finding:
    """What the running node knows of it."""
    try:
        status = await RemoteNode(layout.control_socket).status()
    except P2PComputeError as error:
        return Finding("reachability", str(error), "wait until the node has started", hint=True)
    found, fix = (msgspec.convert(status[name], str) for name in ("reachability", "remedy"))
    return Finding("reachability", found, fix, hint=True)


def _sandbox() -> Finding:
    report = available()
    if report.is_full:
        return Finding("sandbox", f"Landlock {report.landlock_abi} and seccomp")
    return Finding("sandbox", "; ".join(report.missing), "this machine can submit work, but not serve it")


async def _compiler() -> Finding:
    try:
        async with Compiler() as compiler:
            compiled = await compiler.compile({"probe.cu": KERNEL}, "probe.cu")
    except P2PComputeError as error:
        fix = f"{sys.executable} -m pip install --force-reinstall {COMPILER_PACKAGES}"
        return Finding("compiler", str(error), fix)
    return Finding("compiler", f"works, toolchain {compiled.toolchain[:16]}")


async def _engine() -> Finding:
    engine = CpuEngine(threads=os.cpu_count() or 1, memory_bytes_max=ENGINE_BYTES)
    try:
        speed = await measure(engine)
    except P2PComputeError as error:
        return Finding("CPU engine", str(error), "p2pcompute kernel check saxpy   tells more")
    finally:
        await engine.aclose()
    return Finding("CPU engine", f"{speed.mflops_f32 / 1000:.1f} GFLOP/s, copies {speed.mbytes_per_s / 1000:.1f} GB/s")


def _home(root: Path) -> Finding:
    try:
        with Home.open(root):
            return Finding("home", f"{root} is whole, and nobody uses it")
    except P2PComputeError as error:
        text = str(error)
        if "in use" in text:
            return Finding("home", text.partition(";")[0])
        cause, _, fix = text.partition("; ")
        return Finding("home", cause, fix or "restore it from a backup with: p2pcompute restore")


def _keys(layout: Layout) -> Finding:
    store = Keystore(layout.keys)
    try:
        names = store.names()
        protected = [name for name in names if store.protected(name)]
        if not protected:
            return Finding("keys", f"{', '.join(names)}: unencrypted", "p2pcompute key passphrase", hint=True)
        passphrase = find_passphrase(os.environ, prompt=lambda: "")
        if not passphrase:
            fix = "set P2PCOMPUTE_PASSPHRASE_FILE to start without a person"
            return Finding("keys", f"{', '.join(names)}: encrypted, passphrase asked at start", fix, hint=True)
        for name in protected:
            store.load(name, passphrase)
    except P2PComputeError as error:
        return Finding("keys", str(error), "give the right passphrase, or restore the keys from a backup")
    return Finding("keys", f"{', '.join(names)}: encrypted, and the passphrase fits")


def _delegation(root: Path) -> Finding:
    fix = "p2pcompute key delegate, with the operator's home, and p2pcompute key import here"
    try:
        told = custody.describe(root)["delegation"]
    except P2PComputeError as error:
        return Finding("delegation", str(error), fix)
    if not isinstance(told, dict):
        return Finding("delegation", "none: the node is its own operator")
    if "fault" in told:
        return Finding("delegation", str(told["fault"]), fix)
    return Finding("delegation", f"by {told['operator']}, until {told['until']}")


def _port(text: str) -> Finding:
    """Can this address be listened on?"""
    try:
        address = parse_address(text)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except P2PComputeError as error:
        return Finding("port", str(error), "p2pcompute config set listen /ip4/0.0.0.0/tcp/9471")
    except OSError as error:
        return Finding("port", f"{text}: {error.strerror}", "p2pcompute config set listen /ip4/0.0.0.0/tcp/0")
    return Finding("port", f"{text} is free")


def _bootstraps(config: Config) -> list[Finding]:
    """Is somebody there?"""
    found = []
    for text in config.bootstrap:
        try:
            address = parse_address(text)
            with socket.create_connection((address.host, address.port), timeout=2):
                found.append(Finding("bootstrap", f"{text} answers"))
        except (P2PComputeError, OSError) as error:
            fix = "ask its operator, or name another one: p2pcompute config set bootstrap ADDRESS"
            found.append(Finding("bootstrap", f"{text}: {error}", fix))
    return found


def _input() -> Finding:
    """How the node would notice that its owner is there."""
    with contextlib.closing(Inputs()) as inputs:
        sources = ", ".join(inputs.sources)
    if not sources:
        return Finding("idle", "nothing here tells when somebody uses the machine", "serve --when HOURS", hint=True)
    return Finding("idle", f"use by its owner shows at {sources}")
