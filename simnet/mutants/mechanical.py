"""Mechanical mutations: a comparison swapped, a number off by one, a branch negated, `and` for `or`, a statement
dropped; at every place of the functions below, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Final

from p2pcompute.protocol import matching, pricing, verification
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.jobs import Jobs
from p2pcompute.protocol.judging import Judging
from p2pcompute.protocol.leasing import Leasing
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.provider import Provider
from p2pcompute.protocol.receipts import Chain
from p2pcompute.protocol.reservation import Slots
from p2pcompute.protocol.settling import Settling
from simnet.mutants.campaign import Mutant
from simnet.mutants.patch import Owner, planted, source_of

FUNCTIONS: Final[tuple[tuple[Owner, str], ...]] = (
    (verification, "tally"),
    (verification, "judge"),
    (pricing, "paid_us"),
    (matching, "distinct"),
    (Ledger, "earn"),
    (Ledger, "promise"),
    (Ledger, "take_cheque"),
    (Ledger, "refusal"),
    (Leasing, "_slot_fault"),
    (Leasing, "begin"),
    (Leasing, "end"),
    (Slots, "hold"),
    (Slots, "close"),
    (Slots, "assign"),
    (Slots, "expired"),
    (Chain, "append"),
    (Book, "_is_news"),
    (Book, "_bury"),
    (Jobs, "take_verdict"),
    (Jobs, "_replay_verdicts"),
    (Jobs, "_replay_end"),
    (Provider, "_accept"),
    (Provider, "_commit"),
    (Provider, "_issue"),
    (Provider, "_on_assignment"),
    (Provider, "_assignment_fault"),
    (Judging, "judge"),
    (Settling, "pay"),
    (Settling, "_end"),
)
ORDER: Final = (
    "calm",
    "three",
    "liars",
    "loss",
    "crashes",
    "late crash",
    "lost reservation",
    "stops",
    "moved home",
    "gang below quorum",
    "tie",
    "little credit",
    "skimper",
    "hoarder",
    "long runs",
    "late assignments",
    "hydra",
    "deadbeat",
    "stragglers",
    "turncoat",
    "withholder",
    "replayer",
    "storm",
    "offers run out",
    "partition",
    "slices",
    "half paid",
    "half paid, asleep",
    "referee",
    "named",
    "padders",
    "traps",
    "samples",
    "naysayers",
    "hoarders",
    "session",
    "rare tasks",
    "understater",
    "haggler",
    "crammer",
)
"""The trials, those first that show most for what they cost."""
SWAPPED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
Change = tuple[str, Callable[[ast.AST], None]]
"""What it is called, and how a node is changed."""


def mutations(owner: Owner, name: str) -> Iterator[tuple[str, ast.Module]]:
    """Every mutation of a function: where and what, and the whole changed text."""
    tree = ast.parse(source_of(owner, name))
    _strip(tree)
    for number, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            other = copy.deepcopy(tree)
            change(next(n for i, n in enumerate(ast.walk(other)) if i == number))
            yield f"{what}: {ast.unparse(node).splitlines()[0][:60]}", ast.fix_missing_locations(other)


def _strip(tree: ast.Module) -> None:
    """Without docstring and annotations, which nothing depends on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in (*node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
            if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                del node.body[0]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not isinstance(n, ast.Assert)] or [ast.Pass()]  # type: ignore[attr-defined]


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "comparison swapped", _swap
    if isinstance(node, ast.If | ast.IfExp):
        yield "branch negated", _negate
    if isinstance(node, ast.BoolOp):
        yield "and for or", _other_operator
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "off by one", _off_by_one
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Delete) or _sets_state(node):
        yield "dropped", _drop


def _sets_state(node: ast.AST) -> bool:
    """An assignment to something that lives on; without one to a local name the function would not even run."""
    return isinstance(node, ast.Assign) and all(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets)


def _swap(node: ast.AST) -> None:
    assert isinstance(node, ast.Compare)
    node.ops = [SWAPPED[type(node.ops[0])]()]


def _negate(node: ast.AST) -> None:
    assert isinstance(node, ast.If | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _other_operator(node: ast.AST) -> None:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()


def _off_by_one(node: ast.AST) -> None:
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    node.value += 1


def _drop(node: ast.AST) -> None:
    """Becomes a statement that does nothing."""
    node.__class__ = ast.Pass
    node.__dict__.clear()


def mechanical() -> Iterator[Mutant]:
    """All of them."""
    for owner, name in FUNCTIONS:
        place = f"{owner.__name__.rpartition('.')[2]}.{name}"
        for number, (what, tree) in enumerate(mutations(owner, name)):
            full = f"{place} #{number} {what}"
            if full not in LEFT_OUT:
                yield Mutant(full, f"In {place}: {what}.", lambda o=owner, n=name, t=tree: planted(o, n, t))  # type: ignore[misc]


LEFT_OUT: Final[dict[str, str]] = {
    "verification.tally #4 off by one: 0": "Changes nothing: without a vote nothing reaches a quorum.",
    "Ledger.take_cheque #7 off by one: 0": "A micro-credit when cheques overtake each other; in no trial they do.",
    "Ledger.refusal #5 off by one: 0": "A micro-credit.",
    "Ledger.refusal #6 branch negated: f'; for {late} of them there are cheques, and value has to c": "Words.",
    "Ledger.refusal #7 comparison swapped: at_work + price_ceiling > credit": "A micro-credit less than K5 allows.",
    "Ledger.refusal #8 comparison swapped: risk > max(self.credit.strangers, self.credit.first)": (
        "A micro-credit less than K6 allows."
    ),
    "Slots.expired #1 off by one: 0": "Changes nothing: no lease ends in the first millisecond of 1970.",
    "Book._is_news #4 comparison swapped: order_of(document) <= order_of(listing.offer)": (
        "Changes nothing: of one order there is one document, and that was known by its bytes before."
    ),
    "Jobs.take_verdict #15 branch negated: 'refuted' if body.judgement is d.Judgement.REFUTED else f'ou": "Words.",
    "Jobs.take_verdict #18 comparison swapped: body.judgement is d.Judgement.REFUTED": "Words.",
    "Jobs.take_verdict #21 off by one: 8": "Words.",
    "Jobs._replay_end #8 dropped: job.fetched = not record.error": (
        "Changes nothing where somebody was paid: the first cheque says that the outputs are here."
    ),
    "Provider._assignment_fault #6 comparison swapped: body.commit_by <= now.wall_ms": "A millisecond.",
    "Settling._end #4 off by one: 0": "Changes nothing: nobody reads the exit code of a task that ended well.",
}
"""Mutations that change nothing, or nothing that matters: with the reason."""
