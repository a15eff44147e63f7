"""How blurred an image's edges are, whatever their contrast and however little else there is to see.

The variance of the Laplacian measures how much detail an image has: a plain white garment on a white
ground has little, however sharp it is. The blur of an edge does not depend on its contrast. An ideal
step that a lens blurred by a Gaussian of standard deviation b has, after another Gaussian s, a steepest
slope proportional to 1 / sqrt(b² + s²); the ratio of the slopes at two s gives b. Zhuo and Sim,
"Defocus map estimation from a single image", 2011.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

LONGEST_SIDE_PX = 2_000
"""Larger images are scaled to this first: nobody looks at every pixel of a 40-megapixel photo."""

MOST_BLURRED_PX = 16.0
"""The figure of an image without edges, and the largest one."""

_TILE = 64
_TILES = 32
_MARGIN = 8
"""Pixels around a tile that the widest filter needs."""

_FIND_PX = 2.4
_FINE_PX, _COARSE_PX = 1.2, 2.0
"""Edges are found in a smoother image than they are measured in: noise that makes a point look like an edge
would otherwise make the same point look sharp."""

_SHALLOWEST = 0.35
"""Slopes below this, in grey levels per pixel, are no edges."""

_BESIDE_PX = 4
_PROMINENCE = 1.1
"""How much steeper an edge is than its surroundings at that distance: a gradient of light is no edge."""

_NOISE_FACTOR = 5.0
_FEWEST_POINTS = 24
"""A tile with fewer points on edges is not measured."""

_SHARPEST_SHARE = 0.4
"""An image is as sharp as this share of its edges, so that a soft shadow or a background counts little."""


def edge_blur(grey: Image.Image) -> float:
    """Return the blur of the sharper edges, as the standard deviation of a Gaussian in pixels.

    0 is a perfect step; sharp photos have 0.3 to 1.2. Pixels are those of the image, its longer side
    scaled to at most 2,000 px. At most 32 tiles of 64 px are measured, those with the steepest slopes, so
    that a plain ground does not count.

    Args:
        grey: mode L.
    """
    pixels = _framed(grey)
    tiles = _steepest(pixels)
    across, down = _slopes(tiles, _FIND_PX)
    steepness = np.hypot(across, down)
    on_edge = _ridges(across, down, steepness) & (steepness > _shallowest(pixels))
    tile_of = np.nonzero(on_edge)[0]
    points = np.bincount(tile_of, minlength=len(tiles))
    measured = points >= _FEWEST_POINTS
    if not measured.any():
        return MOST_BLURRED_PX
    steep = steepness[on_edge]
    direction = across[on_edge] / steep, down[on_edge] / steep

    def along(scale_px: float) -> Doubles:
        """Return each tile's sum of slopes in the direction of its edges, of the tiles that are measured."""
        slopes = _slopes(tiles, scale_px)
        values = slopes[0][on_edge] * direction[0] + slopes[1][on_edge] * direction[1]
        return np.bincount(tile_of, values, minlength=len(tiles))[measured].astype(np.float64)

    ratio = (along(_FINE_PX) / np.maximum(along(_COARSE_PX), 1e-6)) ** 2
    # ratio = (blur² + coarse²) / (blur² + fine²), solved for blur²
    squared = (_COARSE_PX**2 - ratio * _FINE_PX**2) / np.maximum(ratio - 1, 1e-4)
    blur = np.sqrt(np.clip(squared, 0, MOST_BLURRED_PX**2))
    weights = (np.bincount(tile_of, steep, minlength=len(tiles))[measured] / points[measured]) ** 2
    return round(_quantile(blur, weights, _SHARPEST_SHARE), 3)


def _quantile(values: Doubles, weights: Doubles, share: float) -> float:
    """Return the value up to which the smaller values have a share of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


def _framed(grey: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image, of at least one tile and at most the longest side."""
    scale = LONGEST_SIDE_PX / max(grey.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey)
    missing = [max(0, _TILE - side) for side in pixels.shape]
    return np.pad(pixels, [(0, missing[0]), (0, missing[1])], mode="edge") if any(missing) else pixels


