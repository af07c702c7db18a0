"""Private keys at rest: 32-byte ed25519 seeds, each in its own file of mode 0600, encrypted with a passphrase.

A key file is text of `name: value` lines. The passphrase becomes a key through Argon2id (RFC 9106, libsodium's
crypto_pwhash) and the seed is sealed with XSalsa20-Poly1305 (libsodium's crypto_secretbox). An empty passphrase leaves
the seed in clear; the file then says `protection: none`, and nothing but the file's mode guards it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3
from nacl import exceptions, pwhash, secret, signing

from p2pcompute.errors import HomeError, LocalError, UsageError
from p2pcompute.storage.files import read_bounded, replace_file
from p2pcompute.wire.limits import GIB

NAMES: Final = ("operator", "node", "client")
SEED_BYTES: Final = 32
FILE_BYTES_MAX: Final = 4096
PASSPHRASE_BYTES_MAX: Final = 1024
ARGON2_PASSES_MAX: Final = 16
ARGON2_MEMORY_BYTES_MAX: Final = GIB
"""What a key file may ask of us before its passphrase is even tried."""

_HEADER: Final = "p2pcompute private key, format 1"
_CHECK_BYTES: Final = 8

Passphrase = str | Callable[[], str]
"""A passphrase, or where to get it: only called when a key is protected."""


class Cost(msgspec.Struct, frozen=True):
    """Argon2id's price per guess. The default is libsodium's `interactive`: 64 MiB and two passes."""

    passes: int = pwhash.argon2id.OPSLIMIT_INTERACTIVE
    memory_bytes: int = pwhash.argon2id.MEMLIMIT_INTERACTIVE


class _KeyFile(msgspec.Struct, frozen=True):
    """What a key file says. Unprotected: `passes` is 0 and `box` is the seed itself."""

    name: str
    public: bytes
    cost: Cost
    salt: bytes
    box: bytes

    @property
    def protected(self) -> bool:
        return self.cost.passes > 0


class Keystore:
    """The key files in one directory."""

    def __init__(self, directory: Path, cost: Cost | None = None) -> None:
        self._directory = directory
        self._cost = cost or Cost()

    def names(self) -> list[str]:
        """Which keys are here, in the order of `NAMES`."""
        return [name for name in NAMES if self._path(name).exists()]

    def create(self, name: str, seed: bytes, passphrase: str) -> None:
        """Keep `seed` (32 bytes) as `name`. An empty passphrase leaves it unprotected, which the file then says.

        Raises UsageError for a bad name or seed, HomeError when the key exists or cannot be written.
        """
        if len(seed) != SEED_BYTES:
            raise UsageError(f"a private key has {SEED_BYTES} bytes, not {len(seed)}")
        if self._path(name).exists():
            raise HomeError(f"the key {self._path(name)} exists already; a key is never overwritten")
        self._write(name, _seal(name, seed, passphrase, self._cost))

    def load(self, name: str, passphrase: Passphrase = "") -> bytes:
        """The seed of `name`, 32 bytes.

        Raises HomeError when the file is missing, readable by others or damaged, LocalError for a wrong passphrase.
        """
        return _unseal(self._read(name), passphrase, f"the key {name}")

    def public(self, name: str) -> bytes:
        """The 32-byte public key of `name`; needs no passphrase."""
        return self._read(name).public

    def protected(self, name: str) -> bool:
        """Does `name` need a passphrase?"""
        return self._read(name).protected

    def change_passphrase(self, name: str, old: Passphrase, new: str) -> None:
        """Seal `name` anew. A crash leaves either the old file or the new one."""
        self._write(name, _seal(name, self.load(name, old), new, self._cost))

    def export(self, name: str, passphrase: Passphrase, export_passphrase: str) -> str:
        """`name` as text under a passphrase of its own, for another home."""
        return _seal(name, self.load(name, passphrase), export_passphrase, self._cost)

    def import_(self, name: str, text: str, export_passphrase: Passphrase, passphrase: str) -> None:
        """Keep a key that `export` wrote as `name`; the exported name does not matter."""
        if len(text) > FILE_BYTES_MAX:
            raise UsageError(f"an exported key is at most {FILE_BYTES_MAX} bytes long")
        try:
            key = _parse(text)
        except ValueError as error:
            raise UsageError(f"this is not an exported key ({error})") from error
        self.create(name, _unseal(key, export_passphrase, "the exported key"), passphrase)

    def _path(self, name: str) -> Path:
        if name not in NAMES:
            raise UsageError(f"there is no key {name!r}; the keys are {', '.join(NAMES)}")
        return self._directory / f"{name}.key"

    def _write(self, name: str, text: str) -> None:
        path = self._path(name)
        with _explained(path):
            replace_file(path, text.encode())

    def _read(self, name: str) -> _KeyFile:
        path = self._path(name)
        with _explained(path):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                raise HomeError(f"the key {path} is open to other users; close it with: chmod 600 {path}")
            content = read_bounded(path, FILE_BYTES_MAX)
        try:
            key = _parse((content or b"").decode("ascii"))
        except ValueError as error:
            raise HomeError(f"the key {path} is damaged ({error}); restore it from a backup") from error
        if key.name != name:
            raise HomeError(f"the file {path} holds the key {key.name!r}; put it back under its own name")
        return key


def _seal(name: str, seed: bytes, passphrase: str, cost: Cost) -> str:
    """The text of a key file."""
    salt = secrets.token_bytes(pwhash.argon2id.SALTBYTES)
    encoded = encode_passphrase(passphrase)
    if encoded:
        box = bytes(secret.SecretBox(_stretch(encoded, salt, cost)).encrypt(seed))
    else:
        cost, box = Cost(passes=0, memory_bytes=0), seed
    public = bytes(signing.SigningKey(seed).verify_key)
    return _format(_KeyFile(name=name, public=public, cost=cost, salt=salt, box=box))


def _unseal(key: _KeyFile, passphrase: Passphrase, what: str) -> bytes:
    seed = key.box
    if key.protected:
        encoded = encode_passphrase(passphrase if isinstance(passphrase, str) else passphrase())
        if not encoded:
            raise LocalError(f"{what} is protected and no passphrase was given")
        try:
            seed = secret.SecretBox(_stretch(encoded, key.salt, key.cost)).decrypt(key.box)
        except exceptions.CryptoError as error:
            raise LocalError(f"the passphrase for {what} is wrong") from error
    if len(seed) != SEED_BYTES or bytes(signing.SigningKey(seed).verify_key) != key.public:
        raise HomeError(f"{what} is damaged (private and public part differ); restore it from a backup")
    return seed


def encode_passphrase(passphrase: str) -> bytes:
    """UTF-8 of the NFC form, so that the same keys typed on another system give the same bytes (RFC 8265, 4.2).

    Raises UsageError when it is too long."""
    encoded = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    if len(encoded) > PASSPHRASE_BYTES_MAX:
        raise UsageError(f"a passphrase has at most {PASSPHRASE_BYTES_MAX} bytes")
    return encoded


def _stretch(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    size = secret.SecretBox.KEY_SIZE
    return bytes(pwhash.argon2id.kdf(size, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory_bytes))


def _format(key: _KeyFile) -> str:
    if key.protected:
        protection = f"argon2id {key.cost.passes} {key.cost.memory_bytes}"
    else:
        protection = "none"
    body = (
        f"{_HEADER}\nname: {key.name}\npublic: {key.public.hex()}\nprotection: {protection}\n"
        f"salt: {key.salt.hex()}\nbox: {key.box.hex()}\n"
    )
    return f"{body}check: {_check(body)}\n"


def _check(body: str) -> str:
    """Tells a damaged file from a wrong passphrase."""
    return blake3(body.encode()).digest(_CHECK_BYTES).hex()


def _parse(text: str) -> _KeyFile:
    """Strict inverse of `_format`. Raises ValueError with the fault."""
    body, separator, check = text.partition("check: ")
    if not separator or check.strip() != _check(body):
        raise ValueError("its checksum does not fit")
    header, *lines = body.splitlines()
    fields = dict(line.partition(": ")[::2] for line in lines)
    if header != _HEADER or list(fields) != ["name", "public", "protection", "salt", "box"]:
        raise ValueError("it is of an unknown format")
    key = _KeyFile(
        name=fields["name"],
        public=bytes.fromhex(fields["public"]),
        cost=_parse_protection(fields["protection"]),
        salt=bytes.fromhex(fields["salt"]),
        box=bytes.fromhex(fields["box"]),
    )
    if len(key.salt) != pwhash.argon2id.SALTBYTES or len(key.public) != SEED_BYTES:
        raise ValueError("its salt or public key has the wrong length")
    return key


def _parse_protection(value: str) -> Cost:
    if value == "none":
        return Cost(passes=0, memory_bytes=0)
    fields = re.fullmatch(r"argon2id ([0-9]{1,3}) ([0-9]{1,12})", value)
    if not fields:
        raise ValueError("its protection is unknown")
    cost = Cost(passes=int(fields[1]), memory_bytes=int(fields[2]))
    in_bounds = (
        pwhash.argon2id.OPSLIMIT_MIN <= cost.passes <= ARGON2_PASSES_MAX
        and pwhash.argon2id.MEMLIMIT_MIN <= cost.memory_bytes <= ARGON2_MEMORY_BYTES_MAX
    )
    if not in_bounds:
        raise ValueError("its protection asks for more than the limits")
    return cost


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise HomeError(f"there is no key {path}; make one with: p2pcompute init") from error
    except OSError as error:
        raise HomeError(f"the key {path} cannot be used: {os.strerror(error.errno or 0)}") from error
