"""What can go wrong in a world, each with a name. A plan of faults is data: printed, edited, replayed."""

from __future__ import annotations

import fnmatch
import random
import tomllib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
from blake3 import blake3

from p2pcompute.errors import UsageError
from p2pcompute.protocol.commands import Withdraw
from simnet.disk import CrashState
from simnet.links import REGIONS
from simnet.network import Endpoint

if TYPE_CHECKING:
    from simnet.node import Node
    from simnet.world import World

Ms = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
DOWN_MS: Final = 700
DRAIN_MS: Final = 2_000
"""What a node that leaves gives its runs to end."""
FAULTS_MAX: Final = 100_000


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """One thing that goes wrong. `nodes` are names with * and ? for any characters; times are virtual milliseconds
    since the start of the world."""

    pausing: ClassVar[bool] = False

    @property
    def ends_ms(self) -> int:
        """When everything is as before, as far as the fault goes."""
        raise NotImplementedError

    def begin(self, world: World) -> None:
        """Take effect: called at the start of the world; faults that come later schedule themselves."""
        raise NotImplementedError


class Spell(Fault, frozen=True):
    """A fault that lasts for a while."""

    at_ms: Ms = 0
    for_ms: Ms = 0

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.for_ms

    def begin(self, world: World) -> None:
        world.schedule(self.at_ms, self._begin, world)
        world.schedule(self.ends_ms, self._end, world)

    def _begin(self, world: World) -> None:
        raise NotImplementedError

    def _end(self, world: World) -> None:
        raise NotImplementedError


class Crash(Fault, frozen=True):
    """Nodes lose power and come back. What their disks keep of the last writes: `clean`, `torn` or `lost`."""

    nodes: str
    at_ms: Ms
    down_ms: Ms = DOWN_MS
    disk: CrashState = CrashState.LOST

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.down_ms

    def begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            world.schedule(self.at_ms, world.crash, node, self.disk, self.down_ms)


class CrashAtRecord(Fault, frozen=True):
    """A node loses power when its journal record of this number is on its way to the disk, and comes back."""

    nodes: str
    record: Annotated[int, msgspec.Meta(ge=0)]
    down_ms: Ms = DOWN_MS
    disk: CrashState = CrashState.LOST

    @property
    def ends_ms(self) -> int:
        return self.down_ms

    def begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.disk.crash_at = self.record, self.disk
            node.disk.on_crash = lambda state, node=node: world.crash(node, state, self.down_ms)  # type: ignore[misc]


class Restore(Fault, frozen=True):
    """Nodes go on in another home, restored from a backup of this very moment: with a new epoch."""

    nodes: str
    at_ms: Ms
    down_ms: Ms = DOWN_MS

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.down_ms

    def begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            world.schedule(self.at_ms, self._move, world, node)

    def _move(self, world: World, node: Node) -> None:
        node.epoch = blake3(node.epoch + node.secret).digest(length=8)
        world.crash(node, CrashState.CLEAN, self.down_ms)


class Absence(Spell, frozen=True):
    """Nodes take their offer back, end what they do, leave, and come again: a home machine that is needed."""

    nodes: str = "*"
    drain_ms: Ms = DRAIN_MS

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.command(Withdraw(drain=True))
            world.schedule(self.at_ms + self.drain_ms, world.leave, node)

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            world.boot(node)

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.drain_ms + self.for_ms


class Quit(Fault, frozen=True):
    """Nodes take their offer back, end what they do, and leave for good."""

    nodes: str
    at_ms: Ms
    drain_ms: Ms = 2_000

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.drain_ms

    def begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            world.schedule(self.at_ms, node.command, Withdraw(drain=True))
            world.schedule(self.ends_ms, world.leave, node)


class Churn(Spell, frozen=True):
    """Nodes come and go, each in its own time: up for `up_ms` and away for `away_ms` on average (exponentially
    distributed, drawn from the seed); in good order, or (`abrupt`) as if somebody pulled the plug."""

    nodes: str = "*"
    up_ms: Ms = 10_000
    away_ms: Ms = 5_000
    abrupt: bool = False

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.for_ms + DRAIN_MS

    def begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            rng, at_ms = random.Random(f"churn/{world.seed}/{node.name}"), float(self.at_ms)
            while (at_ms := at_ms + rng.expovariate(1 / max(1, self.up_ms))) < self.at_ms + self.for_ms:
                back_ms = min(at_ms + rng.expovariate(1 / max(1, self.away_ms)), self.at_ms + self.for_ms)
                self._away(world, node, int(at_ms), int(back_ms))
                at_ms = back_ms

    def _away(self, world: World, node: Node, at_ms: int, back_ms: int) -> None:
        if self.abrupt:
            world.schedule(at_ms, world.crash, node, CrashState.LOST, back_ms - at_ms)
            return
        world.schedule(at_ms, node.command, Withdraw(drain=True))
        world.schedule(at_ms + DRAIN_MS, world.leave, node)
        world.schedule(back_ms + DRAIN_MS, world.boot, node)


