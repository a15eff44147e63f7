"""Garments as shops photograph them, drawn: plain cloth on a plain ground, where the classic gate is wrong.

The same scene, seed and blur give the same image. The blur is a lens's: it comes before the camera's noise.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Canvas = NDArray[np.float32]

Points = tuple[tuple[float, float], ...]
Colour = tuple[float, float, float]

SIDES_PX = (500, 640, 800, 1000, 1200, 1600, 2000)

_TEE: Points = (
    *((0.36, 0.14), (0.42, 0.18), (0.50, 0.20), (0.58, 0.18), (0.64, 0.14), (0.76, 0.18), (0.92, 0.38), (0.80, 0.46)),
    *((0.74, 0.38), (0.75, 0.88), (0.25, 0.88), (0.26, 0.38), (0.20, 0.46), (0.08, 0.38), (0.24, 0.18)),
)
_JACKET: Points = (
    *((0.34, 0.12), (0.50, 0.22), (0.66, 0.12), (0.84, 0.22), (0.94, 0.78), (0.80, 0.80), (0.76, 0.44)),
    *((0.76, 0.90), (0.24, 0.90), (0.24, 0.44), (0.20, 0.80), (0.06, 0.78), (0.16, 0.22)),
)
_TROUSERS: Points = ((0.36, 0.10), (0.64, 0.10), (0.70, 0.92), (0.55, 0.92), (0.50, 0.36), (0.45, 0.92), (0.30, 0.92))
_DRESS: Points = ((0.40, 0.26), (0.60, 0.26), (0.58, 0.46), (0.70, 0.86), (0.30, 0.86), (0.42, 0.46))
_COLLAR: Points = ((0.36, 0.14), (0.43, 0.20), (0.50, 0.22), (0.57, 0.20), (0.64, 0.14))
_SLEEVES: tuple[Points, ...] = (((0.24, 0.18), (0.26, 0.38)), ((0.76, 0.18), (0.74, 0.38)))
_HEM: Points = ((0.25, 0.86), (0.75, 0.86))


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene in front of a camera.

    Attributes:
        scene: a key of ``SCENES``.
        seed: decides size, cut, folds and light.
        blur_px: standard deviation of the blur, in pixels of the image; 0: as sharp as a camera is.
    """

    scene: str
    seed: int
    blur_px: float = 0.0


def draw(shot: Shot) -> Image.Image:
    """Return the image, RGB, its longer side one of ``SIDES_PX``."""
    rng = np.random.default_rng([sorted(SCENES).index(shot.scene), shot.seed])
    longer = int(rng.choice(SIDES_PX))
    studio = Studio(longer if rng.random() < 0.4 else longer * 4 // 5, longer, rng)
    SCENES[shot.scene](studio)
    lens = float(np.hypot(rng.uniform(0.35, 0.7), shot.blur_px))
    seen = _image(studio.canvas).filter(ImageFilter.GaussianBlur(lens))
    noise = rng.normal(0, rng.uniform(0.2, 1.2), (studio.height, studio.width, 1)).astype(np.float32)
    return _image(np.asarray(seen, np.float32) + noise)


def encode(image: Image.Image, seed: int) -> tuple[bytes, str]:
    """Return an image as a file of a shop's usual quality, and its format: JPEG, WEBP or AVIF in turn."""
    rng = np.random.default_rng(seed)
    image_format = ("JPEG", "WEBP", "AVIF")[seed % 3]
    low, high = {"JPEG": (72, 92), "WEBP": (72, 88), "AVIF": (55, 75)}[image_format]
    options = {"speed": 9, "max_threads": 1} if image_format == "AVIF" else {}
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=int(rng.integers(low, high)), **options)
    return buffer.getvalue(), image_format


