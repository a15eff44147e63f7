"""A still WebP whose metadata is cut off behind its pixels: browsers show it."""

from __future__ import annotations

_PIXELS = frozenset({b"VP8 ", b"VP8L"})
_HEAD = 12  # "RIFF", the size, "WEBP"


def without_cut_metadata(data: bytes) -> bytes:
    """Return a WebP that ends behind its pixels, if it is shorter than it says and its pixels are complete.

    Of an animation, and of a file that is cut inside its pixels, nothing is changed.
    """
    if len(data) >= 8 + int.from_bytes(data[4:8], "little"):
        return data
    start = _HEAD
    while start + 8 <= len(data):
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        if end > len(data):
            return data
        if data[start : start + 4] in _PIXELS:
            whole = data[_HEAD:end] + bytes(end % 2)  # chunks are padded to an even size
            return b"RIFF" + (len(whole) + 4).to_bytes(4, "little") + b"WEBP" + whole
        start = end + end % 2
    return data
