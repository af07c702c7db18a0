"""The command line. It parses, calls and prints; what it calls lives in client/ and node/."""

from __future__ import annotations

import sys


def main() -> int:
    """The `p2pcompute` command; its exit code."""
    from p2pcompute.cli.app import run

    return run(sys.argv[1:])
