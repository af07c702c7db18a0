"""`python -m p2pcompute.cli.tethered PARENT_PID COMMAND…`: a command that the kernel kills when its parent dies.

The demo starts its providers this way, so that nothing outlives it, however it ends.
"""

from __future__ import annotations

import sys

from p2pcompute.compute.sandbox import die_with_parent


def main() -> int:
    """Tie this process to its parent, then be the command: `liar …` or any verb of the command line."""
    die_with_parent(int(sys.argv[1]))
    command = sys.argv[2:]
    if command[:1] == ["liar"]:
        from p2pcompute.cli import liar

        return liar.main(command[1:])
    from p2pcompute.cli import main as cli_main

    sys.argv = ["p2pcompute", *command]
    return cli_main()


if __name__ == "__main__":
    sys.exit(main())
