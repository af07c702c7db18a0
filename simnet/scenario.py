"""A scenario: everything about a world but its seed. Written as TOML in simnet/scenarios/."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec

from p2pcompute.errors import UsageError
from p2pcompute.wire.policy import Policy, Scheme, policy_fault
from simnet.characters import character_of
from simnet.faults import Plan, check_plan
from simnet.links import LATENCIES, Links

FOLDER: Final = Path(__file__).parent / "scenarios"
NODES_MAX: Final = 100_000

Count = Annotated[int, msgspec.Meta(ge=0, le=NODES_MAX)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tasks. The first is submitted at `first_ms`, the others `every_ms` apart ("even"), as a Poisson process of
    that mean ("poisson"), or all at once ("burst"). A run takes `run_ms_min` to `run_ms_max` on an ordinary machine."""

    tasks: Count = 3
    arrival: str = "even"
    first_ms: Count = 2_000
    every_ms: Count = 400
    verify: str = "replicate"
    """Or "adaptive", "sample" or "restricted"."""
    replicas: int = 2
    quorum: int = 2
    samples: Count = 0
    blocks: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1
    """Thread blocks of a task's one launch."""
    referee: bool = False
    """Whether a recomputed block decides between replicas that differ, instead of a majority."""
    tolerant: bool = False
    """Whether outputs are compared with a tolerance: then every machine has bits of its own."""
    kernels: Count = 0
    """How many different kernels the tasks have; 0: each its own."""
    run_ms_min: Annotated[int, msgspec.Meta(ge=1)] = 20
    run_ms_max: Annotated[int, msgspec.Meta(ge=1)] = 400
    output_kb: Count = 4
    outputs: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    traps: Share = 0
    """The share of tasks whose kernel traps, on every machine."""
    stops: Share = 0
    """The share of tasks that their users stop after `stop_after_ms`."""
    stop_after_ms: Count = 500
    named: Count = 0
    """How many honest operators, those of the first providers, are named as the only ones that may compute; 0: anybody
    may."""
    session: Count = 0
    """With how many providers a requester keeps leases, on which its tasks come one after the other; 0: each task
    reserves anew."""
    price_max: int = 0
    """The highest price per device-second, in micro-credits; 0: any."""
    budget: int = 10**12

    @property
    def policy(self) -> Policy:
        """How the results of the tasks come to be believed."""
        return Policy(SCHEMES[self.verify], self.replicas, self.quorum, self.samples, self.referee)


SCHEMES: Final = {scheme.name.lower(): scheme for scheme in Scheme}
ARRIVALS: Final = ("even", "poisson", "burst")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`shows` says in a sentence what it is for; `checks` names the invariants that hold in it (empty: all).

    `characters` gives how many providers are of which character: a number, or a share of all. `requester_characters`
    does the same for requesters. The rest of them are honest, and so is the first provider, whom all know.
    """

    shows: str = ""
    checks: tuple[str, ...] = ()
    providers: Count = 6
    sellers: Count = 0
    """How many of the providers have an offer; the others only carry the network. 0: all."""
    requesters: Count = 1
    characters: dict[str, float] = {}
    requester_characters: dict[str, float] = {}
    acquaintances: Count = 1
    """How many earlier providers a newcomer knows."""
    boot_every_ms: int = 50
    slots: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 2
    price_step: int = 1_000_000
    """Provider n asks for 10 credits and n steps a second."""
    price_per_gb: int = 10**9
    """Of every provider, in micro-credits: a task of some kilobytes then costs some thousands for them."""
    credit: int = 10**9
    credit_first: int = 2 * 10**8
    credit_strangers: int = 10**10
    """What providers risk on a requester that paid, on one that never did, and on all of these together."""
    settle_at: int = 0
    """What the cheques between two peers may promise before value is to leave; 0: it never does."""
    sync_ms_min: Annotated[int, msgspec.Meta(ge=1)] = 2
    sync_ms_max: Annotated[int, msgspec.Meta(ge=1)] = 2
    regions: bool = False
    """Nodes are spread over the regions of the world in turn."""
    until_ms: int = 120_000
    linger_ms: Count = 0
    """For how long the world goes on when nothing is left to do."""
    work: Work = Work()
    links: Links = Links()
    faults: Plan = ()

    def names(self) -> tuple[str, ...]:
        """Of all nodes, in the order in which they boot."""
        providers = [f"provider{i}" for i in range(self.providers)]
        return (*providers, *requester_names(self.requesters))


def requester_names(count: int) -> list[str]:
    """The first one has no number, since most worlds have just one."""
    return ["requester" if not i else f"requester{i}" for i in range(count)]


def check_scenario(scenario: Scenario) -> Scenario:
    """Raises UsageError for what no schema can say."""
    for name in (*scenario.characters, *scenario.requester_characters):
        character_of(name)
    _one_of("latency", scenario.links.latency, LATENCIES)
    _one_of("arrival", scenario.work.arrival, ARRIVALS)
    for low, high, what in (
        (scenario.links.latency_ms_min, scenario.links.latency_ms_max, "latency_ms"),
        (scenario.work.run_ms_min, scenario.work.run_ms_max, "run_ms"),
        (scenario.sync_ms_min, scenario.sync_ms_max, "sync_ms"),
    ):
        if low > high:
            raise UsageError(f"{what}_min is above {what}_max")
    _one_of("way to verify", scenario.work.verify, tuple(SCHEMES))
    fault = policy_fault(scenario.work.policy)
    if fault:
        raise UsageError(fault)
    if not scenario.providers:
        raise UsageError("a world has at least one provider")
    check_plan(scenario.faults, scenario.names())
    return scenario


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"there is no {what} {given!r}; there are: {', '.join(known)}")


def decode_scenario(text: str) -> Scenario:
    """A scenario from TOML. Raises UsageError with one sentence."""
    try:
        return check_scenario(msgspec.convert(tomllib.loads(text), type=Scenario))
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"this is no scenario: {error}") from None


def known_scenarios() -> list[str]:
    """The names of those that come with the simulator."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_scenario(name: str) -> Scenario:
    """By name, or by the path of a file. Raises UsageError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return decode_scenario(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no scenario {name!r}; there are: {', '.join(known_scenarios())}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
