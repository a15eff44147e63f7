from __future__ import annotations

import contextlib
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.decode import _printable, decode, render
from fashion_pipeline.images.formats import ALLOWED
from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode, png, transparent_value

MAX_PIXELS = 1_000_000

# Pillow speaks of damaged metadata in warnings; here damage is the point.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def pixel(data: bytes, at: tuple[int, int] = (5, 5)) -> tuple[int, ...]:
    """Return one RGB pixel of a decoded file."""
    image = decode(data, max_pixels=MAX_PIXELS).image
    assert image.mode == "RGB"
    colour = image.getpixel(at)
    assert isinstance(colour, tuple)
    return colour


def refusal(data: bytes) -> UnreadableImage:
    """Return the error that refuses a file."""
    with pytest.raises(UnreadableImage) as refused:
        decode(data, max_pixels=MAX_PIXELS)
    return refused.value


@pytest.mark.parametrize("name", ALLOWED)
def test_every_allowed_format_is_decoded(name: str) -> None:
    """JPEG, PNG, WebP, GIF and AVIF become RGB of their size, still and opaque."""
    decoded = decode(encode(checks(120, 80), name), max_pixels=MAX_PIXELS)
    assert (decoded.image.mode, decoded.width, decoded.height) == ("RGB", 120, 80)
    assert (decoded.image_format, decoded.animated, decoded.transparent) == (name, False, False)


@pytest.mark.parametrize("data", [b"", b"<html>", b"<svg/>", b'{"a": 1}', bytes(100)])
def test_a_file_that_is_not_an_image_is_refused(data: bytes) -> None:
    """HTML, SVG or JSON served as an image is refused."""
    assert refusal(data).reason is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("name", ["TIFF", "BMP", "EPS", "JPEG2000", "ICO", "PCX", "PPM"])
def test_other_formats_do_not_reach_their_decoders(name: str) -> None:
    """Formats outside the list are refused, above all those with an interpreter (EPS)."""
    error = refusal(encode(checks(64, 64), name))
    assert error.reason in {Reason.FORMAT_NOT_ALLOWED, Reason.NOT_AN_IMAGE}


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_truncated_file_is_refused(name: str, share: float) -> None:
    """Half a file is refused as truncated, not decoded with a grey half."""
    data = encode(checks(300, 200), name)
    assert refusal(data[: int(len(data) * share)]).reason is Reason.TRUNCATED


def test_a_damaged_file_is_undecodable() -> None:
    """A file with a valid beginning and garbage after it is reported as undecodable."""
    data = encode(checks(64, 64), "PNG")
    assert refusal(data[:60] + bytes(20) + data[80:]).reason in {Reason.UNDECODABLE, Reason.TRUNCATED}
    assert refusal(b"\xff\xd8\xff" + bytes(50)).reason is Reason.UNDECODABLE


@pytest.mark.parametrize("side", [1_001, 13_000, 20_000, 60_000])
def test_too_many_pixels_are_refused_by_the_header(side: int) -> None:
    """A decompression bomb of any size is refused before decoding, with its size, even where Pillow only warns."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(png(side, side))
    assert (error.reason, error.width, error.height) == (Reason.TOO_MANY_PIXELS, side, side)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_exactly_the_cap_is_decoded() -> None:
    """An image with exactly the cap's pixels is decoded."""
    image = Image.new("L", (1000, 1000))
    assert decode(encode(image, "PNG"), max_pixels=MAX_PIXELS).width == 1000


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_its_first_frame(name: str) -> None:
    """An animation is decoded to its first frame, and marked as animated."""
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    decoded = decode(encode(red, name, save_all=True, append_images=[blue], duration=100), max_pixels=MAX_PIXELS)
    assert decoded.animated
    assert np.abs(np.asarray(decoded.image, int) - [255, 0, 0]).max() < 12


def test_a_stereo_jpeg_is_a_still() -> None:
    """A JPEG with several images (MPO) is decoded to the first, and is not animated."""
    data = encode(checks(64, 64), "MPO", save_all=True, append_images=[checks(64, 64, seed=1)])
    decoded = decode(data, max_pixels=MAX_PIXELS)
    assert (decoded.image_format, decoded.animated) == ("JPEG", False)


def test_cmyk_keeps_its_colours() -> None:
    """A CMYK image keeps its colours and is not inverted."""
    cyan = pixel(encode(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), quality=95))
    assert cyan[0] < 10
    assert min(cyan[1:]) > 240


def test_an_embedded_profile_is_applied() -> None:
    """An image in another colour space is converted to sRGB; one in sRGB stays as it is."""
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pixel(encode(image, "PNG", icc_profile=srgb)) == (200, 100, 50)
    assert pixel(encode(image, "PNG", icc_profile=lab)) == (200, 100, 50)  # does not fit an RGB image
    assert pixel(encode(image, "PNG", icc_profile=b"rubbish")) == (200, 100, 50)
    assert pixel(encode(image, "PNG", icc_profile=_swapped(srgb))) == pytest.approx((50, 100, 200), abs=12)


