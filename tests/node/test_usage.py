from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pcompute.node.usage import Inputs, Processors

INTERRUPTS = (
    "           CPU0       CPU1\n  1:  {}   7   IO-APIC   1-edge      i8042\n  8:  1  0  IO-APIC  8-edge  rtc0\n"
)


def proc(root: Path, *, busy: int, idle: int, own: dict[int, tuple[int, int]]) -> None:
    """`own`: process id -> (its own ticks, those of its ended children)."""
    (root / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\n")
    for pid, (ticks, ended) in own.items():
        (root / str(pid)).mkdir(exist_ok=True)
        fields = ["S", *["0"] * 10, str(ticks), "0", str(ended), "0", "20"]
        (root / str(pid) / "stat").write_text(f"{pid} (a ) name) {' '.join(fields)}\n")


def test_what_this_process_and_its_workers_use_is_not_others(tmp_path: Path) -> None:
    me, worker = os.getpid(), 4_000_001
    proc(tmp_path, busy=1_000, idle=1_000, own={me: (100, 0), worker: (500, 0)})
    processors = Processors(tmp_path)
    assert processors.others_percent([worker]) == 0.0
    proc(tmp_path, busy=1_100, idle=1_100, own={me: (110, 10), worker: (540, 0)})
    assert processors.others_percent([worker]) == pytest.approx(20.0)  # 100 of 200 busy, 60 of them ours
    proc(tmp_path, busy=1_200, idle=1_200, own={me: (110, 10), worker: (540, 0)})
    assert processors.others_percent([]) == pytest.approx(50.0)


def test_a_worker_seen_for_the_first_time_counts_from_then_on(tmp_path: Path) -> None:
    me = os.getpid()
    proc(tmp_path, busy=0, idle=100, own={me: (0, 0), 4_000_001: (90, 0)})
    processors = Processors(tmp_path)
    processors.others_percent([])
    proc(tmp_path, busy=50, idle=150, own={me: (0, 0), 4_000_001: (90, 0)})
    assert processors.others_percent([4_000_001]) == pytest.approx(50.0)
    assert processors.others_percent([4_000_001]) == 0.0  # no time has passed


def test_a_machine_without_the_file_uses_nothing(tmp_path: Path) -> None:
    assert Processors(tmp_path / "none").others_percent([]) == 0.0


def test_this_machine_says_something() -> None:
    processors = Processors()
    total = 0
    for number in range(3_000_000):
        total += number
    assert 0.0 <= processors.others_percent([]) <= 100.0


def test_a_line_typed_at_a_terminal_counts(tmp_path: Path) -> None:
    terminal = tmp_path / "pts0"
    terminal.touch()
    os.utime(terminal, (990.0, 5.0))
    inputs = Inputs(tmp_path, (str(tmp_path / "pts*"),), str(tmp_path / "event*"))
    assert inputs.sources == ("terminals",)
    assert inputs.idle_s(1_000.0) == pytest.approx(10.0)
    assert inputs.idle_s(980.0) == 0.0  # clocks may move


def test_keyboard_interrupts_count(tmp_path: Path) -> None:
    (tmp_path / "interrupts").write_text(INTERRUPTS.format(10))
    inputs = Inputs(tmp_path, (), str(tmp_path / "event*"))
    assert inputs.sources == ("keyboard interrupts",)
    assert inputs.idle_s(1_000.0) is None
    (tmp_path / "interrupts").write_text(INTERRUPTS.format(11))
    assert inputs.idle_s(1_001.0) == 0.0
    assert inputs.idle_s(1_007.5) == pytest.approx(6.5)


def test_input_devices_count_and_may_be_unplugged(tmp_path: Path) -> None:
    for name in ("event0", "event1"):
        os.mkfifo(tmp_path / name)
    inputs = Inputs(tmp_path, (), str(tmp_path / "event*"))
    assert inputs.sources == ("2 input devices",)
    assert inputs.idle_s(1.0) is None
    writer = os.open(tmp_path / "event1", os.O_WRONLY)
    os.write(writer, b"x" * 24)
    assert inputs.idle_s(2.0) == 0.0
    assert inputs.idle_s(5.0) == pytest.approx(3.0)
    os.close(writer)
    inputs.close()
    assert inputs.sources == ()


def test_a_machine_that_tells_nothing_says_so(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, (), str(tmp_path / "event*"))
    assert (inputs.sources, inputs.idle_s(1.0)) == ((), None)