class Studio:
    """A canvas, and what is laid on it; places are fractions of its width and height.

    Attributes:
        canvas: ``float32[height, width, 3]``, 0 to 255.
    """

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.canvas: Canvas = np.zeros((height, width, 3), np.float32)
        self._shift = tuple(rng.uniform(-0.03, 0.03, 2))

    def ground(self, colour: Colour, falloff: float = 4) -> None:
        """Fill the canvas; the light falls off by some levels towards one corner."""
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        level = falloff * (x / self.width + y / self.height) / 2
        self.canvas[:] = np.array(colour, np.float32) - level[..., None]

    def lay(
        self, points: Points, colour: Colour, *, folds: float = 2.0, opacity: float = 1.0, relief: Canvas | None = None
    ) -> None:
        """Lay a piece of cloth; ``folds`` is the depth of its folds in levels, ``relief`` its surface."""
        mask = self._mask(points)[..., None] * opacity
        cloth = np.array(colour, np.float32) + folds * self._folds()[..., None]
        if relief is not None:
            cloth = cloth + relief[..., None]
        self.canvas = self.canvas * (1 - mask) + cloth * mask

    def shadow(self, points: Points, depth: float) -> None:
        """Darken the ground around a piece of cloth, softly, by at most ``depth`` levels."""
        mask = Image.fromarray((self._mask(points) * 255).astype(np.uint8))
        soft = mask.filter(ImageFilter.GaussianBlur(self.width / 60))
        self.canvas -= depth / 255 * np.asarray(soft, np.float32)[..., None]

    def seams(self, lines: tuple[Points, ...], levels: float) -> None:
        """Sew seams: lines that are some levels lighter or darker than the cloth."""
        drawn = Image.new("L", (self.width * 2, self.height * 2))
        pencil = ImageDraw.Draw(drawn)
        for line in lines:
            pencil.line(self._pixels(line), fill=255, width=max(2, self.width // 160))
        self.canvas += levels / 255 * np.asarray(drawn.reduce(2), np.float32)[..., None]

    def soften(self, blur: float) -> None:
        """Put what is there so far out of focus, by a fraction of the width."""
        self.canvas = np.asarray(_image(self.canvas).filter(ImageFilter.GaussianBlur(blur * self.width)), np.float32)

    def waves(self, period: float, depth: float) -> Canvas:
        """Return a knitted surface: ribs of a period in fractions of the width, and rows of stitches."""
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        pitch = max(5.0, period * self.width)
        rows = np.sin(2 * np.pi * y / pitch + 2.2 * np.abs(2 * ((x / pitch) % 1) - 1))
        relief: Canvas = depth * rows.astype(np.float32)
        return relief

    def grain(self, size: int, depth: float) -> Canvas:
        """Return an irregular surface, such as leather's, of cells of a size in pixels."""
        cells = self.rng.normal(0, depth, (self.height // size + 2, self.width // size + 2)).astype(np.float32)
        large = Image.fromarray(cells).resize((self.width, self.height), Image.Resampling.BICUBIC)
        relief: Canvas = np.asarray(large, np.float32)
        return relief

    def _mask(self, points: Points) -> Canvas:
        drawn = Image.new("L", (self.width * 2, self.height * 2))
        ImageDraw.Draw(drawn).polygon(self._pixels(points), fill=255)
        return np.asarray(drawn.reduce(2), np.float32) / np.float32(255)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        left, top = self._shift
        return [((x + left) * self.width * 2, (y + top) * self.height * 2) for x, y in points]

    def _folds(self) -> Canvas:
        y, x = np.mgrid[0 : self.height // 8 + 1, 0 : self.width // 8 + 1].astype(np.float32)
        levels = np.zeros_like(x)
        for _ in range(4):
            slope, pitch = self.rng.uniform(-0.4, 0.4), self.rng.uniform(8, 30) / self.width * 8
            levels += np.sin(pitch * (x + slope * y) + self.rng.uniform(0, 6.3))
        large = Image.fromarray(levels).resize((self.width, self.height), Image.Resampling.BILINEAR)
        folds: Canvas = np.asarray(large, np.float32)
        return folds


def _image(canvas: Canvas) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))


def _tee(studio: Studio, ground: Colour, cloth: Colour, *, shadow: float, seams: float, folds: float) -> None:
    studio.ground(ground)
    studio.shadow(_TEE, shadow)
    studio.lay(_TEE, cloth, folds=folds)
    studio.seams((_COLLAR, *_SLEEVES, _HEM), seams)


def _white_on_white(studio: Studio) -> None:
    _tee(studio, (252, 252, 252), (243, 243, 241), shadow=6, seams=-7, folds=1.2)


def _black_on_black(studio: Studio) -> None:
    _tee(studio, (16, 16, 17), (27, 27, 29), shadow=4, seams=7, folds=1.2)


def _grey_on_white(studio: Studio) -> None:
    _tee(studio, (250, 250, 250), (168, 169, 172), shadow=10, seams=-14, folds=3)


def _navy_on_white(studio: Studio) -> None:
    _tee(studio, (250, 250, 250), (34, 44, 82), shadow=14, seams=14, folds=3)


def _beige_knit(studio: Studio) -> None:
    studio.ground((246, 244, 240))
    studio.shadow(_JACKET, 10)
    relief = studio.waves(float(studio.rng.uniform(0.010, 0.02)), float(studio.rng.uniform(2, 6)))
    studio.lay(_JACKET, (214, 197, 170), folds=3, relief=relief)
    studio.seams((((0.50, 0.22), (0.50, 0.90)),), -12)


def _leather(studio: Studio) -> None:
    studio.ground((238, 238, 238))
    studio.shadow(_JACKET, 14)
    studio.lay(_JACKET, (52, 40, 34), folds=9, relief=studio.grain(max(3, studio.width // 250), 1.5))
    studio.seams((((0.50, 0.22), (0.50, 0.90)), ((0.30, 0.55), (0.44, 0.58))), 40)


def _sheer(studio: Studio) -> None:
    studio.ground((244, 242, 240))
    studio.lay(((0.44, 0.06), (0.56, 0.06), (0.60, 0.94), (0.40, 0.94)), (222, 184, 160), folds=2)
    studio.lay(_DRESS, (236, 228, 230), folds=4, opacity=0.55)
    studio.seams((((0.42, 0.46), (0.58, 0.46)),), -10)


def _flat_lay(studio: Studio) -> None:
    studio.ground((226, 218, 206), falloff=12)
    for points, colour in ((_TROUSERS, (92, 112, 148)), (_TEE, (240, 238, 232))):
        scale, left, top = 0.6, studio.rng.uniform(0, 0.4), studio.rng.uniform(0, 0.4)
        moved = tuple((x * scale + left, y * scale + top) for x, y in points)
        studio.shadow(moved, 22)
        studio.lay(moved, colour, folds=3)


def _model_shot(studio: Studio) -> None:
    studio.ground((188, 192, 196), falloff=30)
    for _ in range(6):
        x, y = studio.rng.uniform(0, 0.9, 2)
        colour = tuple(float(level) for level in studio.rng.uniform(60, 230, 3))
        studio.lay(((x, y), (x + 0.2, y), (x + 0.2, y + 0.3), (x, y + 0.3)), (colour[0], colour[1], colour[2]))
    studio.soften(0.02)
    head = tuple((0.5 + 0.055 * np.cos(turn), 0.16 + 0.07 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40))
    skin = (214, 172, 146)
    for limb in (
        ((0.36, 0.27), (0.42, 0.27), (0.36, 0.58), (0.31, 0.57)),
        ((0.42, 0.80), (0.58, 0.80), (0.55, 1), (0.45, 1)),
    ):
        studio.lay(limb, skin, folds=4)
    studio.lay(head, skin, folds=3)
    studio.lay(_DRESS, tuple(studio.rng.uniform(40, 220, 3)), folds=6)
    studio.seams((((0.42, 0.46), (0.58, 0.46)),), -16)


SCENES: dict[str, Callable[[Studio], None]] = {
    "white on white": _white_on_white,
    "black on black": _black_on_black,
    "grey on white": _grey_on_white,
    "navy on white": _navy_on_white,
    "beige knit": _beige_knit,
    "leather": _leather,
    "sheer": _sheer,
    "flat lay": _flat_lay,
    "model shot": _model_shot,
}