def _steepest(pixels: NDArray[np.uint8]) -> Floats:
    """Return the tiles with the steepest slopes at a quarter of the size, with their margins."""
    small = np.asarray(Image.fromarray(pixels).reduce(4), np.int16)
    slope: NDArray[np.int32] = np.zeros(small.shape, np.int32)
    slope[:, 1:-1] += (small[:, 2:] - small[:, :-2]).astype(np.int32) ** 2
    slope[1:-1] += (small[2:] - small[:-2]).astype(np.int32) ** 2
    side = _TILE // 4
    down, across = slope.shape[0] // side, slope.shape[1] // side
    steepest = slope[: down * side, : across * side].reshape(down, side, across, side).max(axis=3).max(axis=1)
    order = np.argsort(-steepest, axis=None, kind="stable")[:_TILES]
    around = np.pad(pixels, _MARGIN, mode="edge")
    whole = _TILE + 2 * _MARGIN
    corners = [(int(place) // across * _TILE, int(place) % across * _TILE) for place in order]
    return np.stack([around[y : y + whole, x : x + whole] for y, x in corners]).astype(np.float32)


def _slopes(tiles: Floats, scale_px: float) -> tuple[Floats, Floats]:
    """Return the slopes across and down of tiles that are smoothed by a Gaussian, without their margins."""
    smooth, derive = _filters(scale_px)
    return np.asarray(smooth @ tiles @ derive.T, np.float32), np.asarray(derive @ tiles @ smooth.T, np.float32)


@cache
def _filters(scale_px: float) -> tuple[Floats, Floats]:
    """Return the matrices that smooth and derive a column of a tile, ``float32[64, 80]``."""
    reach = np.arange(-_MARGIN, _MARGIN + 1, dtype=np.float64)
    bell = np.exp(-(reach**2) / (2 * scale_px**2))
    rising = reach * bell
    return _banded(bell / bell.sum()), _banded(rising / (reach * rising).sum())


def _banded(kernel: NDArray[np.float64]) -> Floats:
    matrix = np.zeros((_TILE, _TILE + 2 * _MARGIN), np.float32)
    for row in range(_TILE):
        matrix[row, row : row + len(kernel)] = kernel
    return matrix


def _ridges(across: Floats, down: Floats, steepness: Floats) -> NDArray[np.bool_]:
    """Return where the slope is steepest across an edge, and clearly less steep some pixels away."""
    level = np.abs(across) >= np.abs(down)
    found = np.zeros(steepness.shape, np.bool_)
    inner = (slice(None), slice(_BESIDE_PX, -_BESIDE_PX), slice(_BESIDE_PX, -_BESIDE_PX))
    found[inner] = np.where(level[inner], _peaks(steepness.transpose(0, 2, 1)).transpose(0, 2, 1), _peaks(steepness))
    return found


def _peaks(steepness: Floats) -> NDArray[np.bool_]:
    """Return where the slope is steepest from top to bottom, without a margin around each tile."""

    def moved(pixels: int) -> Floats:
        end = steepness.shape[1] - _BESIDE_PX
        return steepness[:, _BESIDE_PX + pixels : end + pixels, _BESIDE_PX:-_BESIDE_PX]

    here = moved(0)
    clear = 2 * here > _PROMINENCE * (moved(_BESIDE_PX) + moved(-_BESIDE_PX))
    return clear & (here >= moved(1)) & (here > moved(-1))


def _shallowest(pixels: NDArray[np.uint8]) -> float:
    """Return the least slope of an edge: above what the image's noise alone makes.

    The noise is that of the calmer tiles of a sample. Immerkær, "Fast noise variance estimation", 1996.
    """
    down, across = pixels.shape[0] // _TILE, pixels.shape[1] // _TILE
    places = range(0, down * across, max(1, down * across // _TILES))
    corners = [(place // across * _TILE, place % across * _TILE) for place in places]
    tiles = np.stack([pixels[y : y + _TILE, x : x + _TILE] for y, x in corners]).astype(np.int16)
    rows = tiles[:, :-2] - 2 * tiles[:, 1:-1] + tiles[:, 2:]
    cross = (rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]).astype(np.float32)
    noise = float(np.percentile(np.sqrt((cross**2).mean((1, 2))) / 6, 25))
    return max(_SHALLOWEST, _NOISE_FACTOR * noise / (math.sqrt(8 * math.pi) * _FIND_PX**2))
