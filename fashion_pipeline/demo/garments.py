"""Draws images of garments: an outline, a pattern, a fabric, folds of light, a studio behind them.

The same recipe gives the same image on every run. Dimensions, file size and sharpness are those of
a shop's product photos, so that the quality gate and the model have realistic input.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from fashion_pipeline.demo.media import COLOURS, Garment
from fashion_pipeline.demo.silhouettes import OUTLINES, Pen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tile = NDArray[np.uint8]
    Colour = tuple[int, int, int]

_STUDIOS: tuple[Colour, ...] = ((240, 240, 238), (226, 230, 234), (236, 226, 214), (214, 218, 210), (232, 220, 226))


def draw(garment: Garment) -> Image.Image:
    """Return the garment in front of a studio's backdrop, RGB."""
    rng = np.random.default_rng(garment.seed)
    cloth, mask = _cloth(garment, rng)
    studio = _studio(garment.size, mask, rng)
    studio.paste(cloth, mask=mask)
    return _grained(studio, rng)


def cut_out(garment: Garment) -> Image.Image:
    """Return the garment alone, RGBA, nothing behind it."""
    cloth, mask = _cloth(garment, np.random.default_rng(garment.seed))
    cloth.putalpha(mask)
    return cloth


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the image as the bytes of a file; ``options`` are Pillow's for the format."""
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def _cloth(garment: Garment, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    pen = Pen(garment.size)
    OUTLINES[garment.kind](pen, rng)
    mask = pen.mask()
    tile = PATTERNS[garment.pattern](COLOURS[garment.colour], COLOURS[garment.second_colour], rng)
    cloth = Image.fromarray(_spread(tile, garment.size))
    cloth = ImageChops.multiply(cloth, _light(mask, rng))
    weave = _spread(_weave(garment.fabric, rng), garment.size)
    cloth = ImageChops.add(cloth, _grey(weave), 1.0, -128)
    _stitch(cloth, pen, COLOURS[garment.colour])
    return cloth, mask


def _grey(levels: Tile) -> Image.Image:
    layer = Image.fromarray(levels)
    return Image.merge("RGB", (layer, layer, layer))


def _spread(tile: Tile, size: tuple[int, int]) -> Tile:
    """Repeat a tile over an image of ``size``."""
    width, height = size
    down, across = -(-height // tile.shape[0]), -(-width // tile.shape[1])
    repeats = (down, across) if tile.ndim == 2 else (down, across, 1)
    return np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])


