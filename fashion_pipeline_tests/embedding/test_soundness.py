from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from fashion_pipeline.embedding.soundness import sample_vectors
from fashion_pipeline.records import EmbeddedImage
from fashion_pipeline.storage.vectors import Vectors

COUNT = 200


@pytest.fixture
def vectors(tmp_path: Path) -> Vectors:
    return Vectors(UPath(tmp_path / "vectors"))


def stored(vectors: Vectors, **odd: float) -> list[EmbeddedImage]:
    """Store vectors of norm 1, some multiplied by a factor; the first belongs to image ``p0``."""
    found = np.random.default_rng(7).normal(size=(COUNT, 768)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    names = [f"p{number}" for number in range(COUNT)]
    for name, factor in odd.items():
        found[names.index(name)] *= factor
    places = vectors.append(names, found)
    return [EmbeddedImage(name, "fp", place.part, place.index) for name, place in zip(names, places, strict=True)]


def test_a_sample_is_spread_over_the_store(vectors: Vectors) -> None:
    """At most ``most`` vectors are read, and sound ones are not reported."""
    found = sample_vectors(stored(vectors), vectors=vectors, fingerprint="fp", most=50)
    assert (found.looked_at, found.wrong) == (50, ())
    assert sample_vectors([], vectors=vectors, fingerprint="fp").looked_at == 0


@pytest.mark.parametrize("factor", [0.0, 1.01, float("nan"), float("inf")])
def test_a_vector_whose_norm_is_not_1_is_named(vectors: Vectors, factor: float) -> None:
    """A zero vector, a wrong length and NaN are reported."""
    with np.errstate(all="ignore"):
        rows = stored(vectors, p4=factor)
        assert sample_vectors(rows, vectors=vectors, fingerprint="fp", most=COUNT).wrong == ("p4",)


def test_another_models_vector_and_lost_ones_are_named(vectors: Vectors, tmp_path: Path) -> None:
    """A row of another fingerprint is reported alone; a lost part is reported with all its vectors."""
    rows = stored(vectors)[:3]
    rows[1] = EmbeddedImage("p1", "another", rows[1].part, rows[1].index)
    assert sample_vectors(rows, vectors=vectors, fingerprint="fp").wrong == ("p1",)
    for path in (tmp_path / "vectors").iterdir():
        path.unlink()
    assert sample_vectors(rows, vectors=vectors, fingerprint="fp").wrong == ("p0", "p1", "p2")
