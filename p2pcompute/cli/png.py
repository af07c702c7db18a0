"""A picture file from numbers: just enough of PNG (W3C PNG specification, third edition) for the demo."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def escape_colours(steps: npt.NDArray[Any], steps_max: int) -> npt.NDArray[np.uint8]:
    """Escape times, (height, width) of integers, as RGB (height, width, 3): black inside, a cyclic palette outside."""
    phase = np.sqrt(steps / steps_max) * 2 * np.pi
    waves = [0.5 - 0.5 * np.cos(phase * speed + shift) for speed, shift in ((3.0, 0.0), (2.0, 0.6), (1.0, 1.4))]
    rgb = np.stack([(wave * 255).astype(np.uint8) for wave in waves], axis=-1)
    rgb[steps >= steps_max] = 0
    return rgb


def write_png(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    """Write RGB pixels, (height, width, 3), 8 bits each."""
    height, width, _ = rgb.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter type, 0
    rows[:, 1:] = rgb.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
