"""Stored bytes → thumbnails for the page, each a ``data:`` URI of a bounded length."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from fashion_pipeline.demo.page.view import Picture
from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.images.thumbnail import encode_within
from fashion_pipeline.images.workers import decoders
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.storage.blobs import Blobs

MISSING = {
    Reason.NOT_AN_IMAGE: "not a picture",
    Reason.FORMAT_NOT_ALLOWED: "format not shown",
    Reason.TOO_MANY_PIXELS: "too large to open",
    Reason.TRUNCATED: "file cut off",
    Reason.UNDECODABLE: "file damaged",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How large a thumbnail may be: the longer side in pixels, and the bytes of its file."""

    side_px: int
    max_bytes: int


@dataclass
class Thumbnails:
    """Makes thumbnails of blobs; the same one is made once."""

    blobs: Blobs
    _made: dict[tuple[str, Size], Picture] = field(default_factory=dict)

    def of(self, sha256: str, *, size: Size, max_pixels: int) -> Picture:
        """Return a blob's thumbnail; its ``alt`` names the original's pixels and format.

        Bytes that are lost, or that no picture may be made of, give the words why.
        """
        key = (sha256, size)
        if key not in self._made:
            self._made[key] = self._make(sha256, size, max_pixels)
        return self._made[key]

    def _make(self, sha256: str, size: Size, max_pixels: int) -> Picture:
        try:
            shrunk = decoders().shrink(self.blobs.get(sha256), side_px=size.side_px, max_pixels=max_pixels)
        except (FileNotFoundError, DamagedFile):
            return Picture(missing="bytes not kept")
        except UnreadableImage as error:
            return Picture(missing=MISSING.get(error.reason, "cannot be shown"))
        small, original = shrunk.image, shrunk.original
        data = encode_within(small, "WEBP", max_bytes=size.max_bytes)
        return Picture(
            uri="data:image/webp;base64," + base64.b64encode(data).decode("ascii"),
            width=small.width,
            height=small.height,
            alt=f"{original.width} by {original.height} pixels, {original.image_format}",
        )
