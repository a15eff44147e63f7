"""Whether stored vectors are what they should be: a sample of one store's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.records import EmbeddedImage
from fashion_pipeline.storage.vectors import VectorRef, Vectors

NORM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class VectorSample:
    """What a look at some vectors showed.

    Attributes:
        fingerprint: of the model they should be of.
        looked_at: how many.
        wrong: hex SHA-256 of the images whose vector is damaged, of another norm than 1, or of another model.
    """

    fingerprint: str
    looked_at: int
    wrong: tuple[str, ...] = ()


def sample_vectors(
    rows: Sequence[EmbeddedImage], *, vectors: Vectors, fingerprint: str, most: int = 50
) -> VectorSample:
    """Look at vectors spread evenly over a store's, at most so many."""
    embedded = [row for row in rows if row.outcome.ok]
    step = max(1, -(-len(embedded) // most))
    chosen = embedded[::step]
    odd = _odd(chosen, vectors)
    wrong = tuple(row.sha256 for row in chosen if row.fingerprint != fingerprint or row.sha256 in odd)
    return VectorSample(fingerprint, len(chosen), wrong)


def _odd(rows: Sequence[EmbeddedImage], vectors: Vectors) -> set[str]:
    """Return the images whose vector cannot be read, or has another norm than 1."""
    import numpy as np

    try:
        found = vectors.load([VectorRef(row.part, row.index) for row in rows])
    except DamagedFile:  # of which of them it does not say
        return {rows[0].sha256} if len(rows) == 1 else {sha256 for row in rows for sha256 in _odd([row], vectors)}
    norms = np.linalg.norm(found, axis=1)
    within = np.abs(norms - 1) <= NORM_TOLERANCE  # False of what is no number, too
    return {row.sha256 for row, is_one in zip(rows, within, strict=True) if not is_one}
