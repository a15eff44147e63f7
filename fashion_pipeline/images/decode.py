"""Bytes made by a stranger → one RGB picture, and the pixels the model sees.

Every rule is a row of what hostile and merely unusual files do: the header's size is checked
before a pixel is decoded, formats outside the list are never handed to their decoders, a file
that ends early is refused rather than half grey, and what a browser would show is what is judged
and embedded: the EXIF rotation, the embedded colour profile, transparency on white.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.formats import ALLOWED, describe, ends_early, image_format
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL._imagingcms import CmsProfile

PIXEL_SPEC = "squash224-v1"
"""Name of everything between bytes and model pixels; part of the model's fingerprint."""

MODEL_SIDE_PX = 224

_EXIF_ORIENTATION = 0x0112
_PROFILE_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as a browser shows it: mode RGB, rotated, on white.

    Attributes:
        width, height: pixels after rotation.
        image_format: one of ``formats.ALLOWED``.
        animated: more frames follow the first, which is this one.
        transparent: some pixel was not opaque.
    """

    image: Image.Image
    width: int
    height: int
    image_format: str
    animated: bool
    transparent: bool


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Decode a picture's first frame.

    Raises:
        UnreadableImage: it is no picture, of a format not allowed, larger than ``max_pixels``,
            cut off, or its decoder gave up.
    """
    found = image_format(data)
    if found is None:
        msg = f"these bytes are {describe(data)}"
        raise UnreadableImage(msg, reason=Reason.NOT_AN_IMAGE)
    if found not in ALLOWED:
        msg = f"this is {found}; use JPEG, PNG, WebP, GIF or AVIF"
        raise UnreadableImage(msg, reason=Reason.FORMAT_NOT_ALLOWED, image_format=found)
    try:
        return _decode(data, found, max_pixels)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
        cut_off = "truncated" in str(error) or (found in {"WEBP", "AVIF"} and ends_early(data))
        if cut_off:
            msg = f"this {found} ends before its end ({len(data):,} bytes); upload it again"
            raise UnreadableImage(msg, reason=Reason.TRUNCATED, image_format=found) from error
        msg = f"this {found} is damaged ({type(error).__name__}: {str(error)[:100]}); save it anew and upload it again"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, image_format=found) from error


def render(image: Image.Image) -> np.ndarray:
    """Return the model's pixels of an RGB picture, ``uint8[224, 224, 3]``.

    Squashed by Pillow's antialiased bicubic filter: bit-equal to open_clip's own preprocessing of
    an RGB picture before it normalises.
    """
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize((MODEL_SIDE_PX, MODEL_SIDE_PX), Image.Resampling.BICUBIC), np.uint8)


def _decode(data: bytes, found: str, max_pixels: int) -> Decoded:
    with _pillow().open(io.BytesIO(data), formats=[found]) as opened:
        width, height = opened.size
        if width * height > max_pixels:
            msg = f"its header says {width} x {height} pixels; at most {max_pixels:,} are decoded (quality.max_pixels)"
            raise UnreadableImage(msg, reason=Reason.TOO_MANY_PIXELS, width=width, height=height, image_format=found)
        opened.load()
        # JPEGs of several pictures (MPO: stereo, previews) are not animations.
        animated = found != "JPEG" and bool(getattr(opened, "is_animated", False))
        image, transparent = _flat(opened)
        image = _in_srgb(image, opened.info.get("icc_profile"))
        image = _upright(image, opened)
    return Decoded(image, image.width, image.height, found, animated, transparent)


def _flat(image: Image.Image) -> tuple[Image.Image, bool]:
    """Bring a picture to RGB, CMYK or 8-bit grey, with what is transparent on white."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return (image if image.mode in _PROFILE_SPACES else image.convert("RGB")), False
    coloured = image.convert("RGBA")
    alpha = coloured.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return coloured.convert("RGB"), False
    flat = Image.new("RGB", coloured.size, "white")
    flat.paste(coloured, mask=alpha)
    return flat, True


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips instead, which turns grey into white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.int64).clip(0, 65_535)
    grey = (values >> 8).astype(np.uint8)
    hidden = image.info.get("transparency")
    transparent = isinstance(hidden, int) and bool((values == hidden).any())
    if transparent:
        grey[values == hidden] = 255
    return Image.fromarray(grey), transparent


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB by the embedded colour profile; plainly where there is none that fits."""
    from PIL import ImageCms

    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            fits = source.profile.xcolor_space.strip() == _PROFILE_SPACES[image.mode]
            if fits and "srgb" not in ImageCms.getProfileDescription(source).lower():
                converted = ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB")
                return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")  # a damaged profile: browsers show such pictures without it
    return image.convert("RGB")


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; EXIF that cannot be read has none."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(opened.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - whatever hostile EXIF makes its parser raise, the picture itself is fine
        return image
    return image if turn is None else image.transpose(turn)


@cache
def _pillow() -> ModuleType:
    """Return ``PIL.Image`` with its own pixel limit off.

    Ours is stricter, is checked before a pixel is decoded, and names the size. Pillow's only
    warns up to 179 million pixels, and above that says nothing of the header it read.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image


@cache
def _srgb() -> CmsProfile:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")
