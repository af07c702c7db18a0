"""Where a passphrase comes from when nobody, or somebody, sits at the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from p2pcompute.errors import LocalError
from p2pcompute.storage.files import read_bounded
from p2pcompute.storage.keystore import PASSPHRASE_BYTES_MAX

VARIABLE: Final = "P2PCOMPUTE_PASSPHRASE"
FILE_VARIABLE: Final = "P2PCOMPUTE_PASSPHRASE_FILE"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a unit with LoadCredential= (systemd.exec(5), Credentials)."""
CREDENTIAL: Final = "p2pcompute-passphrase"


def find_passphrase(
    environment: Mapping[str, str], *, given: str | None = None, prompt: Callable[[], str] | None = None
) -> str:
    """The first of: `given`; the variable P2PCOMPUTE_PASSPHRASE; the file that P2PCOMPUTE_PASSPHRASE_FILE names; the
    systemd credential p2pcompute-passphrase; what `prompt` answers.

    Raises LocalError when there is none, or a file that is named cannot be used.
    """
    if given is not None:
        return given
    if VARIABLE in environment:
        return environment[VARIABLE]
    if environment.get(FILE_VARIABLE):
        return _read(Path(environment[FILE_VARIABLE]))
    if environment.get(CREDENTIALS_VARIABLE):
        credential = Path(environment[CREDENTIALS_VARIABLE]) / CREDENTIAL
        if credential.exists():
            return _read(credential)
    if prompt is not None:
        return prompt()
    raise LocalError(
        f"a passphrase is needed; set {VARIABLE} or {FILE_VARIABLE}, or load the systemd credential {CREDENTIAL}"
    )


def _read(path: Path) -> str:
    """The file's content without its last line break."""
    try:
        content = read_bounded(path, PASSPHRASE_BYTES_MAX + 2)
        text = content.decode() if content is not None else None
    except OSError as error:
        raise LocalError(f"the passphrase file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LocalError(f"the passphrase file {path} is not UTF-8 text") from error
    if text is None:
        raise LocalError(f"the passphrase file {path} is longer than {PASSPHRASE_BYTES_MAX} bytes")
    return text.removesuffix("\n").removesuffix("\r")
