"""What an image looks like, small enough to compare: a perceptual hash and the colours of its centre.

Two shops photograph or copy the same garment. The hash recognises a scaled, recompressed or mirrored
copy; the colours tell a violet skirt from a red one in the same pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOUR_BINS = (8, 3, 3)
"""Bins of hue, saturation and value."""

SHARES = 10_000
"""The sum of a histogram, up to rounding."""

_HASHED_SIDE_PX = 32
_FREQUENCIES = 8
_COLOUR_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """What an image looks like.

    Attributes:
        perceptual_hash: 64 bits in hex: the signs of the image's 8 x 8 lowest frequencies around their median.
        mirrored_hash: the same of the image mirrored left to right.
        colours: the histogram of the image's centre by hue, saturation and value, ``SHARES`` in all.
    """

    perceptual_hash: str
    mirrored_hash: str
    colours: tuple[int, ...]


def signature(image: Image.Image) -> Signature:
    """Return what an RGB image looks like."""
    small = image.resize((_HASHED_SIDE_PX, _HASHED_SIDE_PX), Image.Resampling.BOX, reducing_gap=1.0)
    grey = np.asarray(small.convert("L"), np.float64)
    return Signature(_hash(grey), _hash(grey[:, ::-1]), _colours(image))


def _hash(grey: NDArray[np.float64]) -> str:
    """Return the perceptual hash of 32 x 32 grey levels. Zauner, "Implementation and benchmarking", 2010."""
    cosines = _cosines()
    lowest = (cosines @ grey @ cosines.T).ravel()
    lowest[0] = 0  # the mean says how bright the image is, not what it shows
    return np.packbits(lowest > np.median(lowest[1:])).tobytes().hex()


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the first rows of the discrete cosine transform (type II), ``float64[8, 32]``."""
    places = 2 * np.arange(_HASHED_SIDE_PX) + 1
    frequencies = np.arange(_FREQUENCIES)[:, None]
    return np.asarray(np.cos(np.pi * frequencies * places / (2 * _HASHED_SIDE_PX)), np.float64)


def _colours(image: Image.Image) -> tuple[int, ...]:
    """Return the shares of colours in the middle half of the width and of the height."""
    width, height = image.size
    centre = (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
    small = image.resize((_COLOUR_SIDE_PX, _COLOUR_SIDE_PX), Image.Resampling.BOX, box=centre, reducing_gap=1.0)
    levels = np.asarray(small.convert("HSV"), np.int64).reshape(-1, 3)
    hue, saturation, value = (levels[:, channel] * bins // 256 for channel, bins in enumerate(COLOUR_BINS))
    place = (hue * COLOUR_BINS[1] + saturation) * COLOUR_BINS[2] + value
    counts = np.bincount(place, minlength=int(np.prod(COLOUR_BINS)))
    return tuple(int(count) for count in np.rint(counts * SHARES / len(levels)))
