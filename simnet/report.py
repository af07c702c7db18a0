"""A world as pictures: PNG files, and one HTML page that holds them all."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pcompute.errors import UsageError
from simnet.faults import AnyFault, encode_plan
from simnet.recorder import Recorder, percentile
from simnet.runs import Outcome, version
from simnet.world import World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES: Final = (9.0, 3.2)
DPI: Final = 110
BLUE, RED, GREEN, GREY = "#1f5fa8", "#b3261e", "#2e7d32", "#8a8a8a"


def write_report(folder: Path, world: World, recorder: Recorder, outcome: Outcome) -> Path:
    """Write every plot as a PNG and `report.html` with all of them; the page's path. Raises UsageError when the folder
    cannot be written or matplotlib is missing."""
    pyplot = load_pyplot()
    pictures: dict[str, bytes] = {}
    for name, (title, draw) in PLOTS.items():
        figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
        draw(axes, world, recorder)
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        pyplot.close(figure)
        pictures[name] = buffer.getvalue()
    page = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            (folder / f"{name}.png").write_bytes(data)
        page.write_text(_page(world, recorder, outcome, pictures), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    return page


def load_pyplot() -> Any:
    """Matplotlib, drawing into files. Raises UsageError when it is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("plots need matplotlib; type: pip install 'p2pcompute[report]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


# Plots ------------------------------------------------------------------------------------------------------------


def _seconds(axes: Axes, world: World) -> None:
    axes.set_xlabel("virtual seconds")
    axes.set_xlim(0, max(1.0, world.wheel.now_ms / 1_000))


def _shade(axes: Axes, world: World) -> None:
    """Where a fault is, the ground is grey."""
    for fault in world.plan:
        begin_ms, end_ms = _span(fault)
        axes.axvspan(begin_ms / 1_000, min(end_ms, world.wheel.now_ms) / 1_000, color=GREY, alpha=0.12, linewidth=0)


def _span(fault: AnyFault) -> tuple[int, int]:
    return getattr(fault, "at_ms", 0), fault.ends_ms


def _delivery(axes: Axes, world: World, recorder: Recorder) -> None:
    values = sorted(recorder.deliveries_ms)
    shares = [(i + 1) / len(values) for i in range(len(values))]
    axes.plot(values, shares, color=BLUE)
    axes.set_xscale("symlog", linthresh=100)
    axes.set_xlabel("milliseconds from a first offer's publication until a node has it")
    axes.set_ylabel("share of deliveries")
    axes.set_ylim(0, 1.02)


def _traffic(axes: Axes, world: World, recorder: Recorder) -> None:
    samples = recorder.samples
    axes.plot([s.at_ms / 1_000 for s in samples], [s.bytes_out / max(1, s.up) / 1_000 for s in samples], color=BLUE)
    axes.set_ylabel("kB a second and node")
    axes.set_ylim(bottom=0)
    _shade(axes, world)
    _seconds(axes, world)


def _convergence(axes: Axes, world: World, recorder: Recorder) -> None:
    samples = recorder.samples
    axes.plot([s.at_ms / 1_000 for s in samples], [s.known for s in samples], color=GREEN)
    axes.set_ylabel("known of what is to be known")
    axes.set_ylim(0, 1.05)
    _shade(axes, world)
    _seconds(axes, world)


def _prices(axes: Axes, world: World, recorder: Recorder) -> None:
    axes.scatter([at / 1_000 for at, _ in recorder.prices], [p / 1e6 for _, p in recorder.prices], s=12, color=BLUE)
    offered = sorted(n.terms.price_per_device_s / 1e6 for n in world.providers if n.terms is not None)
    axes.axhline(offered[0], color=GREEN, linewidth=0.8, label="cheapest offer")
    axes.axhline(offered[-1], color=RED, linewidth=0.8, label="dearest offer")
    axes.legend(frameon=False, fontsize=8)
    axes.set_ylabel("credits a device-second")
    axes.set_ylim(bottom=0)
    _seconds(axes, world)


def _tasks(axes: Axes, world: World, recorder: Recorder) -> None:
    for row, task in enumerate(world.tasks.values()):
        end_ms = task.ended_ms if task.ended_ms >= 0 else world.wheel.now_ms
        color = BLUE if task.done else RED
        axes.barh(row, (end_ms - task.submitted_ms) / 1_000, left=task.submitted_ms / 1_000, color=color, height=0.8)
    axes.invert_yaxis()
    axes.set_ylabel("task")
    _shade(axes, world)
    _seconds(axes, world)


def _verification(axes: Axes, world: World, recorder: Recorder) -> None:
    verdicts = [fields["judgement"] for _, _, name, fields in world.events if name == "job.verdict"]
    lost = sum(name == "job.lost" for _, _, name, _ in world.events)
    kinds = ("AGREED", "KERNEL_AT_FAULT", "OUTVOTED")
    counts = [*(verdicts.count(kind) for kind in kinds), lost]
    bars = axes.barh(
        ["agreed", "kernel at fault", "outvoted", "lost on the way"], counts, color=[GREEN, GREY, RED, GREY]
    )
    axes.bar_label(bars, padding=3)
    axes.set_xlabel(f"runs; computed {recorder.cost:.2f} times what one honest run of every accepted task takes")


def _faults(axes: Axes, world: World, recorder: Recorder) -> None:
    rows: dict[str, int] = {}
    for fault in world.plan:
        name = type(fault).__name__.lower()
        row = rows.setdefault(name, len(rows))
        begin_ms, end_ms = _span(fault)
        axes.barh(row, max(100, end_ms - begin_ms) / 1_000, left=begin_ms / 1_000, color=RED, alpha=0.5, height=0.6)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(-1, max(1, len(rows)))
    up = axes.twinx()
    up.plot([s.at_ms / 1_000 for s in recorder.samples], [s.up for s in recorder.samples], color=BLUE, linewidth=1)
    up.set_ylabel("nodes up", color=BLUE)
    up.set_ylim(0, len(world.nodes) * 1.1)
    _seconds(axes, world)


Draw = Callable[["Axes", World, Recorder], None]
PLOTS: Final[dict[str, tuple[str, Draw]]] = {
    "faults": ("Faults, and how many nodes were up", _faults),
    "tasks": ("Tasks, from submission to the accepted result", _tasks),
    "convergence": ("How much of the book nodes know", _convergence),
    "delivery": ("Delivery of offers", _delivery),
    "traffic": ("Traffic", _traffic),
    "prices": ("Prices of assignments", _prices),
    "verification": ("What believing cost", _verification),
}


# The page ---------------------------------------------------------------------------------------------------------

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222 }
img { width: 100%; margin: 0.6em 0 }
table { border-collapse: collapse } td { padding: 0.15em 1.2em 0.15em 0; vertical-align: top }
pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; font-size: 12px }
.good { color: #2e7d32 } .bad { color: #b3261e }
"""


def _page(world: World, recorder: Recorder, outcome: Outcome, pictures: dict[str, bytes]) -> str:
    verdict = (
        f'<p class="bad">Broken: {html.escape(outcome.violation)}</p>'
        if outcome.violation
        else '<p class="good">All invariants hold.</p>'
    )
    rows = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in _facts(world, recorder, outcome)
    )
    images = "".join(
        f'<img alt="{html.escape(PLOTS[name][0])}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        for name, data in pictures.items()
    )
    title = html.escape(f"{outcome.scenario}, seed {outcome.seed}")
    plan = html.escape(encode_plan(world.plan)) if world.plan else "none"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{html.escape(world.scenario.shows)}</p>{verdict}<table>{rows}</table>{images}"
        f"<h2>Faults</h2><pre>{plan}</pre></html>\n"
    )


def _facts(world: World, recorder: Recorder, outcome: Outcome) -> list[tuple[str, str]]:
    waits = [task.ended_ms - task.submitted_ms for task in world.tasks.values() if task.done]
    kinds: dict[str, int] = {}
    for node in world.nodes:
        kinds[node.kind.__name__.lower()] = kinds.get(node.kind.__name__.lower(), 0) + 1
    return [
        ("nodes", ", ".join(f"{count} {kind}" for kind, count in kinds.items())),
        ("tasks", f"{outcome.done} of {outcome.tasks} done"),
        ("from submission to result", f"{percentile(waits, 0.5)} ms median, {percentile(waits, 0.99)} ms p99"),
        (
            "from a first offer to a node that has it",
            f"{percentile(recorder.deliveries_ms, 0.5)} ms median, {percentile(recorder.deliveries_ms, 0.99)} ms p99",
        ),
        ("computed, over one honest run of each", f"{recorder.cost:.2f}"),
        ("events", f"{outcome.events} in {outcome.virtual_ms} virtual ms, {outcome.cpu_s} s of one processor"),
        ("driver", outcome.driver),
        ("code", version()),
    ]
