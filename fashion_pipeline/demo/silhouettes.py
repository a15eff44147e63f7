"""Outlines of garments, drawn with a pen whose unit is the image: x -0.5..0.5 from the middle, y 0..1 from the top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    Points = Sequence[tuple[float, float]]
    Outline = Callable[["Pen", np.random.Generator], None]


class Pen:
    """Fills a garment's mask, and notes the seams and buttons that go on top of its fabric.

    Attributes:
        seams: lines as (points, width in 1/1000 of the image's width).
        buttons: circles as (x, y, radius).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self._mask = Image.new("L", (self.width * 2, self.height * 2))
        self._draw = ImageDraw.Draw(self._mask)
        self.seams: list[tuple[Points, float]] = []
        self.buttons: list[tuple[float, float, float]] = []

    def pixels(self, points: Points, scale: float = 1.0) -> list[tuple[float, float]]:
        """Scale points of the unit image to pixels."""
        span = min(self.width, self.height * 0.8)
        return [
            ((self.width / 2 + x * span) * scale, (self.height * 0.04 + y * self.height * 0.92) * scale)
            for x, y in points
        ]

    def half(self, points: Points) -> None:
        """Fill a symmetric shape given by its right half, from the top middle to the bottom middle."""
        self.fill([*points, *[(-x, y) for x, y in reversed(points)]])

    def fill(self, points: Points, *, round_corners: int = 2) -> None:
        """Fill a shape, its corners cut twice (Chaikin), so that cloth looks like cloth."""
        corners = np.array(self.pixels(points, 2.0))
        for _ in range(round_corners):
            after = np.roll(corners, -1, axis=0)
            corners = np.stack([0.9 * corners + 0.1 * after, 0.1 * corners + 0.9 * after], 1).reshape(-1, 2)
        self._draw.polygon([(float(x), float(y)) for x, y in corners], fill=255)

    def ellipse(self, x: float, y: float, width: float, height: float) -> None:
        """Fill an ellipse around a middle."""
        (left, top), (right, bottom) = self.pixels(
            [(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)], 2.0
        )
        self._draw.ellipse((left, top, right, bottom), fill=255)

    def strap(self, points: Points, thickness: float) -> None:
        """Fill a band along a line."""
        self._draw.line(self.pixels(points, 2.0), fill=255, width=round(thickness * self.width * 2), joint="curve")

    def cut(self, points: Points) -> None:
        """Take a shape away."""
        self._draw.polygon(self.pixels(points, 2.0), fill=0)

    def seam(self, *points: tuple[float, float], width: float = 4.0) -> None:
        """Note a seam."""
        self.seams.append((points, width))

    def mask(self) -> Image.Image:
        """Return the mask, its edges smooth."""
        return self._mask.reduce(2)


def _top(pen: Pen, *, sleeve: float, length: float, width: float, neck: float) -> None:
    cuff_x, cuff_y = 0.27 + 0.19 * sleeve, 0.22 + 0.52 * sleeve
    pen.half([
        (0.0, 0.08 + neck), (0.09, 0.05), (0.22, 0.09), (cuff_x + 0.03, cuff_y),
        (cuff_x - 0.07, cuff_y + 0.04), (0.225, 0.27), (width, length), (0.0, length + 0.01),
    ])  # fmt: skip
    pen.seam((0.22, 0.1), (0.225, 0.27))
    pen.seam((-0.22, 0.1), (-0.225, 0.27))
    pen.seam(
        (-0.09, 0.055),
        (-0.05, 0.08 + neck * 0.9),
        (0.0, 0.085 + neck),
        (0.05, 0.08 + neck * 0.9),
        (0.09, 0.055),
        width=7,
    )


def tee(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a T-shirt."""
    _top(
        pen,
        sleeve=rng.uniform(0.25, 0.45),
        length=rng.uniform(0.78, 0.92),
        width=rng.uniform(0.21, 0.25),
        neck=rng.uniform(0.02, 0.1),
    )


def shirt(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a shirt with a collar and buttons."""
    length = rng.uniform(0.86, 0.96)
    _top(pen, sleeve=rng.uniform(0.85, 1.0), length=length, width=0.24, neck=0.04)
    pen.fill([(-0.1, 0.03), (0.0, 0.12), (-0.07, 0.17)])
    pen.fill([(0.1, 0.03), (0.0, 0.12), (0.07, 0.17)])
    pen.seam((0.0, 0.12), (0.0, length))
    pen.seam((-0.09, 0.04), (-0.06, 0.16), (0.0, 0.12), (0.06, 0.16), (0.09, 0.04))
    pen.buttons += [(0.012, y, 0.008) for y in np.arange(0.18, length - 0.05, 0.095)]


def sweater(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a sweater with ribbed ends."""
    length = rng.uniform(0.8, 0.9)
    _top(pen, sleeve=1.0, length=length, width=0.235, neck=0.03)
    for x in np.arange(-0.22, 0.221, 0.02):
        pen.seam((x, length - 0.06), (x, length))
    pen.seam((-0.23, length - 0.065), (0.23, length - 0.065))


def coat(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a coat with lapels, two rows of buttons and pockets."""
    _top(pen, sleeve=1.0, length=0.98, width=rng.uniform(0.26, 0.33), neck=0.05)
    pen.seam((0.0, 0.3), (0.0, 0.98), width=6)
    pen.seam((-0.09, 0.05), (-0.14, 0.2), (0.0, 0.32), (0.14, 0.2), (0.09, 0.05), width=6)
    pen.seam((-0.2, 0.58), (-0.09, 0.6), width=9)
    pen.seam((0.2, 0.58), (0.09, 0.6), width=9)
    pen.buttons += [(x, y, 0.013) for y in (0.36, 0.46, 0.56) for x in (-0.045, 0.045)]


def dress(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a dress, with or without sleeves."""
    waist, hem = rng.uniform(0.11, 0.15), rng.uniform(0.22, 0.4)
    if rng.random() < 0.5:
        pen.fill([(0.1, 0.05), (0.18, 0.07), (0.3, 0.26), (0.22, 0.3), (0.14, 0.2)])
        pen.fill([(-0.1, 0.05), (-0.18, 0.07), (-0.3, 0.26), (-0.22, 0.3), (-0.14, 0.2)])
    pen.half([
        (0.0, rng.uniform(0.1, 0.18)), (0.07, 0.05), (0.13, 0.05), (0.15, 0.22), (waist, 0.4),
        (hem * 0.75, 0.7), (hem, 0.96), (0.0, 0.97),
    ])  # fmt: skip
    pen.seam((-waist, 0.4), (0.0, 0.41), (waist, 0.4), width=8)
    for x in (-0.6, -0.2, 0.25, 0.65):
        pen.seam((x * waist, 0.42), (x * hem, 0.95))


def skirt(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a skirt."""
    hem, length = rng.uniform(0.2, 0.42), rng.uniform(0.7, 0.92)
    pen.half([(0.0, 0.13), (0.14, 0.13), (0.145, 0.2), (0.2, 0.4), (hem, length), (0.0, length + 0.02)])
    pen.seam((-0.145, 0.19), (0.145, 0.19), width=8)
    for x in np.linspace(-0.85, 0.85, int(rng.integers(4, 12))):
        pen.seam((x * 0.14, 0.2), (x * hem, length))


def trousers(pen: Pen, rng: np.random.Generator) -> None:
    """Draw trousers, from narrow to wide."""
    _legs(pen, hem=rng.uniform(0.17, 0.3), length=0.97)


def shorts(pen: Pen, rng: np.random.Generator) -> None:
    """Draw shorts."""
    _legs(pen, hem=rng.uniform(0.25, 0.34), length=rng.uniform(0.5, 0.64))


def _legs(pen: Pen, *, hem: float, length: float) -> None:
    pen.half([(0.0, 0.06), (0.16, 0.06), (0.21, 0.3), (hem, length), (hem - 0.15, length), (0.015, 0.37), (0.0, 0.36)])
    pen.seam((-0.165, 0.11), (0.165, 0.11), width=7)
    pen.seam((0.0, 0.11), (0.0, 0.36))
    pen.seam((0.16, 0.12), (0.13, 0.19), (0.2, 0.22))
    pen.seam((-0.16, 0.12), (-0.13, 0.19), (-0.2, 0.22))
    pen.buttons.append((0.0, 0.085, 0.011))


def bag(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a bag with a handle."""
    top, bottom, height = rng.uniform(0.26, 0.36), rng.uniform(0.3, 0.42), rng.uniform(0.36, 0.5)
    angles = np.linspace(np.pi, 2 * np.pi, 24)
    reach = rng.uniform(0.5, 0.75)
    pen.strap([(top * reach * np.cos(a), 0.45 + rng.uniform(0.3, 0.301) * np.sin(a)) for a in angles], 0.03)
    pen.half([(0.0, 0.42), (top, 0.42), (bottom, 0.42 + height), (0.0, 0.43 + height)])
    pen.seam((-top, 0.52), (0.0, 0.6), (top, 0.52), width=8)
    pen.seam((-bottom * 0.9, 0.4 + height), (bottom * 0.9, 0.4 + height))
    pen.buttons.append((0.0, 0.6, 0.022))


def shoe(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a shoe from the side."""
    shaft, heel = rng.uniform(0.12, 0.45), rng.uniform(0.0, 0.1)
    pen.fill([
        (-0.38, 0.62 - shaft), (-0.16, 0.62 - shaft), (-0.1, 0.52), (0.12, 0.56), (0.36, 0.64), (0.43, 0.74),
        (0.41, 0.78), (-0.4, 0.78 - heel * 0.2), (-0.4, 0.6),
    ])  # fmt: skip
    pen.fill(
        [(-0.42, 0.76), (0.43, 0.76), (0.43, 0.81), (-0.1, 0.81), (-0.2, 0.81 + heel), (-0.42, 0.81 + heel)],
        round_corners=1,
    )
    pen.seam((-0.42, 0.765), (0.43, 0.765), width=9)
    for step in np.linspace(0.0, 1.0, 5):
        pen.seam((-0.12 + 0.2 * step, 0.5 + 0.05 * step), (-0.02 + 0.2 * step, 0.59 + 0.02 * step), width=7)


def hat(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a hat with a brim and a band."""
    brim, crown = rng.uniform(0.6, 0.92), rng.uniform(0.24, 0.36)
    pen.ellipse(0.0, 0.64, brim, rng.uniform(0.09, 0.17))
    pen.half([(0.0, 0.64 - crown), (0.12, 0.65 - crown), (0.2, 0.5), (0.22, 0.64), (0.0, 0.67)])
    for y in (0.57, 0.585, 0.6):
        pen.seam((-0.21, y), (0.0, y + 0.02), (0.21, y), width=11)


OUTLINES: dict[str, Outline] = {
    "tee": tee,
    "shirt": shirt,
    "sweater": sweater,
    "coat": coat,
    "dress": dress,
    "skirt": skirt,
    "trousers": trousers,
    "shorts": shorts,
    "bag": bag,
    "shoe": shoe,
    "hat": hat,
}
