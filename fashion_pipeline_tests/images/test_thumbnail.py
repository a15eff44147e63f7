from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.images.thumbnail import encode_within, shrink
from fashion_pipeline_tests.images.drawing import checks


def noise(width: int, height: int) -> Image.Image:
    """Draw noise, which compresses worst."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("image_format", ["WEBP", "JPEG"])
@pytest.mark.parametrize("max_bytes", [100_000, 5_000, 1_000])
def test_a_file_never_exceeds_its_limit(image_format: str, max_bytes: int) -> None:
    """Quality, then size are reduced until the file fits."""
    data = encode_within(noise(300, 200), image_format, max_bytes=max_bytes)
    assert len(data) <= max_bytes
    assert Image.open(io.BytesIO(data)).format == image_format


def test_a_limit_that_nothing_fits_is_an_error() -> None:
    """No image fits into ten bytes, and trying ends with an error."""
    with pytest.raises(ValueError, match="fits into 10 bytes"):
        encode_within(noise(64, 1), "JPEG", max_bytes=10)


def test_shrinking_keeps_proportions_and_never_enlarges() -> None:
    """A small image keeps its size; a very long one keeps at least one pixel on its short side."""
    assert shrink(checks(600, 300), 100).size == (100, 50)
    assert shrink(checks(40, 20), 100).size == (40, 20)
    assert min(shrink(checks(4000, 8), 100).size) >= 1
