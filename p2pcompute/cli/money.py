"""Credits and sizes as people type and read them. Inside, money is whole micro-credits and memory whole bytes."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

from p2pcompute.errors import UsageError

MICRO: Final = 1_000_000
CREDITS_MAX: Final = 10**9
"""wire.limits.PRICE_MAX in credits."""
_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_credits(text: str) -> int:
    """Micro-credits in a decimal number of credits, exactly. Raises UsageError."""
    try:
        amount = Decimal(text) * MICRO
        whole = int(amount)
    except (InvalidOperation, ValueError, OverflowError):
        raise UsageError(f"{text[:64]!r} is no amount of credits; write it like 1.25") from None
    if whole != amount:
        raise UsageError(f"{text[:64]} has more than the six decimals that credits have")
    if not 0 <= whole <= CREDITS_MAX * MICRO:
        raise UsageError(f"{text[:64]} credits is out of range; 0 to {CREDITS_MAX} are possible")
    return whole


def format_credits(micro: int) -> str:
    """Always six decimals: 1250000 is 1.250000."""
    sign = "-" if micro < 0 else ""
    return f"{sign}{abs(micro) // MICRO}.{abs(micro) % MICRO:06d}"


def parse_bytes(text: str) -> int:
    """A size like 512MiB, 4GiB or 1000000. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([a-zA-Z]*)", text.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise UsageError(f"{text[:64]!r} is no size; write it like 512MiB or 4GiB")
    return int(match[1]) * _UNITS[match[2].upper()]


def format_bytes(size: int) -> str:
    """In the largest binary unit that leaves at least one: 4294967296 is 4.0 GiB."""
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
