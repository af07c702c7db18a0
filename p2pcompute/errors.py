"""Every exception the package raises on purpose: you misused it (LocalError) or a peer misbehaved (RemoteError).

An error's text is one sentence for a person; where there is a next step, it names it. The command line maps each
class to its exit code.
"""

from __future__ import annotations


class P2PComputeError(Exception):
    """Root of all errors of the package."""

    exit_code = 1


class LocalError(P2PComputeError):
    """The cause is on this machine: bad input, a wrong call, a missing file, a busy port."""


class RemoteError(P2PComputeError):
    """The cause is a peer: it lied, broke the protocol, or went away."""


class UsageError(LocalError):
    """An argument is wrong: its name, type, shape or value."""

    exit_code = 2


class DecodeError(RemoteError):
    """Bytes are not a canonical, bounded, well-formed document. Always judged REJECT."""


class SignatureError(RemoteError):
    """A document's signature does not belong to its signer and content."""


class CompileError(LocalError):
    """A kernel did not compile; the text is the compiler's own message with the user's file and line."""


class PtxError(LocalError):
    """PTX is outside what the engine accepts; the text names the line and the construct."""


class KernelError(LocalError):
    """The kernel itself is at fault: out of bounds, division trap, endless loop; every honest machine says so."""


class SandboxError(LocalError):
    """The operating system refuses a protection the worker needs."""


class DeviceError(LocalError):
    """A GPU is missing, too old, or out of service. `found` says which, `fix` what to do, where that is known; the text
    has both."""

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(f"{found}; {fix}" if fix else found)
        self.found, self.fix = found, fix


class HomeError(LocalError):
    """A home directory is missing, locked by another process, or damaged."""


class NoPeersError(P2PComputeError):
    """Nobody can serve the demand; the text says why, constraint by constraint."""

    exit_code = 3


class BudgetError(LocalError):
    """The work would cost more than the budget allows; nothing was signed."""

    exit_code = 4


class VerificationError(RemoteError):
    """Results disagree, or a receipt does not verify."""

    exit_code = 5
