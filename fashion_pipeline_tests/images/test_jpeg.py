from __future__ import annotations

import numpy as np

from fashion_pipeline.images.decode import decode
from fashion_pipeline.images.jpeg import scans
from fashion_pipeline_tests.images.drawing import checks, encode

BASELINE = encode(checks(64, 48))
PROGRESSIVE = encode(checks(64, 48), progressive=True)
SCAN = b"\xff\xda"


def test_the_scans_of_an_image_are_counted() -> None:
    """A baseline JPEG has one, Pillow's progressive ones have ten; repeated ones count, whatever their size."""
    assert scans(BASELINE) == 1
    assert scans(PROGRESSIVE) == PROGRESSIVE.count(SCAN) == 10
    last = PROGRESSIVE[PROGRESSIVE.rindex(SCAN) : -2]
    assert scans(PROGRESSIVE[:-2] + last * 90 + b"\xff\xd9") == 100
    assert scans(BASELINE[:-2] + b"\xff\xda\x00\x02" * 1_000) == 1_001


def test_what_is_not_the_image_has_no_scans() -> None:
    """A thumbnail in the metadata and a video behind the end are not decoded, so that they cost no scan."""
    comment = b"\xff\xfe" + (2 + 2_000).to_bytes(2, "big") + SCAN * 1_000
    video = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    phone = BASELINE[:2] + comment + BASELINE[2:] + video
    assert phone.count(SCAN) > 1_000
    assert scans(phone) == 1
    assert decode(phone, max_pixels=10_000).width == 64


def test_a_damaged_file_has_some_number_of_scans() -> None:
    """Counting ends for any bytes: within a marker, a length or nothing."""
    for size in range(len(BASELINE)):
        assert scans(BASELINE[:size]) <= 1
    assert scans(b"\xff\xd8" + b"\xff" * 1_000) == 0
    assert scans(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 1_000) == 0
