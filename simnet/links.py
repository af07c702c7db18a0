"""How lines between peers behave: latency, jitter, loss, duplicates, disorder, bandwidth.

Chance is dealt by number, not by order: the n-th frame of a link has the same fate whatever else happens in the world.
"""

from __future__ import annotations

from typing import Final

import msgspec

REGIONS: Final = ("eu-west", "us-east", "us-west", "sa-east", "ap-south", "ap-east")
DISTANCES_MS: Final = (
    (6, 40, 70, 95, 60, 110),
    (40, 6, 32, 60, 95, 85),
    (70, 32, 6, 88, 110, 60),
    (95, 60, 88, 6, 150, 140),
    (60, 95, 110, 150, 6, 45),
    (110, 85, 60, 140, 45, 6),
)
"""One-way latency between regions, in milliseconds: half of typical round trips between data centres of these parts of
the world, rounded."""
_MASK: Final = (1 << 64) - 1
_SHARE: Final = 1 << 20


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One-way latency of a pair is drawn once: uniform between the bounds, log-normal around their middle ("heavy"), or
    from the distance of the two regions ("regions"). On top of it every frame has up to `jitter_ms`.

    `loss`, `duplicate` and `reorder` are shares of one-way frames: gone, delivered twice, or late by up to
    `reorder_ms`. Requests run on reliable streams: `request_loss` is the share of requests, and of answers, that nobody
    gets to see before the asker gives up. `uplink_kb_s` bounds what a peer sends in a second (0: nothing does); a line
    that is `queue_kb` behind drops frames that may be dropped, and tells the sender.
    """

    latency: str = "uniform"
    latency_ms_min: int = 5
    latency_ms_max: int = 80
    jitter_ms: int = 10
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ms: int = 200
    request_loss: float = 0.0
    uplink_kb_s: int = 0
    queue_kb: int = 256


LATENCIES: Final = ("uniform", "heavy", "regions")


def mix(value: int) -> int:
    """64 well-mixed bits of a number (splitmix64: Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


_CHANCES_MASK: Final = (1 << 16) - 1
_CHANCES: Final = tuple(mix(i) >> 20 for i in range(1 << 16))
"""Enough for jitter, and much cheaper than to mix every time."""


class Dice:
    """Draws for one world: everything is a function of the seed and of who sends what for the how manieth time."""

    def __init__(self, seed: int, links: Links) -> None:
        self._seed, self.links, self._jitters = mix(seed), links, links.jitter_ms + 1
        self._loss = int(links.loss * _SHARE)
        self._duplicate = int(links.duplicate * _SHARE)
        self._reorder = int(links.reorder * _SHARE)
        self._request_loss = int(links.request_loss * _SHARE)
        self.plain = not (self._loss or self._duplicate or self._reorder)
        """Frames have nothing but latency and jitter."""

    def seed_of(self, a: int, b: int, number: int) -> int:
        """The chances of one direction of one connection."""
        return mix(self._seed ^ mix((a << 42) ^ (b << 20) ^ number))

    def latency_ms(self, a: int, b: int, regions: tuple[int, int]) -> int:
        """One-way latency of a pair, the same in both directions and for ever."""
        links = self.links
        draw = self.seed_of(min(a, b), max(a, b), 0xFFFFF)
        if links.latency == "regions":
            return DISTANCES_MS[regions[0]][regions[1]] + draw % 10
        low, high = links.latency_ms_min, links.latency_ms_max
        if links.latency == "heavy":
            return max(1, low + sum((draw >> shift) % 8 == 0 for shift in (0, 8, 16, 24)) * (high - low) + draw % 7)
        return max(1, low + draw % (high - low + 1))

    def jitter_ms(self, seed: int, number: int) -> int:
        """Of one frame."""
        return _CHANCES[(seed + number * 7919) & _CHANCES_MASK] % self._jitters

    def fate(self, seed: int, number: int) -> tuple[int, ...]:
        """What the copies of one frame take on top of the latency: none when it is lost, two when it is doubled."""
        draw = mix(seed + number)
        delay = draw % self._jitters
        if (draw >> 8) % _SHARE < self._loss:
            return ()
        if (draw >> 24) % _SHARE < self._reorder:
            delay += 1 + (draw >> 16) % self.links.reorder_ms
        if (draw >> 40) % _SHARE < self._duplicate:
            return delay, delay + 1 + (draw >> 12) % 50
        return (delay,)

    def is_lost(self, seed: int, number: int) -> bool:
        """Whether a request, or an answer, never arrives."""
        return self._request_loss > 0 and mix(seed ^ mix(number)) % _SHARE < self._request_loss
