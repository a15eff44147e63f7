"""What some bytes are, by their content: the extension and the Content-Type are a stranger's claims."""

from __future__ import annotations

ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
"""Formats that are decoded, in Pillow's names."""

_BEGINNINGS = (
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
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def image_format(data: bytes) -> str | None:
    """Name the picture format that bytes begin like; None where they begin like no picture."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _by_brands(data)
    return next((name for beginning, name in _BEGINNINGS if data.startswith(beginning)), None)


def describe(data: bytes) -> str:
    """Say in a few words what bytes that are no picture seem to be."""
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
    return "no known format"


def ends_early(data: bytes) -> bool:
    """Whether a WebP or AVIF file is shorter than its own length fields say.

    Their decoders report such a file as unreadable, without saying that it was cut off.
    """
    if data[:4] == b"RIFF":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:  # ISO 14496-12, 4.2: the size follows in 64 bits
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # the box reaches to the end of the file
            return False
        if size < 8:
            return False
        position += size
    return position > len(data)


def _by_brands(data: bytes) -> str | None:
    """Tell AVIF from HEIF by the brands of an ISO media file (ISO 14496-12, 4.3)."""
    size = min(int.from_bytes(data[:4], "big"), 256, len(data))
    brands = {data[at : at + 4] for at in (8, *range(16, size - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else None
