"""Files that strangers could serve as images, built byte by byte, each with its expected outcome."""

from __future__ import annotations

from fashion_pipeline_tests.images.hostile import avifs, gifs, jpegs, others, pngs, webps
from fashion_pipeline_tests.images.hostile.case import Case


def corpus() -> list[Case]:
    """Return every file; their names differ."""
    return [case for kind in (others, jpegs, pngs, gifs, webps, avifs) for case in kind.cases()]
