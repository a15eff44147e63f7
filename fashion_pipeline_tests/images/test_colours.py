from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from fashion_pipeline.images.colours import to_srgb
from fashion_pipeline.images.decode import decode
from fashion_pipeline_tests.images.hostile.pngs import END, chunk, header, pixels, png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def curved(profile: bytes, gamma: float, name: str = "sRGB") -> bytes:
    """Return an sRGB profile with another tone curve, under a name of the same length."""
    data = bytearray(profile)
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    at = len(data)
    data += b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    for curve in (b"rTRC", b"gTRC", b"bTRC"):
        data[tags[curve] + 4 : tags[curve] + 12] = struct.pack(">II", at, 14)
    data[:4] = struct.pack(">I", len(data))
    return bytes(data).replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))


def shown(value: int, *, profile: bytes | None = None, gamma: float | None = None, mode: str = "RGB") -> object:
    """Return the RGB value of a grey."""
    colour = (value,) * 3 if mode == "RGB" else value
    return to_srgb(Image.new(mode, (4, 4), colour), profile=profile, gamma=gamma).getpixel((0, 0))


@pytest.mark.parametrize("name", ["sRGB", "abcd"])
def test_a_profile_counts_by_its_content_not_by_its_name(name: str) -> None:
    """Linear light is converted though it is called sRGB, and sRGB changes no pixel whatever it is called."""
    assert shown(55, profile=curved(SRGB, 1.0, name)) == pytest.approx((128,) * 3, abs=1)
    same = SRGB.replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert to_srgb(image, profile=same).tobytes() == image.tobytes()


def test_a_profile_that_does_not_fit_is_ignored() -> None:
    """Rubbish, another colour space, and a profile of RGB on grey change nothing."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"", b"rubbish", lab, SRGB[:200]):
        assert shown(55, profile=profile) == (55, 55, 55)
    assert shown(55, profile=curved(SRGB, 1.0), mode="L") == (55, 55, 55)


@pytest.mark.parametrize(
    ("gamma", "value"),
    [(None, 55), (0.45455, 55), (0.4545, 55), (0.46, 55), (1.0, 128), (0.55556, 71), (0.0, 55), (42_949.0, 55)],
)
def test_the_gamma_of_a_png_is_applied(gamma: float | None, value: int) -> None:
    """A gamma that is not sRGB's is applied like a profile; one that cannot be is ignored."""
    for mode in ("RGB", "L"):
        assert shown(55, gamma=gamma, mode=mode) == (value,) * 3
    assert shown(0, gamma=gamma) == (0, 0, 0)
    assert shown(255, gamma=gamma) == (255, 255, 255)


def test_a_png_says_its_gamma_in_its_own_chunk() -> None:
    """The chunk gAMA counts unless the file also says that it is sRGB, or has a profile."""
    linear, row = chunk(b"gAMA", struct.pack(">I", 100_000)), pixels(bytes((55,)) * 96)

    def value(*chunks: bytes) -> object:
        return decode(png(header(), *chunks, row, END), max_pixels=10_000).image.getpixel((5, 5))

    assert value(linear) == (128, 128, 128)
    assert value(linear, chunk(b"sRGB", b"\0")) == (55, 55, 55)
