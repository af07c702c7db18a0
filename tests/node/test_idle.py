from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pcompute.compute.nvml import Nvml, Reading
from p2pcompute.errors import DeviceError
from p2pcompute.node.config import Config
from p2pcompute.node.fleet import Fleet, muster
from p2pcompute.node.idle import LOOK_S, TEND_S, Gauges, others_percent, share
from p2pcompute.node.sharing import Bounds, Sample, Sharer, parse_when
from p2pcompute.node.usage import Inputs, Processors
from tests.compute.nvml.conftest import gpus, nvml, stub_library  # noqa: F401

PATIENCE_S = 60.0


class Script:
    """Stands for machine, engine and shop: plays samples, writes down what is done."""

    def __init__(self, used: Sequence[tuple[float, float]]) -> None:
        self._used = used
        self.done: list[tuple[float, str]] = []
        self.reasons: list[str] = []
        """Why it is closed, from look to look."""
        self.quarantine = ""
        self.recovers = False
        """Whether the device can be used when it is tried again."""
        self._begin_s = 0.0

    async def look(self) -> Sample:
        """In use from the first to the second of each pair, in seconds."""
        now_s = trio.current_time() - self._begin_s
        strangers = sum(begin <= now_s < end for begin, end in self._used)
        return Sample(int(1_000 * now_s), 0, strangers=strangers)

    async def run(self, until_s: float) -> None:
        self._begin_s = trio.current_time()
        with trio.move_on_after(until_s):
            await share(self.look, Sharer(parse_when("idle"), Bounds(resume_s=30)), [self], self, PATIENCE_S)

    def _note(self, what: str) -> None:
        self.done.append((trio.current_time() - self._begin_s, what))

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    async def start(self) -> None:
        if not self.recovers:
            raise DeviceError(self.quarantine)
        self.quarantine = ""

    async def evict(self, why: str) -> None:
        self._note(f"evict: {why}")

    def open(self) -> None:
        self.reasons.clear()
        self._note("open")

    def close(self, why: str) -> None:
        self.reasons.append(why)
        if len(self.reasons) == 1:
            self._note(f"close: {why}")


def times(script: Script, what: str) -> list[float]:
    return [at_s for at_s, done in script.done if done.startswith(what)]


async def test_an_unused_machine_is_offered_at_once(autojump_clock: trio.testing.MockClock) -> None:
    script = Script([])
    await script.run(10)
    assert [what for _, what in script.done] == ["pause", "resume", "open"]
    assert script.done[-1][0] <= LOOK_S


async def test_an_owner_who_comes_back_has_the_machine_within_a_second(autojump_clock: trio.testing.MockClock) -> None:
    script = Script([(20.0, 40.0)])
    await script.run(120)
    assert [what for _, what in script.done][3:] == [
        "pause",
        "close: 1 other processes use a GPU",
        "resume",
        "open",
    ]
    assert 20.0 <= times(script, "pause")[1] <= 21.0
    assert 69.0 <= times(script, "open")[1] <= 71.0


async def test_what_was_at_work_is_given_up_after_a_while_and_once(autojump_clock: trio.testing.MockClock) -> None:
    script = Script([(20.0, 200.0)])
    await script.run(300)
    assert times(script, "evict") == [pytest.approx(80.0, abs=1.0)]
    assert "evict: the machine's owner uses it: 1 other processes use a GPU" in [what for _, what in script.done]
    assert 229.0 <= times(script, "open")[1] <= 231.0


async def test_a_node_that_starts_on_a_busy_machine_says_why_it_waits(autojump_clock: trio.testing.MockClock) -> None:
    script = Script([(0.0, 10.0)])
    await script.run(50)
    assert [what for _, what in script.done] == ["pause", "close: 1 other processes use a GPU", "resume", "open"]
    assert times(script, "close")[0] <= LOOK_S
    assert 39.0 <= times(script, "open")[0] <= 41.0


async def test_the_reason_is_that_of_the_moment(autojump_clock: trio.testing.MockClock) -> None:
    script = Script([(0.0, 10.0)])
    await script.run(20)
    assert list(dict.fromkeys(script.reasons)) == ["1 other processes use a GPU", "quiet for less than 30 s"]


