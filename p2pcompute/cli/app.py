"""The verbs, in groups, and the border at which every error becomes a sentence and an exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Group, Parameter

import p2pcompute
from p2pcompute.cli import evidence, faults, jobs, kernels, keys, market, serve, setup, submit, upkeep, watch

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
    _family(app, "job", "Jobs of this node.", WORK, jobs.job_list, jobs.job_show, jobs.job_result, jobs.job_stop)
    _family(app, "kernel", "The kernel library.", WORK, kernels.kernel_list, kernels.kernel_show, kernels.kernel_check)
    app.command(market.book, group=MARKET)
    _family(app, "offer", "This node's own offer.", MARKET, market.offer_list, market.offer_withdraw)
    order = _family(app, "order", "What work would cost, and orders under way.", MARKET, market.order_quote)
    order.command(jobs.job_list, name="list")
    order.command(jobs.job_stop, name="cancel")
    peer = (market.peer_list, market.peer_connect, market.peer_ban, market.peer_pardon)
    _family(app, "peer", "Other peers.", MARKET, *peer)
    receipt = (evidence.receipt_list, evidence.receipt_show, evidence.receipt_verify, evidence.receipt_export)
    _family(app, "receipt", "Signed receipts.", EVIDENCE, *receipt)
    app.command(evidence.audit, group=EVIDENCE)
    ledger = _family(app, "ledger", "What peers owe this node, and what it owes them.", EVIDENCE, market.ledger_settled)
    ledger.default(market.ledger)
    app.command(watch.status, group=NODE)
    app.command(watch.top, group=NODE)
    app.command(upkeep.doctor, group=NODE)
    _family(app, "config", "Settings in the home.", NODE, upkeep.config_show, upkeep.config_set)
    key = (keys.key_show, keys.key_delegate, keys.key_import, keys.key_revoke, keys.key_announce)
    _family(app, "key", "Keys and delegations.", NODE, *key, keys.key_passphrase, keys.key_export)
    app.command(upkeep.backup, group=NODE)
    app.command(upkeep.restore, group=NODE)
    return app


def _family(app: App, name: str, text: str, group: Group, *verbs: Callable[..., object]) -> App:
    """A noun and its verbs: the function peer_list is `peer list`."""
    family = App(name=name, help=text, help_format="plaintext", group=group)
    family["--help"].group = "Options"
    for verb in verbs:
        family.command(verb, name=verb.__name__.removeprefix(f"{name}_"))
    app.command(family)
    return family


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
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return faults.report(error, as_json=as_json)
    return code if isinstance(code, int) else os.EX_OK


def _sentence(error: CycloptsError) -> str:
    """What cyclopts says, in one line, and where to read more."""
    text = " ".join(str(error).split())
    chain = " ".join(["p2pcompute", *(error.command_chain or ())])
    return f"{text.rstrip('.')}; see: {chain} --help"
