"""Decode a stranger's bytes to one RGB image and to the model's pixels.

Hostile and merely unusual files are handled alike: the header's size is checked before a pixel is
decoded, formats outside the list never reach their decoders, and a truncated file is refused
instead of decoded half grey. The result looks as in a browser: EXIF rotation and the embedded
colour profile are applied, and transparent parts are white.
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
"""Version of all processing from bytes to model pixels; part of the model's fingerprint."""

MODEL_SIDE_PX = 224

MAX_SCANS = 500
"""The most scans of a JPEG: each costs a pass over the whole image, and only ten bytes. Ordinary files have about ten."""

_EXIF_ORIENTATION = 0x0112
_PROFILE_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as a browser shows it.

    Attributes:
        image: mode RGB, rotated, transparent parts on white.
        width: pixels after rotation.
        height: pixels after rotation.
        image_format: one of ``formats.ALLOWED``.
        animated: whether more frames follow this first one.
        transparent: whether some pixel was not opaque.
    """

    image: Image.Image
    width: int
    height: int
    image_format: str
    animated: bool
    transparent: bool


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Decode an image's first frame.

    Raises:
        UnreadableImage: the bytes are not an image, have a format that is not allowed or more than
            ``max_pixels``, are truncated, or cannot be decoded.
    """
    found = image_format(data)
    if found is None:
        msg = f"the file is {describe(data)}"
        raise UnreadableImage(msg, reason=Reason.NOT_AN_IMAGE)
    if found not in ALLOWED:
        msg = f"the image is {found}; use JPEG, PNG, WebP, GIF or AVIF"
        raise UnreadableImage(msg, reason=Reason.FORMAT_NOT_ALLOWED, image_format=found)
    try:
        return _decode(data, found, max_pixels)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
        if "truncated" in str(error) or ends_early(data):
            msg = f"this {found} is truncated ({len(data):,} bytes); upload it again"
            raise UnreadableImage(msg, reason=Reason.TRUNCATED, image_format=found) from error
        from PIL import UnidentifiedImageError

        why = "its header is invalid" if isinstance(error, UnidentifiedImageError) else _printable(error)
        msg = f"this {found} is damaged ({why}); save it again and upload it again"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, image_format=found) from error


def _printable(error: Exception) -> str:
    """Return a decoder's message without control characters, which the file may have put there."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(error)[:100]) or type(error).__name__


def render(image: Image.Image) -> np.ndarray:
    """Return the model's pixels of an RGB image, ``uint8[224, 224, 3]``.

    Resized without keeping the aspect ratio, by Pillow's antialiased bicubic filter: bit-equal to
    open_clip's own preprocessing of an RGB image, before normalisation.
    """
    # cykooz.resizer 4.0.1 takes a seventh of the time, with vectors of cosine 0.99996 and more. But it asks for
    # 36 GB for an image of 40,000,000 x 1 px and then aborts the process; Pillow needs 1.4 GB.
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize((MODEL_SIDE_PX, MODEL_SIDE_PX), Image.Resampling.BICUBIC), np.uint8)


def _decode(data: bytes, found: str, max_pixels: int) -> Decoded:
    _check_size(declared_size(data), found, max_pixels)
    scans = data.count(b"\xff\xda") if found == "JPEG" else 0
    if scans > MAX_SCANS:
        msg = f"this JPEG has {scans:,} scans; the limit is {MAX_SCANS}; save it again and upload it again"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, image_format=found)
    with _pillow().open(io.BytesIO(data), formats=[found]) as opened:
        _check_size(opened.size, found, max_pixels)
        opened.load()
        animated = found != "JPEG" and _is_animated(opened)  # a JPEG with several images (MPO) is not animated
        image, transparent = _flatten(opened)
        image = _to_srgb(image, opened.info.get("icc_profile"))
        image = _rotate(image, opened)
    return Decoded(image, image.width, image.height, found, animated, transparent)


def _check_size(size: tuple[int, int], found: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        msg = f"the header declares {width} x {height} pixels; the limit is {max_pixels:,} (quality.max_pixels)"
        raise UnreadableImage(msg, reason=Reason.TOO_MANY_PIXELS, width=width, height=height, image_format=found)


def _is_animated(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # noqa: BLE001 - a second frame that cannot be read is still one
        return True


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert an image to RGB, CMYK or 8-bit grey, with transparent parts on white."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return (image if image.mode in _PROFILE_SPACES else image.convert("RGB")), False
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB"), False
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=alpha)
    return flat, True


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips instead, and turns grey into white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    grey = (values.clip(0, 65_535) >> 8).astype(np.uint8)
    hidden = image.info.get("transparency")
    transparent = isinstance(hidden, int) and bool((values == hidden).any())
    if transparent:
        grey[values == hidden] = 255
    return Image.fromarray(grey), transparent


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB by the embedded colour profile, or without one if none fits."""
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
        except Exception:  # noqa: BLE001 - a damaged profile can raise anything
            return image.convert("RGB")  # browsers ignore such a profile
    return image.convert("RGB")


def _rotate(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF data is ignored."""
    from PIL import Image

    transposes = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        transpose = transposes.get(opened.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - hostile EXIF can raise anything; the image itself is fine
        return image
    return image if transpose is None else image.transpose(transpose)


@cache
def _pillow() -> ModuleType:
    """Return ``PIL.Image`` with its pixel limit off, and with one thread for AVIF.

    Our limit is stricter, is checked before a pixel is decoded, and reports the size. Pillow's only
    warns up to 179 million pixels, and above that does not report the size. There are as many
    workers as cores, so a decoder needs no threads of its own.
    """
    from PIL import AvifImagePlugin, Image

    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image


@cache
def _srgb() -> CmsProfile:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")
