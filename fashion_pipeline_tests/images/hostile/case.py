"""One file and its expected outcome."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_pipeline.outcomes import Reason


@dataclass(frozen=True)
class Case:
    """A file and its outcome: ok without reasons, else rejected with exactly these.

    Attributes:
        size: of the image (width, height), if it matters.
        colour: RGB of its middle, give or take what a lossy format changes.
        animated, transparent: None where it does not matter.
    """

    name: str
    data: bytes
    reasons: tuple[Reason, ...] = ()
    size: tuple[int, int] | None = None
    colour: tuple[int, int, int] | None = None
    animated: bool | None = None
    transparent: bool | None = None
