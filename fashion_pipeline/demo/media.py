"""Recipes of the demo's images, and the files made from them: good ones and faulty ones.

An image is drawn when its file is first requested, and kept in a folder. The same recipe gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KINDS = ("tee", "shirt", "sweater", "coat", "dress", "skirt", "trousers", "shorts", "bag", "shoe", "hat")
PATTERNS = ("plain", "striped", "diagonal", "checked", "dotted", "floral")
FABRICS = ("cotton", "denim", "knit", "linen")
COLOURS = {
    "black": (38, 38, 42),
    "white": (236, 234, 228),
    "navy": (34, 48, 92),
    "red": (186, 36, 44),
    "green": (44, 112, 76),
    "mustard": (206, 154, 40),
    "pink": (226, 138, 160),
    "sky": (112, 168, 214),
    "brown": (118, 78, 50),
    "grey": (128, 130, 134),
    "violet": (112, 74, 146),
    "orange": (220, 112, 44),
}
DRAWING = "1"
"""Version of the drawings. A new version does not reuse the files of the old one."""


@dataclass(frozen=True, slots=True)
class Garment:
    """What an image shows.

    ``kind``, ``pattern`` and ``fabric`` are items of the lists above; the colours are keys of
    ``COLOURS``; ``size`` is width and height in pixels; ``seed`` determines cut, folds and light.
    """

    kind: str
    colour: str
    second_colour: str
    pattern: str
    fabric: str
    seed: int
    size: tuple[int, int] = (1000, 1250)


@dataclass(frozen=True, slots=True)
class ProductImage:
    """A garment and the form of its image file, a key of ``FORMS``."""

    garment: Garment
    form: str = "jpeg"

    @property
    def content_type(self) -> str:
        """The Content-Type that the server sends."""
        return FORMS[self.form][1]

    @property
    def extension(self) -> str:
        """The file name's extension."""
        return FORMS[self.form][2]


def image_file(image: ProductImage, folder: Path) -> bytes:
    """Return an image's bytes, drawn on the first call and kept in ``folder``."""
    name = hashlib.sha256(f"{DRAWING} {image!r}".encode()).hexdigest()[:32]
    path = folder / f"{name}.{image.extension}"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        content = FORMS[image.form][0](image.garment)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}-")
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    Path(temporary).replace(path)
    return content


def _jpeg(garment: Garment) -> bytes:
    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment), "JPEG", quality=84)


def _png(garment: Garment) -> bytes:
    """Return a PNG of 96 colours: true colour would be ten times a shop's usual file."""
    from PIL import Image

    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment).quantize(96, dither=Image.Dither.NONE), "PNG", compress_level=6)


def _webp(garment: Garment) -> bytes:
    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment), "WEBP", quality=82, method=0)


def _blurred(garment: Garment) -> bytes:
    """Return an image out of focus. Grain of one pixel makes the file large, and vanishes at 500 px."""
    import numpy as np
    from PIL import Image, ImageChops, ImageFilter

    from fashion_pipeline.demo.garments import draw, encode

    soft = draw(garment).filter(ImageFilter.GaussianBlur(14))
    noise = np.random.default_rng(garment.seed).normal(128, 4, (soft.height, soft.width, 3))
    grain = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    return encode(ImageChops.add(soft, grain, 1.0, -128), "JPEG", quality=90)


def _tiny(garment: Garment) -> bytes:
    """Return a thumbnail, 320 px wide, of more than 50,000 bytes."""
    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment).resize((320, 400)), "JPEG", quality=99, subsampling=0)


def _small_file(garment: Garment) -> bytes:
    """Return a sharp image compressed to less than 50,000 bytes."""
    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment).resize((480, 600)), "JPEG", quality=40)


def _truncated(garment: Garment) -> bytes:
    content = _jpeg(garment)
    return content[: len(content) * 6 // 10]


def _html(garment: Garment) -> bytes:
    """Return the login page that a security plugin serves instead of an image."""
    text = f"<!DOCTYPE html><html><body><h1>Please log in</h1><p>{garment.kind}</p></body></html>\n"
    return (text + "<!-- hotlink protection -->\n" * 2400).encode()


def _svg(garment: Garment) -> bytes:
    red, green, blue = COLOURS[garment.colour]
    shapes = "".join(
        f'<circle cx="{x}" cy="{y}" r="9" fill="rgb({red},{green},{blue})"/>'
        for x in range(20, 800, 26)
        for y in range(20, 1000, 26)
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="1000">{shapes}</svg>\n'.encode()


def _transparent(garment: Garment) -> bytes:
    from fashion_pipeline.demo.garments import cut_out, encode

    return encode(cut_out(garment).quantize(128), "PNG", compress_level=6)


def _cmyk(garment: Garment) -> bytes:
    from fashion_pipeline.demo.garments import draw, encode

    return encode(draw(garment).convert("CMYK"), "JPEG", quality=80)


def _rotated(garment: Garment) -> bytes:
    """Return an image stored on its side, with the EXIF orientation (6) that turns it upright."""
    from PIL import Image

    from fashion_pipeline.demo.garments import draw, encode

    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(draw(garment).transpose(Image.Transpose.ROTATE_90), "JPEG", quality=84, exif=exif)


def _animated(garment: Garment, image_format: str) -> bytes:
    from PIL import Image, ImageOps

    from fashion_pipeline.demo.garments import draw, encode

    front = draw(garment).resize((520, 650), Image.Resampling.LANCZOS)
    back = ImageOps.mirror(front)
    if image_format == "GIF":
        front, back = (frame.quantize(64, dither=Image.Dither.NONE) for frame in (front, back))
    return encode(front, image_format, save_all=True, append_images=[back], duration=900, loop=0)


FORMS: dict[str, tuple[Callable[[Garment], bytes], str, str]] = {
    "jpeg": (_jpeg, "image/jpeg", "jpg"),
    "png": (_png, "image/png", "png"),
    "webp": (_webp, "image/webp", "webp"),
    "blurred": (_blurred, "image/jpeg", "jpg"),
    "tiny": (_tiny, "image/jpeg", "jpg"),
    "small file": (_small_file, "image/jpeg", "jpg"),
    "truncated": (_truncated, "image/jpeg", "jpg"),
    "html": (_html, "image/jpeg", "jpg"),
    "svg": (_svg, "image/svg+xml", "svg"),
    "transparent": (_transparent, "image/png", "png"),
    "cmyk": (_cmyk, "image/jpeg", "jpg"),
    "rotated": (_rotated, "image/jpeg", "jpg"),
    "animated gif": (lambda garment: _animated(garment, "GIF"), "image/gif", "gif"),
    "animated webp": (lambda garment: _animated(garment, "WEBP"), "image/webp", "webp"),
}
