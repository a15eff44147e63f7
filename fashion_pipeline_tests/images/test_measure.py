from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fashion_pipeline.images.edges import edge_blur
from fashion_pipeline.images.measure import measure, sharpness
from fashion_pipeline.images.signature import signature
from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode, png

MAX_PIXELS = 1_000_000


def test_measurements_are_those_of_the_image() -> None:
    """Size, format, sharpness by both measures, hashes and colours are those of the image as a browser shows it."""
    found, pixels = measure(encode(checks(300, 200), "PNG"), max_pixels=MAX_PIXELS)
    assert (found.width, found.height, found.image_format, found.problem) == (300, 200, "PNG", None)
    assert found.sharpness == sharpness(checks(300, 200))
    assert found.edge_blur_px == edge_blur(checks(300, 200).convert("L"))
    look = signature(checks(300, 200))
    assert (found.perceptual_hash, found.mirrored_hash) == (look.perceptual_hash, look.mirrored_hash)
    assert found.colours == look.colours
    assert pixels is not None
    assert pixels.shape == (224, 224, 3)


def test_an_undecodable_file_has_a_problem_and_no_pixels() -> None:
    """Its findings hold the reason, the detail and the size in the header."""
    found, pixels = measure(png(2000, 2000), max_pixels=MAX_PIXELS)
    assert (found.problem, found.width, found.sharpness, pixels) == (Reason.TOO_MANY_PIXELS, 2000, None, None)
    assert "2000 x 2000" in found.problem_detail


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    """Checked by hand on one white pixel in a black 3 x 3 square with a reflected border."""
    image = Image.new("L", (3, 3))
    image.putpixel((1, 1), 255)
    # Kernel 0 1 0 / 1 -4 1 / 0 1 0: corners 0, the centre -4 x 255, each edge sees the centre twice.
    assert sharpness(image) == pytest.approx(np.var([0, 510, 0, 510, -1020, 510, 0, 510, 0]))


def test_sharpness_is_measured_at_one_size() -> None:
    """The longer side is scaled to at most 500 px, so that resolution does not change the verdict."""
    assert sharpness(checks(2000, 1000)) == sharpness(
        checks(2000, 1000).convert("L").resize((500, 250), Image.Resampling.LANCZOS)
    )
    assert sharpness(checks(300, 200)) > 0
    assert sharpness(Image.new("RGB", (1, 1))) == 0.0


def test_a_blurred_image_is_less_sharp_and_a_blank_one_not_at_all() -> None:
    """Sharpness falls with blur, and is 0 for a single colour."""
    sharp, blurred = checks(), checks().filter(ImageFilter.GaussianBlur(6))
    assert sharpness(sharp) > 100 > sharpness(blurred) > sharpness(Image.new("RGB", (500, 500), "white")) == 0.0
