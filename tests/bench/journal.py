"""Durable receipts through the journal, against bare SQLite with the same durability (WAL, synchronous=FULL)."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Final

import trio

from p2pcompute.storage.commit import open_committer
from p2pcompute.storage.journal import Journal
from tests.bench.timing import side_by_side_wall

GOALS: Final = {"single_ratio": (">=", 0.8), "group_ratio": (">=", 15.0)}
RECORD: Final = bytes(500)
CALLERS: Final = 64


def measure(*, quick: bool) -> dict[str, object]:
    """`single_ratio`: records per second of one caller, over bare SQLite's commits per second. `group_ratio`: the same
    for 64 callers at once."""
    count = 20 if quick else 300
    with tempfile.TemporaryDirectory() as directory, Journal.create(Path(directory) / "journal.db") as journal:
        bare = sqlite3.connect(Path(directory) / "bare.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute("CREATE TABLE records (lsn INTEGER PRIMARY KEY, record BLOB)")

        def insert_bare() -> None:
            for _ in range(count):
                bare.execute("INSERT INTO records (record) VALUES (?)", (RECORD,))

        ways = {
            "bare": insert_bare,
            "single": lambda: trio.run(_commit, journal, 1, count),
            "group": lambda: trio.run(_commit, journal, CALLERS, count),
        }
        seconds = side_by_side_wall(ways, 3 if quick else 9)
        bare.close()
    return {
        "single_ratio": seconds["bare"] / seconds["single"],
        "group_ratio": CALLERS * seconds["bare"] / seconds["group"],
        "bare_commits_per_s": count / seconds["bare"],
    }


async def _commit(journal: Journal, callers: int, count: int) -> None:
    async with open_committer(journal) as committer, trio.open_nursery() as nursery:

        async def caller() -> None:
            for _ in range(count):
                await committer.commit(RECORD)

        for _ in range(callers):
            nursery.start_soon(caller)
