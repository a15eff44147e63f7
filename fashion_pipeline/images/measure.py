"""What there is to know of a picture: its measurements, and the pixels the model sees.

Runs in a worker's process (``worker``), for its input is a stranger's; imports nothing heavy, so
that a worker starts in a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.decode import Decoded, decode, render
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MEASURED_WITH = 1
"""Version of the measurements; a higher one measures everything again."""

SHARPNESS_SIDE_PX = 500


@dataclass(frozen=True, slots=True)
class Findings:
    """What one decode tells.

    Attributes:
        width, height: pixels, after EXIF orientation; 0 where the header could not be read.
        sharpness: None where it was not asked for, or there is nothing to measure.
        problem: why no picture could be made of the bytes.
    """

    width: int
    height: int
    image_format: str
    animated: bool = False
    transparent: bool = False
    sharpness: float | None = None
    problem: Reason | None = None
    problem_detail: str = ""


def measure(data: bytes, *, max_pixels: int) -> tuple[Findings, np.ndarray | None]:
    """Decode once, and return the measurements and the model's pixels, ``uint8[224, 224, 3]``.

    The pixels are None for what cannot be decoded.
    """
    try:
        decoded = decode(data, max_pixels=max_pixels)
    except UnreadableImage as error:
        return found_unreadable(error), None
    return found_of(decoded, sharpness=sharpness(decoded.image)), render(decoded.image)


def found_of(decoded: Decoded, *, sharpness: float | None = None) -> Findings:
    """Return what a decoded picture tells."""
    return Findings(
        width=decoded.width,
        height=decoded.height,
        image_format=decoded.image_format,
        animated=decoded.animated,
        transparent=decoded.transparent,
        sharpness=sharpness,
    )


def found_unreadable(error: UnreadableImage) -> Findings:
    """Return what a refusal tells."""
    return Findings(
        width=error.width,
        height=error.height,
        image_format=error.image_format,
        problem=error.reason,
        problem_detail=str(error),
    )


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture, its longer side brought to at most 500 px.

    The 4-neighbour kernel with a reflected border (101): the figure that
    ``cv2.Laplacian(grey, cv2.CV_64F).var()`` gives, without OpenCV. Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", 2000.
    """
    import numpy as np
    from PIL import Image

    grey = image.convert("L")
    scale = SHARPNESS_SIDE_PX / max(grey.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    padded = np.pad(np.asarray(grey, np.int16), 1, mode="reflect")
    centre = padded[1:-1, 1:-1]
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * centre
    return float(laplacian.var(dtype=np.float64))
