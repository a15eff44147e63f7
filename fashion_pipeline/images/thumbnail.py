"""Small re-encoded images for people to look at; a stranger's own file is never shown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_QUALITIES = (78, 62, 45, 28, 12)


def shrink(image: Image.Image, side_px: int) -> Image.Image:
    """Return a copy that fits into a square of ``side_px``; a smaller image keeps its size."""
    from PIL import Image

    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return small


def encode_within(image: Image.Image, image_format: str, *, max_bytes: int) -> bytes:
    """Return a WEBP or JPEG file of at most ``max_bytes``: first by lower quality, then by half the size.

    Raises:
        ValueError: not even a few pixels fit into ``max_bytes``.
    """
    while min(image.size) >= 1:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, image_format, quality=quality)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
        if max(image.size) <= 4:
            break
        image = shrink(image, max(image.size) // 2)
    msg = f"no {image_format} image fits into {max_bytes} bytes"
    raise ValueError(msg)
