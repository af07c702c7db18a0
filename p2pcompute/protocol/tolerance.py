"""Who agrees with whom when results need only be close: rules V20 to V23 of docs/spec/verification.md.

Being close is not transitive, so nothing is counted by equal values: a result is agreed when enough operators' results
are close to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """By places in the row of results. `reference` is the result that is taken, None without an agreement; `close`:
    those that are close to it, or to one of these. `best` counts the operators in the largest group."""

    reference: int | None
    close: tuple[int, ...]
    best: int


def agreement(operators: Sequence[bytes], pairs: Iterable[Pair], quorum: int) -> Agreement:
    """`operators[i]` states result i; `pairs` are those that are close to each other. An operator counts once.

    The reference has the most operators around it, the first of those that have equally many; when another of these
    has nobody in common with it, that is a tie, and no agreement.
    """
    around = [{i} for i in range(len(operators))]
    for i, j in pairs:
        around[i].add(j)
        around[j].add(i)
    sizes = [len({operators[j] for j in group}) for group in around]
    best = max(sizes, default=0)
    leading = [i for i, size in enumerate(sizes) if size == best]
    if best < quorum or any(around[leading[0]].isdisjoint(around[i]) for i in leading):
        return Agreement(None, (), best)
    reference = leading[0]
    close = {j for member in around[reference] for j in around[member]}
    return Agreement(reference, tuple(sorted(close)), best)
