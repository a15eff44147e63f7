"""Whether an image passes the default thresholds, computed apart from the pipeline."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def sharpness(image: Image.Image) -> float:
    """Variance of the 4-neighbour Laplacian of the grey image, its longer side at most 500 px."""
    grey = image.convert("L")
    grey.thumbnail((500, 500), Image.Resampling.LANCZOS)
    levels = np.pad(np.asarray(grey, np.float64), 1, mode="reflect")
    neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return float(np.var(neighbours - 4 * levels[1:-1, 1:-1]))


def upright(content: bytes) -> Image.Image:
    """Decode an image to RGB on white."""
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def passes(content: bytes) -> bool:
    """Whether an image passes the default thresholds, computed apart from the pipeline."""
    image = upright(content)
    return min(image.size) >= 400 and 50_000 <= len(content) <= 10_000_000 and sharpness(image) >= 100