def _swapped(srgb: bytes) -> bytes:
    """Return an sRGB profile with red and blue primaries swapped, under another name."""
    profile = bytearray(srgb)
    tags = {
        bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
    }
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "abcd".encode("utf-16-be")).replace(b"sRGB", b"abcd")


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (5, 5)), (2, (55, 5)), (3, (55, 35)), (4, (5, 35)), (5, (5, 5)), (6, (35, 5)), (7, (35, 55)), (8, (5, 55))],
)
def test_exif_orientation_is_applied(orientation: int, corner: tuple[int, int]) -> None:
    """Each of the eight orientations is applied as in a browser."""
    image = Image.new("RGB", (60, 40), "black")
    image.paste("white", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(image, "PNG", exif=exif)
    decoded = decode(data, max_pixels=MAX_PIXELS)
    assert (decoded.width, decoded.height) == ((60, 40) if orientation < 5 else (40, 60))
    assert pixel(data, corner) == (255, 255, 255)


def test_damaged_exif_does_not_refuse_an_image() -> None:
    """Unreadable EXIF data rotates nothing."""
    assert decode(encode(checks(64, 64), exif=b"Exif\x00\x00MM\x00*rubbish"), max_pixels=MAX_PIXELS).width == 64


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (40_000, 156), (65_535, 255)])
def test_16_bit_grey_keeps_its_tones(value: int, grey: int) -> None:
    """40000 of 65535 is mid grey; Pillow's own conversion clips it to white."""
    assert pixel(encode(Image.fromarray(np.full((64, 64), value, np.uint16)), "PNG")) == (grey, grey, grey)


def test_a_transparent_16_bit_grey_becomes_white() -> None:
    """The grey that a PNG declares transparent becomes white."""
    rows = b"".join(b"\x00" + (1000).to_bytes(2, "big") * 8 for _ in range(8))
    data = png(8, 8, depth=16, pixels=rows, extra=transparent_value(1000))
    assert pixel(data) == (255, 255, 255)
    assert decode(data, max_pixels=MAX_PIXELS).transparent


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF"])
def test_transparent_parts_become_white(name: str) -> None:
    """A cut-out gets a white background, even if its hidden colour is black."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (32, 0, 64, 64))
    data = encode(image, name)
    assert min(pixel(data)) > 250
    assert decode(data, max_pixels=MAX_PIXELS).transparent


@pytest.mark.parametrize("mode", ["P", "LA", "L", "RGB"])
def test_other_kinds_of_transparency_become_white(mode: str) -> None:
    """Transparency of a palette, a grey or a single colour counts like an alpha channel."""
    if mode == "LA":
        data = encode(Image.new("LA", (64, 64), (0, 0)), "PNG")
    else:
        value = (0, 0, 0) if mode == "RGB" else 0
        data = encode(Image.new(mode, (64, 64), value), "PNG", transparency=value)
    assert pixel(data) == (255, 255, 255)


def test_a_gif_with_a_transparent_background_becomes_white() -> None:
    """A GIF's transparent index counts like an alpha channel."""
    assert pixel(encode(Image.new("P", (64, 64), 0), "GIF", transparency=0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_opaque_images_are_not_called_transparent(mode: str) -> None:
    """A fully opaque alpha channel is not transparency."""
    image = checks(64, 64).convert(mode)
    assert not decode(encode(image, "PNG"), max_pixels=MAX_PIXELS).transparent


def test_bytes_after_a_jpeg_are_ignored() -> None:
    """A polyglot file is decoded as the image it begins with."""
    assert decode(encode(checks(64, 64)) + b"<script>alert(1)</script>", max_pixels=MAX_PIXELS).width == 64


def test_a_single_pixel_is_decoded() -> None:
    """A one-pixel image is decoded like any other; its size is for the gate to judge."""
    assert decode(encode(Image.new("RGB", (1, 1)), "PNG"), max_pixels=MAX_PIXELS).width == 1


@settings(deadline=None, database=None)
@given(st.sampled_from(ALLOWED), st.integers(0, 10**9), st.binary(min_size=1, max_size=30))
def test_damage_anywhere_is_an_outcome(name: str, where: int, rubbish: bytes) -> None:
    """Whatever bytes are overwritten, a file is decoded or refused with a reason."""
    data = bytearray(encode(checks(40, 32), name))
    at = where % len(data)
    data[at : at + len(rubbish)] = rubbish
    with contextlib.suppress(UnreadableImage):
        assert decode(bytes(data), max_pixels=MAX_PIXELS).image.mode == "RGB"


def test_the_models_pixels_are_those_of_open_clip() -> None:
    """The resize to 224 x 224 is bit-equal to open_clip's preprocessing."""
    from fashion_pipeline.embedding.load import import_open_clip

    import_open_clip()
    from open_clip.transform import image_transform

    image = checks(613, 407)
    theirs = image_transform(
        224, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode="squash", interpolation="bicubic"
    )
    pixels = render(image)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.rint(theirs(image).numpy().transpose(1, 2, 0) * 255))


def test_a_decoders_message_holds_no_control_characters() -> None:
    """A stranger's bytes in a decoder's message reach neither a database nor a terminal."""
    with pytest.raises(UnreadableImage) as refused:
        decode(b"\x89PNG\r\n\x1a\n" + bytes(30), max_pixels=MAX_PIXELS)
    assert str(refused.value).isprintable()
    assert _printable(ValueError("a\x00b\x1b[31m\udcff")) == "a?b?[31m?"
    assert _printable(ValueError()) == "ValueError"
