"""The verbs, in groups, and the border at which every error becomes a sentence and an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Group, Parameter

import p2pcompute
from p2pcompute.cli import faults, serve, setup, submit

START: Final = Group("Start", sort_key=1)
WORK: Final = Group("Work", sort_key=2)
MARKET: Final = Group("Market", sort_key=3)
EVIDENCE: Final = Group("Money and evidence", sort_key=4)
NODE: Final = Group("Node", sort_key=5)


def make_app() -> App:
    """The whole command line."""
    app = App(
        name="p2pcompute",
        help="Rent out and rent GPUs peer to peer. Try: p2pcompute demo",
        version=p2pcompute.__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    app["--help"].group = app["--version"].group = Group("Options", sort_key=9)
    app.command(setup.init, group=START)
    app.command(serve.serve, group=START)
    app.command(demo, group=START)
    app.command(submit.run, group=WORK)
    return app


def demo(
    *,
    nodes: int = 5,
    liars: int = 1,
    out_dir: Path = Path("demo"),
    keep: bool = False,
    json: Annotated[bool, Parameter(help="Print one JSON object as the last line.")] = False,
) -> int:
    """Start a local network, run real kernels on it, catch a liar.

    Args:
        nodes: Provider processes.
        liars: How many of them return wrong results.
        out_dir: Where the picture and the evidence go.
        keep: Keep the homes and logs of all peers there too.
    """
    from p2pcompute.cli.demo import run_demo

    return run_demo(nodes, liars, json=json, out_dir=out_dir, keep=keep)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    as_json = "--json" in arguments
    try:
        code = make_app()(list(arguments))
    except CycloptsError as error:
        return faults.usage(_sentence(error), as_json=as_json)
    except (Exception, KeyboardInterrupt) as error:
        return faults.report(error, as_json=as_json)
    return code if isinstance(code, int) else os.EX_OK


def _sentence(error: CycloptsError) -> str:
    """What cyclopts says, in one line, and where to read more."""
    text = " ".join(str(error).split())
    chain = " ".join(["p2pcompute", *(error.command_chain or ())])
    return f"{text.rstrip('.')}; see: {chain} --help"