class Pause(Spell, frozen=True):
    """Nodes stand still, as a process does that is stopped or a machine that sleeps. Only on the wheel driver."""

    pausing: ClassVar[bool] = True
    nodes: str = "*"

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.pause()

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.resume()


class Partition(Spell, frozen=True):
    """Nothing passes between `nodes` and all others; with `one_way`, nothing passes out."""

    nodes: str = "*"
    one_way: bool = False

    def _barrier(self, a: Endpoint, b: Endpoint) -> bool:
        a_in, b_in = _fits(a, self.nodes), _fits(b, self.nodes)
        return a_in and not b_in if self.one_way else a_in != b_in

    def _begin(self, world: World) -> None:
        world.network.raise_barrier(self._barrier)

    def _end(self, world: World) -> None:
        world.network.remove_barrier(self._barrier)


class Outage(Spell, frozen=True):
    """A region of the world is cut off from all others."""

    region: str = REGIONS[0]

    def _barrier(self, a: Endpoint, b: Endpoint) -> bool:
        number = REGIONS.index(self.region)
        return (a.region == number) != (b.region == number)

    def _begin(self, world: World) -> None:
        world.network.raise_barrier(self._barrier)

    def _end(self, world: World) -> None:
        world.network.remove_barrier(self._barrier)


class Storm(Spell, frozen=True):
    """All lines get worse: shares of frames lost, doubled and late, of requests lost, and more jitter."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    request_loss: float = 0.0
    jitter_ms: Ms = 10
    uplink_kb_s: Ms = 0

    def _begin(self, world: World) -> None:
        changes = {name: getattr(self, name) for name in Storm.__struct_fields__ if name not in ("at_ms", "for_ms")}
        world.network.set_links(msgspec.structs.replace(world.scenario.links, **changes))

    def _end(self, world: World) -> None:
        world.network.set_links(world.scenario.links)


class Lag(Spell, frozen=True):
    """Everything to and from these nodes takes longer, on connections made from now on."""

    nodes: str = "*"
    extra_ms: Ms = 200

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.lag_ms += self.extra_ms

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.lag_ms -= self.extra_ms


class Skew(Spell, frozen=True):
    """The wall clocks of these nodes are wrong by so much."""

    nodes: str = "*"
    by_ms: int = 0

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.skew_ms += self.by_ms

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.skew_ms -= self.by_ms


class SlowDisk(Spell, frozen=True):
    """Every write takes longer by this factor."""

    nodes: str = "*"
    factor: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.disk.slowness = self.factor

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.disk.slowness = 1


class Straggle(Spell, frozen=True):
    """Every job takes longer by this factor."""

    nodes: str = "*"
    factor: float = 10.0

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.slowness *= self.factor

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.slowness /= self.factor


class Nat(Spell, frozen=True):
    """Nobody can dial these nodes; they dial out."""

    nodes: str = "*"

    def _begin(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.dialable = False

    def _end(self, world: World) -> None:
        for node in matching(world, self.nodes):
            node.dialable = True


AnyFault = (
    Crash
    | CrashAtRecord
    | Restore
    | Absence
    | Quit
    | Churn
    | Pause
    | Partition
    | Outage
    | Storm
    | Lag
    | Skew
    | SlowDisk
    | Straggle
    | Nat
)
Plan = tuple[AnyFault, ...]


def _fits(node: Endpoint, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(node.name, one.strip()) for one in pattern.split(","))


def matching(world: World, pattern: str) -> Iterator[Node]:
    """The nodes whose names fit a pattern, or one of several with commas between them."""
    return (node for node in world.nodes if _fits(node, pattern))


def check_plan(plan: Iterable[AnyFault], names: Iterable[str]) -> None:
    """Raise UsageError for a fault that names nobody, or a region that does not exist."""
    known = list(names)
    for fault in plan:
        pattern = getattr(fault, "nodes", "*")
        if not any(fnmatch.fnmatchcase(name, one.strip()) for name in known for one in pattern.split(",")):
            raise UsageError(f"the fault {type(fault).__name__.lower()} names {pattern!r}, and no node is called so")
        if isinstance(fault, Outage) and fault.region not in REGIONS:
            raise UsageError(f"there is no region {fault.region!r}; there are: {', '.join(REGIONS)}")


def encode_plan(plan: Plan) -> str:
    """For people: JSON, a fault in each line."""
    return "[\n" + ",\n".join("  " + msgspec.json.encode(fault).decode() for fault in plan) + "\n]\n"


def decode_plan(text: str) -> Plan:
    """A plan as `encode_plan` writes it, or as TOML with [[faults]]. Raises UsageError."""
    try:
        if text.lstrip().startswith("["):
            plan = msgspec.json.decode(text, type=Plan) if not text.lstrip().startswith("[[") else _of_toml(text)
        else:
            plan = _of_toml(text)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"this is no plan of faults: {error}") from None
    if len(plan) > FAULTS_MAX:
        raise UsageError(f"a plan has at most {FAULTS_MAX} faults")
    return plan


def _of_toml(text: str) -> Plan:
    return msgspec.convert(tomllib.loads(text).get("faults", []), type=Plan)
