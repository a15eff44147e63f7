from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.demo.page.gather import LARGE, SMALL
from fashion_pipeline.demo.page.thumbnails import Size, Thumbnails
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.images.drawing import checks, encode, png


def opened(uri: str | None) -> tuple[bytes, Image.Image]:
    """Return the file in a data: URI, and its image."""
    assert uri is not None
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    return data, Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", [LARGE, SMALL])
def test_a_thumbnail_keeps_to_its_size(home: Home, size: Size) -> None:
    """However badly an image compresses, its thumbnail has at most the bytes and pixels allowed."""
    noise = np.random.default_rng(7).integers(0, 256, (700, 500, 3), np.uint8)
    sha256 = home.blobs.put(encode(Image.fromarray(noise), "PNG"))
    thumbnail = Thumbnails(home.blobs).of(sha256, size=size, max_pixels=10**6)
    data, image = opened(thumbnail.uri)
    assert len(data) <= size.max_bytes
    assert max(image.size) <= size.side_px
    assert thumbnail.alt == "500 by 700 pixels, PNG"


def test_a_stranger_s_own_bytes_are_never_handed_on(home: Home) -> None:
    """What is appended to an image, or written in its metadata, is not in its thumbnail."""
    data = encode(checks(200, 200), "JPEG", exif=b"Exif\x00\x00secret place") + b"<script>alert(1)</script>"
    thumbnail = Thumbnails(home.blobs).of(home.blobs.put(data), size=LARGE, max_pixels=10**6)
    small, _ = opened(thumbnail.uri)
    assert b"script" not in small
    assert b"secret" not in small


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html></html>", "not an image"),
        (b"BM" + bytes(60), "format not supported"),
        (png(5000, 5000), "too large to open"),
        (encode(checks(200, 200))[:-2000], "file truncated"),
        (b"\xff\xd8\xff" + bytes(200), "file damaged"),
    ],
)
def test_what_cannot_be_shown_says_why(home: Home, data: bytes, words: str) -> None:
    """Bytes that may not be decoded become words, not an error."""
    thumbnail = Thumbnails(home.blobs).of(home.blobs.put(data), size=SMALL, max_pixels=10**6)
    assert (thumbnail.uri, thumbnail.missing) == (None, words)


def test_lost_and_damaged_blobs_are_shown_as_words(home: Home) -> None:
    """A blob that is not there, or holds other bytes than its name says, is not shown."""
    sha256 = home.blobs.put(encode(checks(200, 200)))
    home.blobs.path(sha256).write_bytes(b"other")
    for name in (sha256, "0" * 64):
        assert Thumbnails(home.blobs).of(name, size=SMALL, max_pixels=10**6).missing == "bytes not kept"
