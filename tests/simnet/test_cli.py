"""`python -m simnet` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simnet.__main__ import main
from simnet.characters import CHARACTERS
from simnet.invariants import INVARIANTS

GRUMPY = """
from simnet.invariants import Invariant, Violation


class NobodyCrashes(Invariant):
    name = "nobody-crashes"

    def on_event(self, now_ms, node, event):
        if event.name == "node.crashed":
            raise Violation(f"{node.name} crashed")
"""
FRAGILE = """
providers = 4
checks = ["nobody-crashes"]

[[faults]]
kind = "storm"
at_ms = 1000
for_ms = 1000

[[faults]]
kind = "crash"
nodes = "provider2"
at_ms = 1500
"""


Type = Callable[..., tuple[int, str, str]]
"""Words -> exit code, output, talk."""


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    monkeypatch.chdir(tmp_path)
    known = {*CHARACTERS, *INVARIANTS}  # what a test loads, it loads for itself

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["simnet", *words])
        try:
            code = main()
        except SystemExit as end:
            code = int(str(end.code))
        finally:
            for registry in (CHARACTERS, INVARIANTS):
                for name in [name for name in registry if name not in known]:
                    del registry[name]
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_run_sums_a_world_up(type_: Type) -> None:
    code, out, err = type_("run", "chance", "--seed", "2")
    assert code == 0
    assert "3 of 3 tasks done" in out
    assert "all invariants hold" in err


def test_run_as_json_is_one_object(type_: Type) -> None:
    code, out, _ = type_("run", "calm-market", "--nodes", "9", "--hash", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["nodes"], said["driver"], said["violation"], len(said["trace"])) == (9, "wheel", "", 16)


def test_both_drivers_give_the_same_hash(type_: Type) -> None:
    wheel, trio = (
        json.loads(type_("run", "calm-market", "--nodes", "9", "--hash", "--json", "--driver", driver)[1])
        for driver in ("wheel", "trio")
    )
    assert wheel["trace"] == trio["trace"]


def test_replay_shows_everything_that_happens(type_: Type) -> None:
    code, out, _ = type_("replay", "chance", "7")
    assert code == 0
    assert len([line for line in out.splitlines() if " ms  " in line]) > 100
    assert "job.done" in out


def test_a_plan_is_printed_edited_and_run_again(type_: Type, tmp_path: Path) -> None:
    _, plan, _ = type_("run", "partition-and-heal", "--print-plan")
    faults = json.loads(plan)
    assert [fault["kind"] for fault in faults] == ["partition", "absence", "partition"]
    (tmp_path / "plan.json").write_text(plan)
    traces = {
        json.loads(type_("run", "partition-and-heal", "--hash", "--json", *extra)[1])["trace"]
        for extra in ((), ("--plan", "plan.json"))
    }
    assert len(traces) == 1
    (tmp_path / "plan.json").write_text(json.dumps(faults[:1]))
    edited = json.loads(type_("run", "partition-and-heal", "--hash", "--json", "--plan", "plan.json")[1])
    assert edited["faults"] == 1
    assert edited["trace"] not in traces


def test_odds_are_told_and_impossible_ones_refused(type_: Type) -> None:
    assert type_("odds", "--operators", "100", "--colluding", "10")[:2] == (0, "2.579 % of tasks\n")
    assert type_("odds", "--operators", "5", "--colluding", "6")[0] == 2
    assert type_("odds", "--replicas", "2", "--quorum", "3")[0] == 2


def test_a_swarm_says_what_it_did(type_: Type) -> None:
    code, out, _ = type_("swarm", "--seeds", "3", "--jobs", "1", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["seeds"], said["failed"], said["wrong_accepted"], said["twice"]) == (3, 0, 0, 1)


def test_a_swarm_in_processes_of_their_own_is_the_same() -> None:
    command = [sys.executable, "-m", "simnet", "swarm", "--seeds", "4", "--json", "--jobs"]
    outputs = [
        json.loads(subprocess.run([*command, jobs], capture_output=True, check=True, timeout=120).stdout)
        for jobs in ("1", "2")
    ]
    assert [{k: v for k, v in one.items() if k != "cpu_s"} for one in outputs] == [
        {
            "seeds": 4,
            "failed": 0,
            "wrong_accepted": 0,
            "twice": 1,
            "tasks": outputs[0]["tasks"],
            "faults": outputs[0]["faults"],
        }
    ] * 2
    assert outputs[0]["tasks"] >= 4


def test_a_failure_names_seed_commit_and_the_faults_it_takes(type_: Type, tmp_path: Path) -> None:
    (tmp_path / "grumpy.py").write_text(GRUMPY)
    (tmp_path / "fragile.toml").write_text(FRAGILE)
    code, out, err = type_("swarm", "--scenario", "fragile.toml", "--load", "grumpy.py", "--jobs", "1", "--seeds", "9")
    assert code == 1
    assert "1 failed" in out
    assert "seed 0: provider2 crashed" in err
    assert "replay: python -m simnet replay fragile.toml 0 --load grumpy.py" in err
    assert "commit: " in err
    assert '"kind":"crash"' in err
    assert '"kind":"storm"' not in err.split("faults:\n")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "utopia"], "there is no scenario 'utopia'; there are: "),
        (["run", "calm-market", "--driver", "car"], "there is no driver 'car'; there are: wheel, trio, libp2p"),
        (["run", "calm-market", "--nodes", "2"], "2 nodes are too few"),
        (["run", "calm-market", "--plan", "none.json"], "cannot read none.json"),
        (["run", "bad.toml"], "this is no scenario: "),
        (["run", "calm-market", "--plan", "bad.toml"], "this is no plan of faults: "),
        (["run", "calm-market", "--load", "none.py"], "none.py is no Python file"),
        (["run", "calm-market", "--load", "broken.py"], "broken.py does not run: NameError"),
        (["run", "calm-market", "--load", "empty.py"], "defines no Character and no Invariant"),
        (["report", "calm-market", "--nodes", "5", "--out", "bad.toml"], "cannot write to bad.toml"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(type_: Type, tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "bad.toml").write_text("providers = 'many'\n[[faults]]\nkind = 'plague'\n")
    (tmp_path / "broken.py").write_text("no_such_thing")
    (tmp_path / "empty.py").write_text("")
    code, out, err = type_(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_a_report_is_pictures_and_one_page(type_: Type, tmp_path: Path) -> None:
    code, out, _ = type_("report", "partition-and-heal", "--nodes", "14", "--out", "told")
    page = (tmp_path / "told" / "report.html").read_text()
    assert code == 0
    assert out.strip() == "told/report.html"
    names = {"faults", "tasks", "convergence", "delivery", "traffic", "prices", "verification"}
    for name in names:
        assert (tmp_path / "told" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert page.count("data:image/png;base64,") == len(names)
    assert "All invariants hold." in page
    assert "http" not in page


def test_help_takes_no_world(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simnet", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "swarm" in done.stdout
