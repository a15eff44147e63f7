from __future__ import annotations

import io

import pytest
from PIL import Image, ImageOps

from fashion_pipeline.images.signature import COLOUR_BINS, SHARES, signature
from fashion_pipeline_tests.images.drawing import encode
from fashion_pipeline_tests.images.garments import Shot, draw

JACKET = Shot("leather", 3)


def distance(one: str, other: str) -> int:
    """Return in how many bits two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def recompressed(image: Image.Image) -> Image.Image:
    """Return an image after heavy compression."""
    return Image.open(io.BytesIO(encode(image, quality=30)))


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the common share of two histograms."""
    return sum(map(min, one, other)) / SHARES


@pytest.fixture(scope="module")
def jacket() -> Image.Image:
    """Return a drawn garment."""
    return draw(JACKET)


def test_a_copy_has_nearly_the_same_hash(jacket: Image.Image) -> None:
    """An image at half the size or recompressed differs in a few of 64 bits, another garment in many."""
    original = signature(jacket).perceptual_hash
    half = jacket.resize((jacket.width // 2, jacket.height // 2))
    assert len(original) == 16
    assert distance(original, signature(half).perceptual_hash) <= 4
    assert distance(original, signature(recompressed(jacket)).perceptual_hash) <= 4
    assert distance(original, signature(draw(Shot("flat lay", 3))).perceptual_hash) > 12


def test_a_mirrored_copy_is_found_by_its_mirrored_hash(jacket: Image.Image) -> None:
    """The mirrored hash of an image is the hash of the mirrored image, and the reverse."""
    original, mirrored = signature(jacket), signature(ImageOps.mirror(jacket))
    assert distance(original.perceptual_hash, mirrored.mirrored_hash) <= 1
    assert distance(original.mirrored_hash, mirrored.perceptual_hash) <= 1


def test_colours_are_those_of_the_centre() -> None:
    """The histogram ignores the ground around a garment, tells colours apart, and its shares add up."""
    red, violet = (Image.new("RGB", (600, 600), "white") for _ in range(2))
    red.paste((190, 30, 40), (140, 140, 460, 460))
    violet.paste((110, 70, 150), (140, 140, 460, 460))
    first, second = signature(red).colours, signature(violet).colours
    assert len(first) == COLOUR_BINS[0] * COLOUR_BINS[1] * COLOUR_BINS[2]
    assert sum(first) == pytest.approx(SHARES, abs=len(first))
    assert overlap(first, second) == 0
    assert overlap(first, signature(red.resize((300, 300))).colours) > 0.95


def test_an_image_of_one_pixel_has_a_signature() -> None:
    """The smallest image is measured like any other."""
    assert sum(signature(Image.new("RGB", (1, 1), "white")).colours) == SHARES
