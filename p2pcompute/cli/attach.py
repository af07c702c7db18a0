"""Asking a node: the one that runs on the home, or one opened for the question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from p2pcompute.cli import output
from p2pcompute.cli.options import Common

if TYPE_CHECKING:
    from p2pcompute.node.api import NodeApi

T = TypeVar("T")
OFFERS_WAIT_S: Final = 3.0
"""For a node that was opened for the question to join and fill its book."""


def ask(common: Common, question: Callable[[NodeApi], Awaitable[T]], *, join: bool = False) -> T:
    """The answer of the running node; without one, of a node opened on the home. That one talks to other peers only
    when `join` says so, and then waits for the first offers; it settles nothing. Raises what the node raises."""
    import trio

    from p2pcompute.client.aio import wait_for_offers
    from p2pcompute.node import factory

    changes: dict[str, object] = {"provide": False, "settlement": ()} | ({} if join else {"bootstrap": ()})

    async def main() -> T:
        async with factory.open_requester(common.root, common.passphrase(), changes) as node:
            if join and factory.is_here(node):
                output.say("No node runs on this home; joining for a moment.")
                await wait_for_offers(node, 1, OFFERS_WAIT_S)
            return await question(node)

    return trio.run(main)


def ask_running(common: Common, question: Callable[[NodeApi], Awaitable[T]]) -> T:
    """The answer of the node that runs on the home. Raises HomeError when none does."""
    import trio

    from p2pcompute.node import factory

    return trio.run(question, factory.running_node(common.root))
