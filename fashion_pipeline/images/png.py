"""A PNG without the chunks that a browser ignores, so that these cannot fail its decoder."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12  # a chunk's length, type and check sum
_ANCILLARY = 0x20  # PNG, 5.4: the bit of a chunk's type that lets decoders ignore it
_USED = frozenset({b"tRNS", b"gAMA", b"sRGB", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
_SIZES = {b"gAMA": {4}, b"sRGB": {1}}
_TRANSPARENCY_SIZES = {b"\0": {2}, b"\2": {6}, b"\3": set(range(1, 257))}  # by colour type (PNG, 11.3.2.1)
_LARGEST_PROFILE = 1024 * 1024


def without_ignored_chunks(data: bytes) -> bytes:
    """Return a PNG with only the chunks that change how it looks.

    Text, times and private chunks are dropped, and so is an ancillary chunk with a wrong check
    sum, a wrong size or a colour profile that cannot be unpacked. The pixels' chunks, and whatever
    follows an incomplete chunk, stay as they are.
    """
    parts, kept_from = [], 0
    for start, end in _chunks(data):
        if not _is_used(data, start, end):
            parts.append(data[kept_from:start])
            kept_from = end
    return b"".join([*parts, data[kept_from:]]) if parts else data


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each complete chunk starts and ends, up to the end of the image."""
    start = _SIGNATURE_BYTES
    while (end := start + _FRAME_BYTES + int.from_bytes(data[start : start + 4], "big")) <= len(data):
        yield start, end
        if data[start + 4 : start + 8] == b"IEND":
            return
        start = end


def _is_used(data: bytes, start: int, end: int) -> bool:
    kind, content = data[start + 4 : start + 8], memoryview(data)[start + 8 : end - 4]
    if not kind[0] & _ANCILLARY:
        return True
    if kind not in _USED:
        return False
    sizes = _TRANSPARENCY_SIZES.get(data[25:26], set()) if kind == b"tRNS" else _SIZES.get(kind, {len(content)})
    if len(content) not in sizes:
        return False
    if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
        return False
    return kind != b"iCCP" or _can_be_unpacked(bytes(content))


def _can_be_unpacked(content: bytes) -> bool:
    """Whether a profile's chunk holds a name, the only compression method, and at most a megabyte."""
    _, separator, packed = content.partition(b"\0")
    if not separator or packed[:1] != b"\0":
        return False
    try:
        return len(zlib.decompressobj().decompress(packed[1:], _LARGEST_PROFILE + 1)) <= _LARGEST_PROFILE
    except zlib.error:
        return False
