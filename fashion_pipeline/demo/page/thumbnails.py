"""Makes the page's thumbnails from stored bytes, each a ``data:`` URI of bounded length."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from fashion_pipeline.demo.page.view import Thumbnail
from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.images.thumbnail import encode_within
from fashion_pipeline.images.workers import decoders
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.storage.blobs import Blobs

MISSING = {
    Reason.NOT_AN_IMAGE: "not an image",
    Reason.FORMAT_NOT_ALLOWED: "format not supported",
    Reason.TOO_MANY_PIXELS: "too large to open",
    Reason.TRUNCATED: "file truncated",
    Reason.UNDECODABLE: "file damaged",
}


@dataclass(frozen=True, slots=True)
class Size:
    """The limits of a thumbnail: its longer side in pixels, and its file's bytes."""

    side_px: int
    max_bytes: int


@dataclass
class Thumbnails:
    """Makes thumbnails of blobs, each only once."""

    blobs: Blobs
    _made: dict[tuple[str, Size], Thumbnail] = field(default_factory=dict)

    def of(self, sha256: str, *, size: Size, max_pixels: int) -> Thumbnail:
        """Return a blob's thumbnail; its ``alt`` names the original's pixels and format.

        Lost bytes, and bytes that may not be decoded, give words instead.
        """
        key = (sha256, size)
        if key not in self._made:
            self._made[key] = self._make(sha256, size, max_pixels)
        return self._made[key]

    def _make(self, sha256: str, size: Size, max_pixels: int) -> Thumbnail:
        try:
            shrunk = decoders().shrink(self.blobs.get(sha256), side_px=size.side_px, max_pixels=max_pixels)
        except (FileNotFoundError, DamagedFile):
            return Thumbnail(missing="bytes not kept")
        except UnreadableImage as error:
            return Thumbnail(missing=MISSING.get(error.reason, "cannot be shown"))
        small, original = shrunk.image, shrunk.original
        data = encode_within(small, "WEBP", max_bytes=size.max_bytes)
        return Thumbnail(
            uri="data:image/webp;base64," + base64.b64encode(data).decode("ascii"),
            width=small.width,
            height=small.height,
            alt=f"{original.width} by {original.height} pixels, {original.image_format}",
        )
