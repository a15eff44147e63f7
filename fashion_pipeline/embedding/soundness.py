"""Check a sample of one store's stored vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.records import EmbeddedImage
from fashion_pipeline.storage.vectors import VectorRef, Vectors, sound


@dataclass(frozen=True, slots=True)
class VectorSample:
    """The result of checking some vectors.

    Attributes:
        fingerprint: of the model that should have made them.
        looked_at: the number of vectors checked.
        wrong: hex SHA-256 of the images whose vector is damaged, has a norm other than 1, or is another model's.
    """

    fingerprint: str
    looked_at: int
    wrong: tuple[str, ...] = ()


def sample_vectors(
    rows: Sequence[EmbeddedImage], *, vectors: Vectors, fingerprint: str, most: int = 50
) -> VectorSample:
    """Check at most ``most`` of a store's vectors, spread evenly."""
    embedded = [row for row in rows if row.outcome.ok]
    step = max(1, -(-len(embedded) // most))
    chosen = embedded[::step]
    damaged = _damaged(chosen, vectors)
    wrong = tuple(row.sha256 for row in chosen if row.fingerprint != fingerprint or row.sha256 in damaged)
    return VectorSample(fingerprint, len(chosen), wrong)


def _damaged(rows: Sequence[EmbeddedImage], vectors: Vectors) -> set[str]:
    """Return the images whose vector cannot be read, or has a norm other than 1."""
    try:
        found = vectors.load([VectorRef(row.part, row.index) for row in rows])
    except DamagedFile:  # the error does not name the row, so read them one by one
        return {rows[0].sha256} if len(rows) == 1 else {sha256 for row in rows for sha256 in _damaged([row], vectors)}
    return {row.sha256 for row, is_sound in zip(rows, sound(found), strict=True) if not is_sound}
