from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.images.sheet import Tile, contact_sheet, sheet_markdown, spread
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.images.drawing import checks, encode, png

PIXELS = 10**6


def opened(data: bytes) -> Image.Image:
    """Return the sheet as an image."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def near(colour: object, wanted: tuple[int, int, int]) -> bool:
    """Whether two colours are equal within JPEG's error."""
    return bool(np.abs(np.subtract(np.asarray(colour, int), wanted)).max() < 40)


def embedded(markdown: str) -> bytes:
    """Return the file inside the Markdown."""
    found = re.match(r"!\[[^\]]*\]\(data:image/jpeg;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found is not None
    return base64.b64decode(found[1])


def test_images_are_laid_out_in_rows() -> None:
    """Ten images at four per row make three rows; fewer than a row make a narrower sheet."""
    blue = encode(Image.new("RGB", (300, 300), (20, 40, 200)))
    wide = opened(contact_sheet([Tile(blue)] * 10, columns=4, side_px=50, max_pixels=PIXELS))
    assert wide.size == (4 * 56 + 6, 3 * 56 + 6)
    assert near(wide.getpixel((30, 30)), (20, 40, 200))
    assert near(wide.getpixel((3 * 56 + 30, 2 * 56 + 30)), (255, 255, 255))
    assert opened(contact_sheet([Tile(blue)], columns=4, side_px=50, max_pixels=PIXELS)).size == (62, 62)


@pytest.mark.parametrize("data", [None, b"", b"<html>", png(5000, 5000), encode(checks(200, 200))[:-2000]])
def test_an_undecodable_image_is_a_grey_tile(data: bytes | None) -> None:
    """A sheet is made even with lost, truncated, oversized or non-image files."""
    sheet = opened(contact_sheet([Tile(data)], side_px=60, max_pixels=PIXELS))
    assert near(sheet.getpixel((36, 36)), (205, 203, 200))


def test_a_refused_image_has_a_red_frame() -> None:
    """The mark is on the sheet itself, because metadata shows nothing beside it."""
    white = encode(Image.new("RGB", (300, 300), "white"))
    sheet = opened(contact_sheet([Tile(white), Tile(white, refused=True)], side_px=60, max_pixels=PIXELS))
    assert near(sheet.getpixel((8, 30)), (255, 255, 255))
    assert near(sheet.getpixel((74, 30)), (196, 48, 36))


def test_a_sheet_stays_within_its_size() -> None:
    """Even images that compress badly make a sheet within the limit."""
    noise = np.random.default_rng(3).integers(0, 256, (200, 200, 3), np.uint8)
    tile = Tile(encode(Image.fromarray(noise), "PNG"))
    assert len(contact_sheet([tile] * 24, max_pixels=PIXELS, max_bytes=20_000)) <= 20_000


def test_a_sheet_of_nothing_is_an_error() -> None:
    """A sheet needs at least one image."""
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], max_pixels=PIXELS)


def test_the_markdown_stays_within_its_size(home: Home) -> None:
    """The limit includes Base64 and text, as stored in Dagster's event log."""
    images = [(home.blobs.put(encode(checks(250, 250, seed=seed))), seed % 5 == 0) for seed in range(30)]
    markdown = sheet_markdown(images, blobs=home.blobs, max_pixels=PIXELS, max_bytes=30_000)
    assert len(markdown.encode()) <= 30_000
    assert opened(embedded(markdown)).width > 100
    assert markdown.endswith("24 of 30 images; red frame: refused (6)")


def test_the_markdown_is_the_same_for_the_same_images(home: Home) -> None:
    """A second materialization of unchanged images gives the same sheet."""
    images = [(home.blobs.put(encode(checks(100, 100, seed=seed))), False) for seed in range(3)]
    first, second = (sheet_markdown(images, blobs=home.blobs, max_pixels=PIXELS) for _ in range(2))
    assert first == second


def test_lost_blobs_and_missing_images_do_not_fail(home: Home) -> None:
    """A contact sheet never fails a run."""
    assert sheet_markdown([], blobs=home.blobs, max_pixels=PIXELS) == "No images."
    assert embedded(sheet_markdown([("0" * 64, True)], blobs=home.blobs, max_pixels=PIXELS))


def test_a_sample_is_spread_evenly() -> None:
    """Items are taken from the beginning to the end, or all if they fit."""
    assert spread(range(100), 4) == [12, 37, 62, 87]
    assert spread([1, 2], 4) == [1, 2]
    assert spread(range(10), 0) == []
    assert spread(range(7), 7, phase=0.99) == list(range(7))
