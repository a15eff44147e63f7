"""An image's measurements, and its pixels for the model.

Runs in a worker process (``worker``), because its input is a stranger's; imports nothing heavy, so
that a worker starts in a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.decode import Decoded, decode, render
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MEASURED_WITH = 2
"""Version of the measurements; raising it measures every image again."""

SHARPNESS_SIDE_PX = 500


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of one decode.

    Attributes:
        width: pixels, after EXIF orientation; 0 if the header cannot be read.
        height: pixels, after EXIF orientation; 0 if the header cannot be read.
        image_format: in Pillow's names, or a known format outside the list; empty if unknown.
        animated: whether more frames follow the first one.
        transparent: whether some pixel is not opaque.
        sharpness: the classic measure, see ``sharpness``; None if it was not measured.
        edge_blur_px: see ``edges.edge_blur``; None if it was not measured.
        perceptual_hash: see ``signature``; empty if it was not measured, as are the next two.
        mirrored_hash: that of the mirrored image.
        colours: shares of the colours of the centre.
        problem: why the bytes cannot be decoded; None if they can.
        problem_detail: the figures or the error of ``problem``.
    """

    width: int
    height: int
    image_format: str
    animated: bool = False
    transparent: bool = False
    sharpness: float | None = None
    edge_blur_px: float | None = None
    perceptual_hash: str = ""
    mirrored_hash: str = ""
    colours: tuple[int, ...] = ()
    problem: Reason | None = None
    problem_detail: str = ""


def measure(data: bytes, *, max_pixels: int) -> tuple[Findings, np.ndarray | None]:
    """Decode once, and return the measurements and the model's pixels, ``uint8[224, 224, 3]``.

    The pixels are None if the bytes cannot be decoded.
    """
    try:
        decoded = decode(data, max_pixels=max_pixels)
    except UnreadableImage as error:
        return found_unreadable(error), None
    return _measured(decoded), render(decoded.image)


def _measured(decoded: Decoded) -> Findings:
    from fashion_pipeline.images.edges import edge_blur
    from fashion_pipeline.images.signature import signature

    look = signature(decoded.image)
    return replace(
        found_of(decoded),
        sharpness=sharpness(decoded.image),
        edge_blur_px=edge_blur(decoded.image.convert("L")),
        perceptual_hash=look.perceptual_hash,
        mirrored_hash=look.mirrored_hash,
        colours=look.colours,
    )


def found_of(decoded: Decoded) -> Findings:
    """Return the findings of a decoded image, without measurements."""
    return Findings(
        width=decoded.width,
        height=decoded.height,
        image_format=decoded.image_format,
        animated=decoded.animated,
        transparent=decoded.transparent,
    )


def found_unreadable(error: UnreadableImage) -> Findings:
    """Return the findings of bytes that cannot be decoded."""
    return Findings(
        width=error.width,
        height=error.height,
        image_format=error.image_format,
        problem=error.reason,
        problem_detail=str(error),
    )


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian of the grey image, its longer side scaled to at most 500 px.

    The kernel has 4 neighbours and the border is reflected (101): the same figure as
    ``cv2.Laplacian(grey, cv2.CV_64F).var()``, without OpenCV. Pech-Pacheco et al., "Diatom
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
