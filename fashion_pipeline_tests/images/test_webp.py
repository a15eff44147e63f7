from __future__ import annotations

import pytest
from PIL import Image

from fashion_pipeline.images.decode import decode
from fashion_pipeline.images.webp import without_cut_metadata
from fashion_pipeline_tests.images.drawing import checks, encode

PLAIN = encode(checks(64, 48), "WEBP")
WITH_XMP = encode(checks(64, 48), "WEBP", xmp=b"x" * 301)


@pytest.mark.parametrize("lost", [1, 2, 50, 300])
def test_metadata_that_is_cut_off_costs_no_pixel(lost: int) -> None:
    """A WebP whose XMP is incomplete is shown like the whole file."""
    cut = decode(WITH_XMP[:-lost], max_pixels=10_000)
    assert cut.image.tobytes() == decode(WITH_XMP, max_pixels=10_000).image.tobytes()


def test_other_files_stay_as_they_are() -> None:
    """A whole file, one cut inside its pixels or its header, and an animation are not changed."""
    two = encode(Image.new("RGB", (64, 48), "red"), "WEBP", save_all=True, append_images=[checks(64, 48)])
    for data in (PLAIN, WITH_XMP, PLAIN[:-5], PLAIN[:16], PLAIN[:10], two[:-5]):
        assert without_cut_metadata(data) is data
