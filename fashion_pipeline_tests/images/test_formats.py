from __future__ import annotations

import pytest

from fashion_pipeline.images.formats import ALLOWED, describe, ends_early, image_format, start_of
from fashion_pipeline_tests.images.drawing import checks, encode


@pytest.mark.parametrize("name", [*ALLOWED, "TIFF", "BMP", "ICO", "EPS"])
def test_formats_are_known_by_their_content(name: str) -> None:
    """The first bytes determine the format, whatever the file's name."""
    assert image_format(encode(checks(64, 64), name)) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif", "AVIF"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", None),
        (b"\xff\xd8\xff", "JPEG"),
        (b"", None),
        (b"<svg/>", None),
    ],
)
def test_similar_formats_are_distinguished(data: bytes, name: str | None) -> None:
    """AVIF, HEIC and video share a container and are distinguished by their brands."""
    assert image_format(data) == name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg xmlns='x'/>", "an SVG drawing"),
        (b"\n <!DOCTYPE html><title>503</title>", "an HTML page"),
        (b'{"error": 1}', "JSON"),
        (b"<Error><Code>AccessDenied</Code></Error>", "XML or HTML"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x00\x01\x02", "in no known format"),
    ],
)
def test_a_file_that_is_not_an_image_is_described(data: bytes, words: str) -> None:
    """The outcome says what the file is instead of an image."""
    assert describe(data) == words


@pytest.mark.parametrize("name", ["WEBP", "AVIF"])
def test_a_truncated_file_is_recognised_by_its_length_fields(name: str) -> None:
    """A truncated file is shorter than its length fields say; a complete one, or one with extra bytes, is not."""
    data = encode(checks(64, 64), name)
    assert not ends_early(data)
    assert ends_early(data[: len(data) // 2])
    assert ends_early(data[:-1])


def test_a_file_begins_behind_a_short_gap() -> None:
    """Up to 64 bytes of empty lines and byte order marks are skipped; a longer gap is no image's beginning."""
    assert [start_of(gap + b"\xff\xd8\xff") for gap in (b"", b"\n", b"\xef\xbb\xbf\r\n", b" " * 64)] == [0, 1, 5, 64]
    assert start_of(b"\n" * 65 + b"\xff\xd8\xff") == 0
    assert image_format(b"\n" * 65 + b"\xff\xd8\xff") is None
    assert start_of(b"") == start_of(b"\n") == 0
