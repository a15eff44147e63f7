"""The quality gate: compare an image's measurements with a store's thresholds.

Two gates judge sharpness and file size. ``classic`` compares the variance of the Laplacian and the bytes
with fixed numbers. Both grow with the detail of an image, so it refuses plain garments, however sharp.
``edges``, the default, judges the blur of the edges, and the bytes per pixel of the file's format.
"""

from __future__ import annotations

from collections.abc import Iterator

from fashion_pipeline.outcomes import OK, Outcome, Reason, rejected
from fashion_pipeline.records import JudgedImage
from fashion_pipeline.stores import Quality

Failed = tuple[Reason, str]

_TIMES_SMALLER = {"WEBP": 5, "AVIF": 10}
"""How much less a format needs than JPEG, PNG and GIF for an image with little to see, as measured."""


def judge(measured: JudgedImage, quality: Quality) -> Outcome:
    """Compare measurements with the thresholds; the outcome lists every failed check with its figures."""
    found = [*_size(measured, quality), *_file(measured, quality), *_sharpness(measured, quality)]
    if not found:
        return OK
    return rejected(*(reason for reason, _ in found), detail="; ".join(detail for _, detail in found))


def bits_per_pixel(measured: JudgedImage) -> float:
    """Return the bits of the file for each pixel, of the first frame if there are more."""
    return 8 * measured.size_bytes / (measured.width * measured.height)


def needed_bits_per_pixel(image_format: str, quality: Quality) -> float:
    """Return the least bits per pixel of a file of a format."""
    return quality.min_bits_per_pixel / _TIMES_SMALLER.get(image_format, 1)


def _size(measured: JudgedImage, quality: Quality) -> Iterator[Failed]:
    if measured.problem is not None:
        yield Reason(measured.problem), measured.problem_detail
    elif measured.width * measured.height > quality.max_pixels:
        size = f"{measured.width} x {measured.height} pixels"
        yield Reason.TOO_MANY_PIXELS, f"{size}, the limit is {quality.max_pixels:,}"
    side = min(measured.width, measured.height)
    if 0 < side < quality.min_side_px:
        yield Reason.TOO_SMALL, f"shorter side {side} px, at least {quality.min_side_px} are needed"


def _file(measured: JudgedImage, quality: Quality) -> Iterator[Failed]:
    if quality.gate == "classic":
        if measured.size_bytes < quality.min_file_bytes:
            bounds = f"{measured.size_bytes:,} bytes, at least {quality.min_file_bytes:,} are needed"
            yield Reason.FILE_TOO_SMALL, bounds
    elif measured.problem is None and measured.width * measured.height > 0:
        bits, needed = bits_per_pixel(measured), needed_bits_per_pixel(measured.image_format, quality)
        if bits < needed:
            kind = f"{measured.size_bytes:,} bytes of {measured.image_format} for {measured.width} x {measured.height} pixels"
            yield Reason.FILE_TOO_SMALL, f"{kind}: {bits:.3g} bits per pixel, at least {needed:.3g} are needed"
    if measured.size_bytes > quality.max_file_bytes:
        bounds = f"{measured.size_bytes:,} bytes, at most {quality.max_file_bytes:,} are allowed"
        yield Reason.FILE_TOO_LARGE, bounds


def _sharpness(measured: JudgedImage, quality: Quality) -> Iterator[Failed]:
    if quality.gate == "classic":
        if measured.sharpness is not None and measured.sharpness < quality.min_sharpness:
            figures = f"sharpness {measured.sharpness:.1f}, at least {quality.min_sharpness:g} is needed"
            yield Reason.TOO_BLURRY, figures
    elif measured.edge_blur_px is not None and measured.edge_blur_px > quality.max_edge_blur_px:
        figures = (
            f"edges blurred by {measured.edge_blur_px:.2f} px, at most {quality.max_edge_blur_px:g} px are allowed"
        )
        yield Reason.TOO_BLURRY, figures
