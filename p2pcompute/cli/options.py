"""What most commands take, and where they get a passphrase."""

from __future__ import annotations

import dataclasses
import getpass
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

if TYPE_CHECKING:
    from p2pcompute.node.keyring import Passphrase


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Common:
    """Options of every command that works on a home."""

    home: Annotated[Path | None, Parameter(help="The node's home [default: $P2PCOMPUTE_HOME].")] = None
    json: Annotated[bool, Parameter(help="Print JSON: one value per line on stdout.")] = False

    @property
    def root(self) -> Path:
        """The home meant."""
        from p2pcompute.node.factory import default_home

        return self.home if self.home is not None else default_home()

    def passphrase(self) -> Passphrase:
        """Where the home's passphrase comes from: looked for only when a key needs it."""
        from p2pcompute.node.factory import passphrase_source

        return passphrase_source(None, ask_passphrase if sys.stdin.isatty() else None)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Json:
    """The option of commands that need no home."""

    json: Annotated[bool, Parameter(help="Print JSON: one value per line on stdout.")] = False


COMMON: Final = Common()
JSON: Final = Json()


def ask_passphrase(prompt: str = "Passphrase: ") -> str:
    """Ask at the terminal. Ctrl-C works here whatever event loop is running."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass.getpass(prompt, stream=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, before)