def _light(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return folds and roundness as levels to multiply by, computed at an eighth of the size."""
    small = mask.reduce(8)
    around = np.asarray(small.filter(ImageFilter.GaussianBlur(5)), np.float32) / 255
    height, width = around.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    folds = np.zeros_like(around)
    for _ in range(5):
        slope, pitch = rng.uniform(-0.35, 0.35), rng.uniform(0.12, 0.5)
        folds += rng.uniform(0.3, 1.0) * np.sin(pitch * (x + slope * y) + rng.uniform(0, 6.3) + 0.04 * y)
    levels = 255 * np.clip(0.9 * (0.55 + 0.5 * around) + 0.035 * folds, 0.25, 1.0)
    layer = Image.fromarray(levels.astype(np.uint8)).resize(mask.size, Image.Resampling.BILINEAR)
    return Image.merge("RGB", (layer, layer, layer))


def _weave(fabric: str, rng: np.random.Generator) -> Tile:
    """Return a tile of a fabric's surface around the level 128."""
    y, x = np.mgrid[0:240, 0:240].astype(np.float32)
    if fabric == "denim":
        relief = 13 * np.sin((x + y) * (2 * np.pi / 6))
    elif fabric == "knit":
        relief = 16 * np.sin(y * (2 * np.pi / 12) + 2.2 * np.abs((x % 16) - 8) / 8 * np.pi)
    elif fabric == "linen":
        relief = 9 * np.sin(x * (2 * np.pi / 5)) + 9 * np.sin(y * (2 * np.pi / 5))
    else:
        relief = 7 * np.sin(x * (2 * np.pi / 6)) * np.sin(y * (2 * np.pi / 6))
    threads = rng.normal(0, 9, (120, 120)).repeat(2, 0).repeat(2, 1)
    tile: Tile = np.clip(128 + relief + threads, 0, 255).astype(np.uint8)
    return tile


def _stitch(cloth: Image.Image, pen: Pen, colour: Colour) -> None:
    """Draw seams and buttons onto the cloth, darker or (on dark cloth) lighter than it."""
    pencil = ImageDraw.Draw(cloth)
    dark = sum(colour) < 240
    shade = tuple(min(255, level + 70) if dark else int(level * 0.55) for level in colour)
    for points, width in pen.seams:
        pencil.line(pen.pixels(points), fill=shade, width=max(2, round(width * pen.width / 1000)), joint="curve")
    for x, y, radius in pen.buttons:
        (middle,) = pen.pixels([(x, y)])
        reach = radius * pen.width
        box = (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
        pencil.ellipse(box, fill=(232, 224, 204), outline=shade, width=3)


def _studio(size: tuple[int, int], mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a lit backdrop with the garment's soft shadow on it."""
    colour = np.array(_STUDIOS[int(rng.integers(len(_STUDIOS)))], np.float32)
    shadow = mask.reduce(8)
    width, height = shadow.size
    cast = ImageChops.offset(shadow.filter(ImageFilter.GaussianBlur(6)), 3, 4)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    lamp_x, lamp_y = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.5)
    far = np.hypot(x / width - lamp_x, y / height - lamp_y)
    light = (1.04 - 0.22 * far) * (1 - 0.35 * np.asarray(cast, np.float32) / 255)
    levels = np.clip(light[..., None] * colour, 0, 255).astype(np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR)


def _grained(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add a camera's grain, two pixels wide."""
    tile = np.clip(rng.normal(128, 6, (160, 160)), 96, 160).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    return ImageChops.add(image, _grey(_spread(tile, image.size)), 1.0, -128)


def _plain(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:  # noqa: ARG001 - one form for all patterns
    return np.full((64, 64, 3), first, np.uint8)


def _stripes(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:
    period = int(rng.integers(5, 14)) * 6
    lanes = (np.arange(period) < period * rng.uniform(0.3, 0.6))[:, None]
    tile: Tile = np.where(lanes, np.array(second, np.uint8), np.array(first, np.uint8))[:, None, :].repeat(8, 1)
    return tile if rng.random() < 0.6 else tile.transpose(1, 0, 2)


def _diagonal(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:
    period = int(rng.integers(5, 12)) * 8
    y, x = np.mgrid[0:period, 0:period]
    tile: Tile = np.where(((x + y) % period < period // 3)[..., None], second, first).astype(np.uint8)
    return tile


def _checks(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:
    period = int(rng.integers(5, 12)) * 8
    band = np.arange(period) < period // 2
    share = (band[:, None].astype(np.float32) + band[None, :])[..., None] / 2
    tile: Tile = (np.array(first) * (1 - share) + np.array(second) * share).astype(np.uint8)
    return tile


def _dots(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:
    period = int(rng.integers(5, 13)) * 8
    tile = Image.new("RGB", (period, period), first)
    pencil = ImageDraw.Draw(tile)
    radius = period * rng.uniform(0.14, 0.24)
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        box = (x * period - radius, y * period - radius, x * period + radius, y * period + radius)
        pencil.ellipse(box, fill=second)
    return np.asarray(tile)


def _floral(first: Colour, second: Colour, rng: np.random.Generator) -> Tile:
    side = 216
    tile = Image.new("RGB", (side, side), first)
    pencil = ImageDraw.Draw(tile)
    palette = [second, *(COLOURS[name] for name in ("pink", "mustard", "white"))]
    for place in range(9):
        x, y = (place % 3) * 72 + rng.uniform(22, 50), (place // 3) * 72 + rng.uniform(22, 50)
        petals, reach, colour = int(rng.integers(5, 8)), rng.uniform(9, 15), palette[int(rng.integers(4))]
        pencil.line((x, y, x + 14, y + 20), fill=(60, 110, 60), width=4)
        for angle in np.linspace(0, 2 * np.pi, petals, endpoint=False):
            at_x, at_y = x + reach * np.cos(angle), y + reach * np.sin(angle)
            pencil.ellipse((at_x - 7, at_y - 7, at_x + 7, at_y + 7), fill=colour)
        pencil.ellipse((x - 5, y - 5, x + 5, y + 5), fill=(240, 206, 80))
    return np.asarray(tile)


PATTERNS: dict[str, Callable[[Colour, Colour, np.random.Generator], Tile]] = {
    "plain": _plain,
    "striped": _stripes,
    "diagonal": _diagonal,
    "checked": _checks,
    "dotted": _dots,
    "floral": _floral,
}
