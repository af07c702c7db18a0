"""When a machine is shared: always, at certain hours, or while its owner does not use it. Pure; idle.py acts on it.

    Sharer(parse_when("idle, 22:00-07:00"), Bounds()).look(sample) -> Word(share=False, why="somebody types")

Sharing ends with the first sample that speaks against it, and begins again when none did for a while: an owner who
comes back never waits, and offers do not flap.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from p2pcompute.errors import UsageError

WINDOWS_MAX: Final = 16
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")
_DAY_MIN: Final = 24 * 60


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """Any of these is enough. `windows`: local times of day in minutes, [from, to); from > to spans midnight."""

    always: bool = False
    idle: bool = False
    windows: tuple[tuple[int, int], ...] = ()

    def is_hour(self, minute: int) -> bool:
        """Whether it is shared at this minute of the day, idle or not."""
        return self.always or any(_lies_in(minute, window) for window in self.windows)


def parse_when(text: str) -> When:
    """`always`, `idle`, hours like `22:00-07:00`, or several of these with commas, of which any is enough. Raises
    UsageError."""
    words = [word.strip() for word in text.split(",")]
    if len(words) > WINDOWS_MAX:
        raise UsageError(f"when: at most {WINDOWS_MAX} times")
    windows = []
    for word in words:
        match = _WINDOW.fullmatch(word)
        if match:
            h1, m1, h2, m2 = map(int, match.groups())
            begin, end = 60 * h1 + m1, 60 * h2 + m2
            if end > _DAY_MIN or begin == end:
                raise UsageError(f"when: {word!r} is no span of a day")
            windows.append((begin, end))
        elif word not in ("always", "idle"):
            raise UsageError(f"when: {word[:64]!r} is neither always, idle nor hours like 22:00-07:00")
    return When("always" in words, "idle" in words, tuple(windows))


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What counts as use by the owner: `cpu_percent` of all processors and `gpu_percent` of a GPU by processes that are
    not the node's, and input within the last `idle_s`. Above `celsius_max` or `watts_max` (0: no bound) of any GPU
    nothing is shared whatever the hour. `resume_s`: so long nothing must speak against sharing before it begins
    again; for heat, the device must also have cooled by `cool_by`."""

    cpu_percent: int = 25
    gpu_percent: int = 10
    idle_s: int = 300
    resume_s: int = 30
    celsius_max: int = 0
    watts_max: int = 0
    cool_by: int = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """What the machine does at a moment; None where it does not say. `cpu_percent`: of all processors, by others than
    the node; `gpu_percent`: the most of any offered GPU, by others; `strangers`: processes of others on offered GPUs;
    `input_s`: since the last key, click or terminal line; `celsius`, `watts`: the most of any offered GPU."""

    mono_ms: int
    minute: int
    cpu_percent: float = 0.0
    gpu_percent: int | None = None
    strangers: int | None = None
    input_s: float | None = None
    celsius: int | None = None
    watts: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """Whether to share now; `why` is the end of a sentence for the operator, empty while sharing."""

    share: bool
    why: str = ""


class Sharer:
    """Judges sample after sample, in order of time. Begins as not shared, so that a node starts in peace."""

    def __init__(self, when: When, bounds: Bounds) -> None:
        self._when, self._bounds = when, bounds
        self._shares = False
        self._hot = False
        self._against_ms: int | None = None
        """When the last sample spoke against sharing; None before any did."""

    def look(self, sample: Sample) -> Word:
        """What to do from now on."""
        why = self._strain(sample) or ("" if self._when.is_hour(sample.minute) else self._use(sample))
        if why:
            self._against_ms, self._shares = sample.mono_ms, False
            return Word(False, why)
        if self._against_ms is not None and sample.mono_ms - self._against_ms < 1_000 * self._bounds.resume_s:
            return Word(False, f"quiet for less than {self._bounds.resume_s} s")
        self._shares = True
        return Word(True)

    def _strain(self, sample: Sample) -> str:
        """A device beyond its bounds; one that was too hot must cool first."""
        b = self._bounds
        if b.celsius_max and sample.celsius is not None:
            self._hot = sample.celsius > b.celsius_max - (b.cool_by if self._hot else 0)
            if self._hot:
                return f"a GPU has {sample.celsius} degrees, more than {b.celsius_max}"
        if b.watts_max and sample.watts is not None and sample.watts > b.watts_max:
            return f"a GPU draws {sample.watts} W, more than {b.watts_max}"
        return ""

    def _use(self, sample: Sample) -> str:
        """What the owner does with the machine, where that counts."""
        b = self._bounds
        if not self._when.idle:
            return "it is not the hour"
        if sample.input_s is not None and sample.input_s < b.idle_s:
            return f"its owner was there {sample.input_s:.0f} s ago"
        if sample.strangers:
            return f"{sample.strangers} other processes use a GPU"
        if sample.gpu_percent is not None and sample.gpu_percent > b.gpu_percent:
            return f"others use {sample.gpu_percent} % of a GPU"
        if sample.cpu_percent > b.cpu_percent:
            return f"others use {sample.cpu_percent:.0f} % of the processors"
        return ""


def _lies_in(minute: int, window: tuple[int, int]) -> bool:
    begin, end = window
    return begin <= minute < end if begin < end else minute >= begin or minute < end