async def test_a_device_that_cannot_be_used_is_not_offered_until_it_can(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script([])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script.run, 200)
        await trio.sleep(10)
        script.quarantine = "device 0 is out of service"
        await trio.sleep(90)
        assert times(script, "close: device 0 is out of service") == [pytest.approx(10, abs=2 * LOOK_S)]
        script.recovers = True
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert [what for _, what in script.done][2:] == ["open", "close: device 0 is out of service", "open"]
    assert 100 <= times(script, "open")[1] <= 100 + TEND_S + 2 * LOOK_S


async def test_one_device_that_can_be_used_keeps_the_offer(autojump_clock: trio.testing.MockClock) -> None:
    script, broken = Script([]), Script([])
    broken.quarantine = "device 1 is out of service"
    with trio.move_on_after(60):
        await share(script.look, Sharer(parse_when("idle"), Bounds(resume_s=30)), [broken, script], script, PATIENCE_S)
    assert times(script, "close") == []
    broken.recovers = True
    with trio.move_on_after(60):
        await share(script.look, Sharer(parse_when("idle"), Bounds(resume_s=30)), [broken, script], script, PATIENCE_S)
    assert broken.quarantine == ""


@pytest.mark.parametrize(
    ("reading", "percent"),
    [
        (Reading(90, frozenset({1, 7}), {1: 60, 7: 30}, None, None), 30),
        (Reading(90, frozenset({1}), {1: 90}, None, None), 0),
        (Reading(90, frozenset({1, 7}), None, None, None), None),
        (Reading(90, frozenset({7}), None, None, None), 90),
        (Reading(90, None, None, None, None), 90),
        (Reading(None, None, None, None, None), None),
    ],
)
def test_what_others_use_of_a_gpu(reading: Reading, percent: int | None) -> None:
    assert others_percent(reading, [1, 2]) == percent


async def test_gauges_read_the_machine(
    gpus: pytest.MonkeyPatch,  # noqa: F811
    nvml: Nvml,  # noqa: F811
    tmp_path: Path,
) -> None:
    gpus.setattr("importlib.util.find_spec", lambda name: object())
    gpus.setenv("STUB_GPUS", "2")
    gpus.setenv("STUB_PIDS", "71 82")
    gpus.setenv("STUB_SM", "37")
    gpus.setenv("STUB_CELSIUS", "81")
    gpus.setenv("STUB_MILLIWATTS", "70999")
    inputs = Inputs(tmp_path, (), str(tmp_path / "event*"))
    sample = await Gauges(muster(Config(), nvml), Processors(tmp_path), inputs, nvml).look()
    found = sample.gpu_percent, sample.strangers, sample.celsius, sample.watts, sample.input_s
    assert found == (37, 2, 81, 70, None)
    assert 0 <= sample.minute < 1_440


async def test_heat_and_power_of_an_instance_are_those_of_its_gpu(
    gpus: pytest.MonkeyPatch,  # noqa: F811
    nvml: Nvml,  # noqa: F811
    tmp_path: Path,
) -> None:
    gpus.setattr("importlib.util.find_spec", lambda name: object())
    gpus.setenv("STUB_MIG", "2")
    gpus.setenv("STUB_CELSIUS", "81")
    gpus.setenv("STUB_MILLIWATTS", "70999")
    fleet = muster(Config(), nvml)
    assert [gpu.is_part for gpu in fleet.gpus] == [True, True]
    sample = await Gauges(fleet, Processors(tmp_path), Inputs(tmp_path, (), str(tmp_path / "event*")), nvml).look()
    assert (sample.celsius, sample.watts, sample.gpu_percent) == (81, 70, None)


async def test_gauges_need_no_gpu(tmp_path: Path) -> None:
    fleet = Fleet(muster(Config(engine="cpu"), None).engines)
    os.utime(tmp_path, (1.0, 1.0))
    sample = await Gauges(fleet, Processors(), Inputs(tmp_path, (str(tmp_path),)), None).look()
    assert (sample.gpu_percent, sample.strangers, sample.celsius, sample.watts) == (None, None, None, None)
    assert sample.input_s is not None
    assert sample.input_s > 1e6
