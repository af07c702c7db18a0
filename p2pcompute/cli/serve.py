"""A provider in the foreground."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

from p2pcompute.cli import output
from p2pcompute.cli.interrupt import run_until_signal
from p2pcompute.cli.money import parse_bytes, parse_credits
from p2pcompute.cli.options import COMMON, Common


def serve(
    *,
    listen: list[str] | None = None,
    announce: list[str] | None = None,
    bootstrap: list[str] | None = None,
    price: str | None = None,
    price_gb: str | None = None,
    floor: str | None = None,
    slots: int | None = None,
    engine: str | None = None,
    gpu: list[str] | None = None,
    when: str | None = None,
    celsius_max: int | None = None,
    watts_max: int | None = None,
    threads: int | None = None,
    memory: str | None = None,
    region: str | None = None,
    network: str | None = None,
    common: Common = COMMON,
) -> int:
    """Offer this machine, until Ctrl-C. Running jobs get ten seconds to end; a second Ctrl-C stops at once.

    What is not given comes from config.toml in the home. The first lines on stdout are the addresses to reach this
    node; with --json, every line is one object with an "event", and the first is "listening".

    Args:
        listen: Address to listen on, like /ip4/0.0.0.0/tcp/9471; may be given several times.
        announce: Address to publish instead of those listened on.
        bootstrap: Address of a peer to join through; may be given several times.
        price: Credits per device-second.
        price_gb: Credits per gigabyte (10^9 bytes) of inputs, PTX, manifest and outputs.
        floor: Least credits per device-second for a demand that nobody meets at the price.
        slots: Jobs at a time, on processors; a GPU runs one.
        engine: What to offer: cpu, cuda, or auto for GPUs where there are any.
        gpu: UUID of a GPU to offer, as nvidia-smi -L shows it; may be given several times. All of one model otherwise.
        when: always, idle (while nobody uses this machine), hours like 22:00-07:00, or several of these with commas.
        celsius_max: Temperature of a GPU above which nothing runs until it has cooled.
        watts_max: Power that a GPU may draw.
        threads: Processor threads for all slots together.
        memory: Memory for each job's buffers, like 4GiB.
        region: Label of where this machine is.
        network: Name of the network.
    """
    changes: dict[str, object] = {
        "listen": listen,
        "announce": announce,
        "bootstrap": bootstrap,
        "price_per_device_s": parse_credits(price) if price is not None else None,
        "price_per_gb": parse_credits(price_gb) if price_gb is not None else None,
        "price_floor": parse_credits(floor) if floor is not None else None,
        "slots": slots,
        "engine": engine,
        "gpus": gpu,
        "when": when,
        "celsius_max": celsius_max,
        "watts_max": watts_max,
        "threads": threads,
        "memory_bytes": parse_bytes(memory) if memory is not None else None,
        "region": region,
        "network": network,
    }
    stopped: list[bool] = []
    try:
        run_until_signal(lambda: _serve(common, changes, stopped))
    except KeyboardInterrupt:
        if not stopped:  # interrupted before it served, or while it drained
            raise
    if common.json:
        output.put_json({"event": "stopped"})
    return 0


async def _serve(common: Common, changes: Mapping[str, object], stopped: list[bool]) -> None:
    import trio

    from p2pcompute.node import factory

    async with factory.open_provider(common.root, common.passphrase(), changes) as (_, node), node.events() as events:
        status = await node.status()
        if common.json:
            output.put_json({"event": "listening", "addresses": status["addresses"], "peer": status["peer"]})
        else:
            addresses = status["addresses"]
            assert isinstance(addresses, list)
            for address in addresses:
                output.put(str(address))
            output.say("Serving; stop with Ctrl-C.")
        for name, fields in _at_first(status):
            _tell(name, fields, as_json=common.json)
        try:
            async for event in events:
                tell = functools.partial(_tell, event.name, output.event_fields(event.fields), as_json=common.json)
                # In a thread: whoever reads our output may stop reading, and must not stop the node by that.
                await trio.to_thread.run_sync(tell, abandon_on_cancel=True)  # type: ignore[call-arg]  # old stubs
        finally:
            output.say("Stopping.")
            stopped.append(True)


def _at_first(status: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
    """What was to be told before anybody listened, as events."""
    remarks, paused = status["remarks"], status["paused"]
    assert isinstance(remarks, list)
    told: list[tuple[str, Mapping[str, object]]] = [("node.remark", {"text": text}) for text in remarks]
    return [*told, *([("node.paused", {"reason": paused})] if paused else [])]


def _tell(name: str, fields: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        output.put_json({"event": name, **fields})
    else:
        said = " ".join(f"{key}={value}" for key, value in fields.items())
        output.say(f"{time.strftime('%H:%M:%S')} {name} {said}")
