"""Files that users' shops had and that browsers show: each looks here as it does there."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from fashion_pipeline.images.decode import Decoded, decode
from fashion_pipeline.images.formats import ALLOWED
from fashion_pipeline_tests.images.drawing import checks, encode

FIXTURES = Path(__file__).parents[1] / "fixtures" / "images"
PHOTO = (FIXTURES / "xmp-orientation-6.jpg").read_bytes()
PLAIN = PHOTO[:2] + PHOTO[4 + int.from_bytes(PHOTO[4:6], "big") :]
"""The same photograph without its first segment, which holds XMP."""

SIX = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def shown(data: bytes) -> Decoded:
    """Return a file as it is decoded."""
    return decode(data, max_pixels=1_000_000)


def corner(data: bytes) -> object:
    """Return the colour near the top left."""
    return shown(data).image.getpixel((20, 20))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN, id="as it should be"),
        pytest.param(PHOTO, id="XMP says that it is turned"),
        pytest.param(PLAIN[:-2], id="without its last two bytes"),
        pytest.param(PLAIN[:-1], id="without its last byte"),
        pytest.param(b"\n" + PLAIN, id="after a line feed"),
        pytest.param(b"\xef\xbb\xbf\r\n\r\n" + PLAIN, id="after a byte order mark and empty lines"),
        pytest.param(b"\n" + PHOTO[:-2], id="all at once"),
    ],
)
def test_a_photograph_is_shown_whatever_surrounds_its_rows(data: bytes) -> None:
    """It is 480 x 600 pixels, with red at the top left, and its pixels are those of the sound file."""
    assert (shown(data).width, shown(data).height) == (480, 600)
    assert corner(data) == (254, 0, 0)
    assert shown(data).image.tobytes() == shown(PLAIN).image.tobytes()


@pytest.mark.parametrize("name", ["itxt-xmp-1.2MB.png", "itxt-bad-crc.png"])
def test_metadata_cannot_refuse_a_png(name: str) -> None:
    """XMP that swells beyond a megabyte, and a wrong check sum of text, cost no pixel."""
    assert corner((FIXTURES / name).read_bytes()) == (55, 55, 55)


def test_a_profile_counts_by_its_content() -> None:
    """A profile of linear light that calls itself sRGB turns 55 into 128."""
    assert corner((FIXTURES / "linear-srgb-profile.png").read_bytes()) == (128, 128, 128)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_xmp_turns_no_image(name: str) -> None:
    """Only EXIF turns an image, or the container of an AVIF; tiff:Orientation in XMP does not."""
    image = checks(64, 48)
    if name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", SIX)
        data = encode(image, name, pnginfo=text)
    else:
        data = encode(image, name, xmp=SIX.encode())
    assert b"tiff:Orientation" in data
    assert (shown(data).width, shown(data).height) == (64, 48)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_turns_an_image_whatever_xmp_says(name: str) -> None:
    """EXIF's orientation is applied, and XMP's is not applied on top of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {} if name == "PNG" else {"xmp": SIX.encode()}
    data = encode(checks(64, 48), name, exif=exif, **more)
    assert (shown(data).width, shown(data).height) == (48, 64)


@pytest.mark.parametrize("name", ALLOWED)
def test_every_format_may_begin_with_an_empty_line(name: str) -> None:
    """A shop's PHP files may send line feeds and byte order marks before an image."""
    data = encode(checks(64, 48), name)
    assert shown(b"\xef\xbb\xbf\n" + data).image.tobytes() == shown(data).image.tobytes()
