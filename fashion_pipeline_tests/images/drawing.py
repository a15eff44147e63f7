"""Images drawn for tests, and their files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def checks(width: int = 600, height: int = 500, *, seed: int = 0) -> Image.Image:
    """Draw a sharp image: a coloured board of 8 px squares with noise, so that its file is large."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    pixels = squares.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.int16)
    noise = rng.integers(-6, 7, pixels.shape, np.int16)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def good(*, seed: int = 0) -> bytes:
    """Return a JPEG that passes the gate's defaults."""
    return encode(checks(seed=seed), quality=90)


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, pixels: bytes = b"", extra: bytes = b"") -> bytes:
    """Write a PNG by hand, for sizes that are too large to draw and chunks that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + data + _chunk(b"IEND", b"")


def transparent_value(value: int) -> bytes:
    """Return the chunk that makes one 16-bit grey transparent (PNG, 11.3.2.1)."""
    return _chunk(b"tRNS", struct.pack(">H", value))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
