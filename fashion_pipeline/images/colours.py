"""An image's colours as sRGB: by its colour profile or, for a PNG, by its gamma."""

from __future__ import annotations

import io
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from PIL._imagingcms import CmsProfile

PROFILE_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}
"""The colour space a profile must have, by the image's mode."""

_SAME_LEVELS = 3
"""A profile that moves no colour by more 8-bit levels is sRGB: makers round its curve and primaries differently."""

_SRGB_GAMMA = 1 / 2.2
_SAME_GAMMA = 0.05  # libpng ignores a difference of 5 percent, too
_GAMMAS = (0.1, 10.0)


def to_srgb(image: Image.Image, *, profile: bytes | None = None, gamma: float | None = None) -> Image.Image:
    """Convert to mode RGB in sRGB.

    Args:
        image: mode RGB, CMYK or L.
        profile: the embedded ICC profile. It counts by its content, whatever its name; one that is
            damaged or does not fit the image is ignored, as browsers do.
        gamma: of a PNG without a profile: the exponent by which linear light became its samples.
    """
    if profile:
        return _by_profile(image, profile)
    converted = image.convert("RGB")
    return converted if gamma is None or _is_usual(gamma) else converted.point(_curve(gamma) * 3)


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        fits = source.profile.xcolor_space.strip() == PROFILE_SPACES[image.mode]
        if fits and not (image.mode == "RGB" and _is_srgb(profile)):
            converted = ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB")
            return converted if converted is not None else image.convert("RGB")
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a damaged profile can raise anything
        return image.convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes) -> bool:
    """Whether an RGB profile leaves colours as they are, measured at a lattice of 9 x 9 x 9 and at every grey."""
    import numpy as np
    from PIL import Image, ImageCms

    steps = np.linspace(0, 255, 9).round()
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    greys = np.arange(256)[:, None].repeat(3, 1)
    colours = np.concatenate([lattice, greys]).astype(np.uint8)[None]
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    shown = ImageCms.profileToProfile(Image.fromarray(colours), source, _srgb(), outputMode="RGB")
    return bool(np.abs(np.asarray(shown, np.int16) - colours).max() <= _SAME_LEVELS)


def _is_usual(gamma: float) -> bool:
    """Whether a gamma is sRGB's, approximately, or not a possible one."""
    return not _GAMMAS[0] <= gamma <= _GAMMAS[1] or abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA


def _curve(gamma: float) -> list[int]:
    """Return the sRGB value of each 8-bit sample (IEC 61966-2-1)."""
    light = [(value / 255) ** (1 / gamma) for value in range(256)]
    return [round(255 * (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055)) for x in light]


@cache
def _srgb() -> CmsProfile:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")
