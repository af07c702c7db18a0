"""Work, reference and closed form for black_scholes_mc.cu."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from kernels_cu.library import Array, Work

_SPOT: Final = 100.0
_STRIKE: Final = 105.0
_RATE: Final = 0.03
_VOLATILITY: Final = 0.25
_YEARS: Final = 1.5
_BLOCK_THREADS: Final = 128
_PATHS_PER_DRAW: Final = 4
RTOL: Final = 2e-5
"""The kernel and numpy draw the same random words, but their logf, sinpif, cospif and expf differ in the last bits:
about 4 ulp (2.4e-7) per function, times at most 1 + |log(end / spot)| and the cancellation in end - strike."""
SIGMAS_MAX: Final = 4.5
"""The mean of the payoffs lies farther than this from the closed form once in 150,000 seeds; the seed is fixed."""


def build(scale: int) -> Work:
    """4,000 scale threads with 16 draws of four paths each."""
    threads = 4_000 * scale
    return Work(
        inputs={},
        outputs={"sums": ("f64", (threads,)), "squares": ("f64", (threads,))},
        scalars={
            "threads": np.int32(threads),
            "draws": np.int32(16),
            "seed": np.uint32(2026),
            "spot": np.float32(_SPOT),
            "strike": np.float32(_STRIKE),
            "drift": np.float32((_RATE - _VOLATILITY**2 / 2) * _YEARS),
            "volatility": np.float32(_VOLATILITY * math.sqrt(_YEARS)),
        },
        grid=(-(-threads // _BLOCK_THREADS), 1, 1),
        block=(_BLOCK_THREADS, 1, 1),
    )


def closed_form() -> float:
    """Black and Scholes (1973), equation 13: the price today."""
    spread = _VOLATILITY * math.sqrt(_YEARS)
    d1 = (math.log(_SPOT / _STRIKE) + (_RATE + _VOLATILITY**2 / 2) * _YEARS) / spread
    return _SPOT * _normal_cdf(d1) - _STRIKE * math.exp(-_RATE * _YEARS) * _normal_cdf(d1 - spread)


def price(work: Work, outputs: Mapping[str, Array]) -> tuple[float, float]:
    """(price, its standard error) from the sums of all threads."""
    paths = int(work.scalars["threads"]) * int(work.scalars["draws"]) * _PATHS_PER_DRAW
    mean = float(outputs["sums"].sum()) / paths
    variance = float(outputs["squares"].sum()) / paths - mean**2
    discount = math.exp(-_RATE * _YEARS)
    return discount * mean, discount * math.sqrt(variance / paths)


def reference(work: Work) -> dict[str, Array]:
    """The kernel's random words exactly, its functions in numpy's float."""
    threads = int(work.scalars["threads"])
    spot, strike, drift, volatility = (
        np.float32(work.scalars[name]) for name in ("spot", "strike", "drift", "volatility")
    )
    sums, squares = np.zeros(threads), np.zeros(threads)
    for draw in range(int(work.scalars["draws"])):
        words = _philox(np.arange(threads, dtype=np.uint64), draw, int(work.scalars["seed"]))
        for pair in (0, 2):
            radius = np.sqrt(np.float32(-2.0) * np.log(_uniform(words[pair])))
            angle = 2 * np.pi * _uniform(words[pair + 1]).astype(np.float64)
            for direction in (np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)):
                end = spot * np.exp(drift + volatility * (radius * direction))
                payoff = np.maximum(end - strike, np.float32(0)).astype(np.float64)
                sums += payoff
                squares += payoff * payoff
    return {"sums": sums, "squares": squares}


def check(work: Work, outputs: Mapping[str, Array]) -> str:
    """Every thread's sums against numpy, and the price against the closed form."""
    for name, want in reference(work).items():
        wrong = np.flatnonzero(~np.isclose(outputs[name], want, rtol=RTOL, atol=1e-3))
        if wrong.size:
            return f"{name}[{wrong[0]}] is {outputs[name][wrong[0]]}, not about {want[wrong[0]]}"
    estimate, error = price(work, outputs)
    if not abs(estimate - closed_form()) <= SIGMAS_MAX * error:
        return f"the price is {estimate:.4f} +- {error:.4f}; Black and Scholes give {closed_form():.4f}"
    return ""


def _philox(threads: Array, draw: int, seed: int) -> list[Array]:
    """Philox 4x32-10 with key (seed, 0) on counters (thread, draw, 0, 0), in 64-bit integers."""
    mask = np.uint64(0xFFFF_FFFF)
    zero = np.zeros_like(threads)
    c = [threads, zero + np.uint64(draw), zero, zero]
    key0, key1 = seed, 0
    for _ in range(10):
        product0, product1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (product1 >> np.uint64(32)) ^ c[1] ^ np.uint64(key0),
            product1 & mask,
            (product0 >> np.uint64(32)) ^ c[3] ^ np.uint64(key1),
            product0 & mask,
        ]
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFF_FFFF, (key1 + 0xBB67AE85) & 0xFFFF_FFFF
    return c


def _uniform(words: Array) -> Array:
    parts = (words >> np.uint64(9)).astype(np.float32) + np.float32(0.5)
    return parts * np.float32(1.0 / 8388608.0)


def _normal_cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2
