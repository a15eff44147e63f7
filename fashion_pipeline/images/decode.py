"""Decode a stranger's bytes to one RGB image and to the model's pixels.

Hostile and merely unusual files are handled alike: the header's size is checked before a pixel is
decoded, formats outside the list never reach their decoders, and a truncated file is refused
instead of decoded half grey. The result looks as in a browser: EXIF rotation and the embedded
colour profile are applied, transparent parts are white, and damage that costs no pixel is ignored.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.colours import PROFILE_SPACES, to_srgb
from fashion_pipeline.images.formats import ALLOWED, declared_size, describe, ends_early, image_format, start_of
from fashion_pipeline.images.jpeg import scans
from fashion_pipeline.images.png import without_ignored_chunks
from fashion_pipeline.images.webp import without_cut_metadata
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PIXEL_SPEC = "squash224-v1"
"""Version of all processing from bytes to model pixels; part of the model's fingerprint."""

MODEL_SIDE_PX = 224

MAX_SIDE_PX = 65_535
"""The longest side that is decoded, as of a JPEG. A decoder needs memory for each row, however short it is."""

MAX_SCANS = 500
"""The most scans of a JPEG: each costs a pass over the whole image, and only ten bytes. Ordinary files have about ten."""

MAX_SCANNED_PIXELS = 1_000_000_000
"""The most pixels of all scans of a JPEG together, unless it has no more than ``ORDINARY_SCANS``."""

ORDINARY_SCANS = 20

_EOI = b"\xff\xd9"
_ANY_ROWS = b"\x55\xaa\x33\xcc" * 1024

_EXIF_ORIENTATION = 0x0112


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
    data = data[start_of(data) :]
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
    sound = {"PNG": without_ignored_chunks, "WEBP": without_cut_metadata}.get(found, bytes)
    opened = _load(sound(data), found, max_pixels)
    animated = found != "JPEG" and _is_animated(opened)  # a JPEG with several images (MPO) is not animated
    image, transparent = _flatten(opened)
    gamma = opened.info.get("gamma") if found == "PNG" and "srgb" not in opened.info else None
    image = to_srgb(image, profile=opened.info.get("icc_profile"), gamma=gamma)
    image = _rotate(image, opened.info.get("exif"))
    return Decoded(image, image.width, image.height, found, animated, transparent)


def _load(data: bytes, found: str, max_pixels: int) -> Image.Image:
    """Decode the pixels; the size is checked before, and a JPEG's scans."""
    opened: Image.Image = _pillow().open(io.BytesIO(data), formats=[found])
    _check_size(opened.size, found, max_pixels)
    if found == "JPEG":
        _check_scans(data, opened.size)
    try:
        opened.load()
    except OSError as error:
        if found != "JPEG" or "truncated" not in str(error) or not _lacks_only_its_end(data):
            raise
        return _open_and_load(data + _EOI)
    return opened


def _lacks_only_its_end(data: bytes) -> bool:
    """Whether every row of a truncated JPEG came: then bytes after its last one change no pixel.

    A decoder fills missing rows with what follows, or with grey.
    """
    complete = data.rstrip(b"\xff")  # the first byte of the end's marker
    try:
        shown = {hashlib.sha256(_open_and_load(complete + tail + _EOI).tobytes()).digest() for tail in (b"", _ANY_ROWS)}
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a decoder finds in a damaged file
        return False
    return len(shown) == 1


def _open_and_load(data: bytes) -> Image.Image:
    opened: Image.Image = _pillow().open(io.BytesIO(data), formats=["JPEG"])
    opened.load()
    return opened


def _check_scans(data: bytes, size: tuple[int, int]) -> None:
    if data.count(b"\xff\xda") <= ORDINARY_SCANS:  # counting them exactly takes longer
        return
    most = min(MAX_SCANS, max(ORDINARY_SCANS, MAX_SCANNED_PIXELS // max(1, size[0] * size[1])))
    if (found := scans(data)) > most:
        width, height = size
        msg = f"this JPEG of {width} x {height} pixels has {found:,} scans; the limit is {most}; save it again and upload it again"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, width=width, height=height, image_format="JPEG")


def _check_size(size: tuple[int, int], found: str, max_pixels: int) -> None:
    width, height = size
    if max(size) > MAX_SIDE_PX and width * height <= max_pixels:
        msg = f"the header declares {width} x {height} pixels; the longest side that is decoded is {MAX_SIDE_PX:,}"
        raise UnreadableImage(msg, reason=Reason.UNDECODABLE, width=width, height=height, image_format=found)
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
        return (image if image.mode in PROFILE_SPACES else image.convert("RGB")), False
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


def _rotate(image: Image.Image, exif: bytes | None) -> Image.Image:
    """Apply the orientation of EXIF data; unreadable data is ignored, and so is the orientation that XMP has.

    For AVIF, Pillow puts the container's rotation (irot, imir) there in place of the one in EXIF.
    """
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
    if not exif:
        return image
    try:
        found = Image.Exif()
        found.load(exif)
        transpose = transposes.get(found.get(_EXIF_ORIENTATION, 1))
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
