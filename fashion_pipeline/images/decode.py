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
from fashion_pipeline.images.formats import ALLOWED, declared_size, describe, ends_early, image_format
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL._imagingcms import CmsProfile

PIXEL_SPEC = "squash224-v1"
"""Name of everything between bytes and model pixels; part of the model's fingerprint."""

MODEL_SIDE_PX = 224

MAX_SCANS = 500
"""Of a JPEG: each goes over the whole picture, and costs its maker ten bytes. Ordinary ones have ten."""

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
        if "truncated" in str(error) or ends_early(data):
            msg = f"this {found} ends before its end ({len(data):,} bytes); upload it again"
            raise UnreadableImage(msg, reason=Reason.TRUNCATED, image_format=found) from error
        from PIL import UnidentifiedImageError

        why = "its beginning makes no sense" if isinstance(error, UnidentifiedImageError) else _printable(error)
        msg = f"this {found} is damaged ({why}); save it anew and upload it again"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, image_format=found) from error


def _printable(error: Exception) -> str:
    """Return a decoder's words, with what the file put into them made harmless."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(error)[:100]) or type(error).__name__


def render(image: Image.Image) -> np.ndarray:
    """Return the model's pixels of an RGB picture, ``uint8[224, 224, 3]``.

    Squashed by Pillow's antialiased bicubic filter: bit-equal to open_clip's own preprocessing of
    an RGB picture before it normalises.
    """
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize((MODEL_SIDE_PX, MODEL_SIDE_PX), Image.Resampling.BICUBIC), np.uint8)


def _decode(data: bytes, found: str, max_pixels: int) -> Decoded:
    _check_size(declared_size(data), found, max_pixels)
    scans = data.count(b"\xff\xda") if found == "JPEG" else 0
    if scans > MAX_SCANS:
        msg = f"this JPEG paints itself in {scans:,} scans, at most {MAX_SCANS} are decoded; save it anew"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, image_format=found)
    with _pillow().open(io.BytesIO(data), formats=[found]) as opened:
        _check_size(opened.size, found, max_pixels)
        opened.load()
        animated = found != "JPEG" and _is_animated(opened)  # a JPEG of several pictures (MPO) does not move
        image, transparent = _flat(opened)
        image = _in_srgb(image, opened.info.get("icc_profile"))
        image = _upright(image, opened)
    return Decoded(image, image.width, image.height, found, animated, transparent)


def _check_size(size: tuple[int, int], found: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        msg = f"its header says {width} x {height} pixels; at most {max_pixels:,} are decoded (quality.max_pixels)"
        raise UnreadableImage(msg, reason=Reason.TOO_MANY_PIXELS, width=width, height=height, image_format=found)


def _is_animated(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # noqa: BLE001 - a second frame that cannot be read, of whatever make, is one
        return True


def _flat(image: Image.Image) -> tuple[Image.Image, bool]:
    """Bring a picture to RGB, CMYK or 8-bit grey, with what is transparent on white."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return (image if image.mode in _PROFILE_SPACES else image.convert("RGB")), False
    coloured = image if image.mode == "RGBA" else image.convert("RGBA")
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

    values = np.asarray(image)
    grey = (values.clip(0, 65_535) >> 8).astype(np.uint8)
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
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - whatever a damaged profile makes its parser raise
            return image.convert("RGB")  # browsers show such pictures without it
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
    """Return ``PIL.Image`` with its own pixel limit off, and AVIF's threads.

    Our limit is stricter, is checked before a pixel is decoded, and names the size. Pillow's only
    warns up to 179 million pixels, and above that says nothing of the header it read. Of workers
    there are as many as cores, so none needs threads of its own.
    """
    from PIL import AvifImagePlugin, Image

    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image


@cache
def _srgb() -> CmsProfile:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")
