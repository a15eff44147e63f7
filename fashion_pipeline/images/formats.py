"""A file's format by its content: its extension and Content-Type are a stranger's claims."""

from __future__ import annotations

ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
"""Formats that are decoded, by Pillow's names."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"%!PS", "EPS"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
)
_GAP = b"\xef\xbb\xbf \t\r\n"
_LONGEST_GAP = 64
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def start_of(data: bytes) -> int:
    """Return where a file begins: behind empty lines and byte order marks, which a shop's PHP files may send first: at most 64 bytes."""
    head = data[: _LONGEST_GAP + 1]
    found = head.lstrip(_GAP)
    return len(head) - len(found) if found else 0


def image_format(data: bytes) -> str | None:
    """Return the image format that the bytes begin with; None if they begin like no known image."""
    data = data[start_of(data) :][:256]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _by_brands(data)
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def declared_size(data: bytes) -> tuple[int, int]:
    """Return the (width, height) that the headers of a GIF or WebP declare; (0, 0) for anything else.

    Pillow allocates memory for these two when it opens them, before it reports their size: for a
    WebP its canvas, for a GIF also the area to restore after the first frame, which may be larger
    than the canvas (GIF89a, 20 and 23; WebP container specification, "Extended file format").
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data[:4] == b"GIF8":
        return _gif_size(data)
    return 0, 0


def describe(data: bytes) -> str:
    """Return in a few words what a file that is not an image seems to be."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")) or b"<head" in start or b"<body" in start:
        return "an HTML page"
    if start.startswith((b"{", b"[")):
        return "JSON"
    if start.startswith(b"<"):
        return "XML or HTML"
    if start.startswith(b"%pdf"):
        return "a PDF document"
    return "in no known format"


def ends_early(data: bytes) -> bool:
    """Whether a file is shorter than its own length fields say, or ends before its image data.

    Decoders report many such files as unreadable, not as truncated.
    """
    if data[:4] == b"RIFF":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if data[:4] == b"GIF8":
        return _gif_frame(data) is None and not data.endswith(b";")
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_ends_early(data)
    position = 8 if data[:4] == b"\x89PNG" else 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if data[:4] == b"\x89PNG":
            if data[position + 4 : position + 8] == b"IEND":
                return False
            size += 12  # a chunk's length counts only its data
        elif size == 1:  # ISO 14496-12, 4.2: the size follows in 64 bits
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # a box of size 0 extends to the end of the file
            return False
        position += size
    return position > len(data) or data[:4] == b"\x89PNG"


def _jpeg_ends_early(data: bytes) -> bool:
    """Whether a segment before the first scan is incomplete (ITU T.81, B.1.1)."""
    position = 2
    while data[position : position + 1] == b"\xff":
        marker = data[position + 1 : position + 2]
        if marker == b"\xd9":
            return False
        position += 1 if marker == b"\xff" else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == b"\xda":
            break
    return position >= len(data)


def _by_brands(data: bytes) -> str | None:
    """Distinguish AVIF from HEIF by the brands of an ISO media file (ISO 14496-12, 4.3)."""
    size = min(int.from_bytes(data[:4], "big"), 256, len(data))
    brands = {data[at : at + 4] for at in (8, *range(16, size - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else None


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    frame = _gif_frame(data)
    if frame is None:
        return width, height
    x, y, frame_width, frame_height = (int.from_bytes(data[at : at + 2], "little") for at in range(frame, frame + 8, 2))
    return max(width, x + frame_width), max(height, y + frame_height)


def _gif_frame(data: bytes) -> int | None:
    """Return the offset of the first frame's position and size (GIF89a, 20); None if they are incomplete."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while position < len(data):
        kind = data[position]
        position += 1
        if kind == ord(","):
            return position if position + 10 <= len(data) else None
        if kind == ord(";"):
            return None
        if kind == ord("!"):  # an extension: its label, then blocks, each after its length, up to an empty one
            position += 1
            while position < len(data) and data[position]:
                position += 1 + data[position]
            position += 1
    return None
