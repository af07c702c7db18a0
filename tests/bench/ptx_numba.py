"""Numba twins of the benchmark `ptx`: natural loops with the kernels' arguments, one thread, no contraction."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
natural = njit(fastmath=False, error_model="numpy")
"""Floats as IEEE 754 says, as in the C++ twins: no reassociation, and no exception on division by zero."""

ROUND: Final = np.array(
    [
        *(0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5),
        *(0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174),
        *(0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA),
        *(0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967),
        *(0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85),
        *(0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070),
        *(0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3),
        *(0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2),
    ],
    np.uint32,
)
"""FIPS 180-4, section 4.2.2."""


@natural
def saxpy(a: float, x: Array, y: Array, n: int) -> None:
    for i in range(n):
        y[i] = a * x[i] + y[i]


@natural
def sgemm(a: Array, b: Array, c: Array, n: int) -> None:
    left, right, product = a.reshape(n, n), b.reshape(n, n), c.reshape(n, n)
    for i in range(n):
        for j in range(n):
            product[i, j] = 0
        for k in range(n):
            factor = left[i, k]
            for j in range(n):
                product[i, j] += factor * right[k, j]


@natural
def reduce(x: Array, out: Array, n: int) -> None:
    total = np.float32(0)
    for i in range(n):
        total += x[i]
    out[0] = total


@natural
def scan(x: Array, y: Array, n: int) -> None:
    for start in range(0, n, 256):
        total = np.int32(0)
        for i in range(start, min(start + 256, n)):
            total += x[i]
            y[i] = total


@natural
def histogram(x: Array, h: Array, n: int) -> None:
    for i in range(n):
        h[x[i]] += 1


@natural
def spmv(rows: Array, columns: Array, values: Array, x: Array, y: Array, n: int) -> None:
    for i in range(n):
        total = 0.0
        for j in range(rows[i], rows[i + 1]):
            total += values[j] * x[columns[j]]
        y[i] = total


@natural
def heat3d(u: Array, v: Array, nx: int, ny: int, nz: int, k: float) -> None:
    old, new, six = u.reshape(nz, ny, nx), v.reshape(nz, ny, nx), np.float32(6)
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                here = old[z, y, x]
                along = old[z, y, x - 1] + old[z, y, x + 1] + old[z, y - 1, x] + old[z, y + 1, x]
                new[z, y, x] = here + k * (along + old[z - 1, y, x] + old[z + 1, y, x] - six * here)


@natural
def nbody(p: Array, acc: Array, n: int, eps: float) -> None:
    bodies, out, one, zero = p.reshape(n, 4), acc.reshape(n, 4), np.float32(1), np.float32(0)
    for i in range(n):
        x, y, z = bodies[i, 0], bodies[i, 1], bodies[i, 2]
        ax, ay, az = zero, zero, zero
        for j in range(n):
            dx, dy, dz = bodies[j, 0] - x, bodies[j, 1] - y, bodies[j, 2] - z
            inverse = one / np.sqrt(dx * dx + dy * dy + dz * dz + eps)
            s = bodies[j, 3] * inverse * inverse * inverse
            ax += dx * s
            ay += dy * s
            az += dz * s
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = ax, ay, az, zero


@natural
def mandelbrot(out: Array, w: int, h: int, x0: float, y0: float, dx: float, dy: float, limit: int) -> None:
    two, four = np.float32(2), np.float32(4)
    for py in range(h):
        for px in range(w):
            cx, cy = x0 + np.float32(px) * dx, y0 + np.float32(py) * dy
            x, y, it = np.float32(0), np.float32(0), 0
            while it < limit:
                xx, yy = x * x, y * y
                if xx + yy > four:
                    break
                y = two * x * y + cy
                x = xx - yy + cx
                it += 1
            out[py * w + px] = it


@natural
def _turned(x: np.uint32, n: int) -> np.uint32:
    return np.uint32((x >> np.uint32(n)) | (x << np.uint32(32 - n)))


@natural
def sha256(header: Array, start: int, target: int, found: Array) -> None:
    w = np.empty(64, np.uint32)
    for nonce in range(np.uint32(start), np.uint32(start) + np.uint32(65536)):
        for i in range(15):
            w[i] = header[i]
        w[15] = nonce
        for i in range(16, 64):
            a, b = w[i - 15], w[i - 2]
            low = _turned(a, 7) ^ _turned(a, 18) ^ (a >> np.uint32(3))
            high = _turned(b, 17) ^ _turned(b, 19) ^ (b >> np.uint32(10))
            w[i] = w[i - 16] + low + w[i - 7] + high
        a, b, c, d = np.uint32(0x6A09E667), np.uint32(0xBB67AE85), np.uint32(0x3C6EF372), np.uint32(0xA54FF53A)
        e, f, g, h = np.uint32(0x510E527F), np.uint32(0x9B05688C), np.uint32(0x1F83D9AB), np.uint32(0x5BE0CD19)
        for i in range(64):
            s1 = _turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)
            t1 = np.uint32(h + s1 + ((e & f) ^ (~e & g)) + ROUND[i] + w[i])
            s0 = _turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)
            t2 = np.uint32(s0 + ((a & b) ^ (a & c) ^ (b & c)))
            h, g, f, e, d, c, b, a = g, f, e, np.uint32(d + t1), c, b, a, np.uint32(t1 + t2)
        if np.uint32(a + np.uint32(0x6A09E667)) < target and nonce < found[0]:
            found[0] = nonce


@natural
def smith_waterman(a: Array, b: Array, la: int, lb: int, best: Array) -> None:
    for k in range(len(best)):
        row = np.zeros(lb + 1, np.int32)
        other, most = b[k * lb : (k + 1) * lb], np.int32(0)
        for i in range(la):
            diagonal = np.int32(0)
            for j in range(lb):
                up = row[j + 1]
                match = np.int32(2) if a[i] == other[j] else np.int32(-1)
                v = np.int32(max(np.int32(0), diagonal + match, max(up, row[j]) - 1))
                diagonal = up
                row[j + 1] = v
                most = max(most, v)
        best[k] = most


@natural
def kmeans(x: Array, centres: Array, label: Array, n: int, k: int) -> None:
    points, places = x.reshape(n, 8), centres.reshape(k, 8)
    for i in range(n):
        best, at = np.float32(3.4e38), 0
        for c in range(k):
            s = np.float32(0)
            for d in range(8):
                e = points[i, d] - places[c, d]
                s += e * e
            if s < best:
                best, at = s, c
        label[i] = at
