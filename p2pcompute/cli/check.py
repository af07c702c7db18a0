"""`p2pcompute kernel check FILE.cu`: one launch under the checker, and what it found."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from p2pcompute.cli import output
from p2pcompute.cli.given import Given
from p2pcompute.errors import UsageError

if TYPE_CHECKING:
    from p2pcompute.client.task import Task
    from p2pcompute.compute.preflight import Preflight
    from p2pcompute.compute.ptx.interpret import Finding, Progress

STEPS_DEFAULT: Final = 20_000_000
"""A minute or two."""
_COLUMNS: Final = (
    output.Column("kind", "finding"),
    output.Column("count", "times", right=True),
    output.Column("block", "block", lambda index: ",".join(map(str, index))),
    output.Column("thread", "thread", lambda index: ",".join(map(str, index))),
    output.Column("source", "line"),
    output.Column("message", "what"),
    output.Column("instruction", "instruction"),
)

_SAMPLING: Final = {
    "static": "yes, for every launch of this kernel",
    "launch": "yes, proven for this grid, block and scalars",
    "map": "yes, if running the address slice finds that no blocks meet",
    "none": "no",
}
"""By the tiers of docs/spec/sampling.md."""


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Call:
    """What is checked of a file, and how long."""

    entry: Annotated[str, Parameter(help="For a file: the __global__ function to check.")] = ""
    grid: Annotated[str, Parameter(help="For a file: blocks, like 4 or 2,2.")] = ""
    block: Annotated[str, Parameter(help="For a file: threads of a block, like 256 or 16,16.")] = ""
    steps: Annotated[int, Parameter(help="The most instructions to go through, of all threads.")] = STEPS_DEFAULT


CALL: Final = Call()
Lines = Mapping[int, tuple[str, int]]
"""PTX line -> the user's file and line."""


def is_file(name: str) -> bool:
    """Whether a kernel's name means a file and not one of the library."""
    return name.endswith(".cu") or "/" in name


def check_file(file: Path, call: Call, given: Given, *, as_json: bool) -> int:
    """Print what is wrong; 0 when nothing is, else 1. Raises UsageError, CompileError, PtxError."""
    import trio

    from p2pcompute.client.local import check_here

    for option, text in (("--entry", call.entry), ("--grid", call.grid), ("--block", call.block)):
        if not text:
            raise UsageError(f"checking a file needs {option}, as p2pcompute run does")
    if call.steps < 1:
        raise UsageError(f"--steps must be at least 1, not {call.steps}")

    async def check() -> tuple[Preflight, Lines]:
        task, lines = await _prepare(file, call, given)
        with _progress(quiet=as_json) as progress:
            return await check_here(task, steps_max=call.steps, progress=progress), lines

    found, lines = trio.run(check)
    if as_json:
        output.put_json(_described(found, lines))
    else:
        _tell(found, lines)
    return 1 if found.result.findings else 0


async def _prepare(file: Path, call: Call, given: Given) -> tuple[Task, Lines]:
    from p2pcompute.client.task import make_task
    from p2pcompute.node import factory
    from p2pcompute.wire import limits

    kernel, launch, constants = given.kernel(file, call.entry), given.call(call.grid, call.block), given.constants()
    instances = (kernel.entry,) if "<" in kernel.entry else ()
    async with factory.compiler() as compiler:
        compiled = await compiler.compile(
            {kernel.name: kernel.source, **kernel.headers},
            kernel.name,
            defines=kernel.defines,
            instances=instances,
            line_info=True,
        )
    task = make_task(
        kernel,
        compiled,
        [launch],
        device_ms_max=limits.DEVICE_MS_MAX,
        name=kernel.entry[:64],
        constants=constants,
    )
    return task, compiled.lines


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A bar on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress as Bar

    with Bar(console=output.console(stderr=True), transient=True) as bar:
        task = bar.add_task("blocks checked")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _described(found: Preflight, lines: Lines) -> dict[str, object]:
    result = found.result
    return {
        "class": found.determinism,
        "reasons": [_reason(line, reason, lines) for line, reason in found.reasons],
        "blocks_independent": {
            "observed": not found.dependent,
            "reasons": [_reason(line, reason, lines) for line, reason in found.dependent],
        },
        "sampling": [
            {
                "tier": each.tier.value,
                "reasons": [{"rule": why.rule, **_reason(why.line, why.sentence, lines)} for why in each.reasons],
            }
            for each in found.samples
        ],
        "sampling_refused": found.stateless,
        "findings": [_row(finding, lines) for finding in result.findings],
        "findings_left_out": result.left_out,
        "checked_threads": result.threads,
        "checked_blocks": result.blocks,
        "blocks": result.blocks_total,
        "complete": result.is_complete,
    }


def _source(line: int, lines: Lines) -> str:
    """`file.cu:12`, or the PTX line where there is none."""
    file, place = lines.get(line, ("PTX", line))
    return f"{file}:{place}"


def _reason(line: int, reason: str, lines: Lines) -> dict[str, object]:
    return {"line": line, "source": _source(line, lines), "reason": _in_source(reason, lines)}


def _in_source(message: str, lines: Lines) -> str:
    """The message, with lines of the user's own in place of those of the PTX."""
    return re.sub(r"PTX line (\d+)", lambda match: _source(int(match[1]), lines), message)


def _row(finding: Finding, lines: Lines) -> dict[str, object]:
    return {
        **dataclasses.asdict(finding),
        "kind": finding.kind.value,
        "source": _source(finding.line, lines),
        "message": _in_source(finding.message, lines),
    }


def _tell(found: Preflight, lines: Lines) -> None:
    """The findings as a table on stdout, then what else is to be known."""
    result = found.result
    output.put_table([_row(f, lines) for f in result.findings], _COLUMNS, as_json=False, none="nothing wrong was found")
    if result.left_out:
        output.say(f"{result.left_out} more findings at other places are not shown")
    output.put(f"class: {found.determinism}")
    for line, reason in found.reasons:
        output.put(f"  {_source(line, lines)}: {_in_source(reason, lines)}")
    if found.dependent:
        output.put("blocks: not independent")
        for line, reason in found.dependent:
            output.put(f"  {_source(line, lines)}: {_in_source(reason, lines)}")
    else:
        what = "this run" if result.is_complete else "the blocks that were checked"
        output.put(f"blocks: independent, as observed in {what} (no proof for other arguments)")
    if found.stateless:
        output.put(f"sampling: no: {found.stateless}")
    for each in found.samples if not found.stateless else ():
        output.put(f"sampling: {_SAMPLING[each.tier.value]}")
        for why in each.reasons:
            output.put(f"  {_source(why.line, lines)}: {_in_source(why.sentence, lines)} (rule {why.rule})")
    if result.is_complete:
        output.say(f"{result.threads} threads in {result.blocks} blocks checked")
    else:
        output.say(
            f"the steps ran out after {result.blocks} of {result.blocks_total} blocks: only those were checked; "
            "choose a smaller grid, or allow more with --steps"
        )
