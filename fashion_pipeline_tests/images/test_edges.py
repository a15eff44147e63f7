from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fashion_pipeline.images.edges import LONGEST_SIDE_PX, MOST_BLURRED_PX, edge_blur


def squares(*, levels: tuple[int, int] = (60, 200), side_px: int = 600) -> Image.Image:
    """Draw squares of 100 px with edges that are not on the grid of pixels."""
    double = np.indices((side_px * 2, side_px * 2)) // 199
    values = np.where(double.sum(axis=0) % 2, levels[1], levels[0]).astype(np.uint8)
    return Image.fromarray(values).reduce(2)


def noisy(image: Image.Image, levels: float) -> Image.Image:
    """Add a camera's noise of a standard deviation in grey levels."""
    noise = np.random.default_rng(1).normal(0, levels, (image.height, image.width))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("blur_px", [1, 2, 4])
def test_the_figure_is_the_blur_in_pixels(blur_px: int) -> None:
    """A step blurred by a Gaussian is measured as that Gaussian's standard deviation."""
    assert edge_blur(squares().filter(ImageFilter.GaussianBlur(blur_px))) == pytest.approx(blur_px, rel=0.15)


@pytest.mark.parametrize("levels", [(60, 200), (240, 252), (14, 26)])
def test_contrast_does_not_matter(levels: tuple[int, int]) -> None:
    """White on white and black on black are as sharp as black on white, and as blurred."""
    sharp = squares(levels=levels)
    assert edge_blur(sharp) < 1
    assert edge_blur(sharp.filter(ImageFilter.GaussianBlur(2))) == pytest.approx(2, rel=0.2)


def test_noise_is_not_sharpness() -> None:
    """Grain over an image that is out of focus does not make it sharp, and over a sharp one does not blur it."""
    assert edge_blur(noisy(squares(), 3)) < 1
    assert edge_blur(noisy(squares().filter(ImageFilter.GaussianBlur(4)), 3)) > 2.5


def test_an_image_without_edges_is_as_blurred_as_can_be() -> None:
    """One colour, a gradient and noise alone have no edge."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 600).astype(np.uint8), (600, 1)))
    for image in (Image.new("L", (600, 600), 255), ramp, noisy(Image.new("L", (600, 600), 128), 4)):
        assert edge_blur(image) == MOST_BLURRED_PX


def test_a_soft_background_does_not_count() -> None:
    """A sharp garment before a background out of focus is sharp."""
    image = squares().filter(ImageFilter.GaussianBlur(8))
    image.paste(squares(levels=(80, 170)).crop((0, 0, 300, 300)), (150, 150))
    assert edge_blur(image) < 1


@pytest.mark.slow
def test_large_images_are_measured_at_one_size() -> None:
    """Blur is measured with the longer side scaled to at most 2,000 px; smaller images are not scaled."""
    large = squares(side_px=2 * LONGEST_SIDE_PX).filter(ImageFilter.GaussianBlur(4))
    assert edge_blur(large) == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("size", [(1, 1), (63, 5), (64, 700)])
def test_small_images_are_measured(size: tuple[int, int]) -> None:
    """An image smaller than a tile is measured like any other."""
    assert 0 <= edge_blur(squares().resize(size)) <= MOST_BLURRED_PX
