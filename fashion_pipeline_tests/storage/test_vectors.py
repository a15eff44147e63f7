"""Vectors in append-only parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from upath import UPath

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.vectors import VectorRef, Vectors


def test_vectors_are_found_in_whatever_part_they_lie(home: Home) -> None:
    """Parts are only added; the index names the part and row of each digest, and order is kept."""
    vectors = home.vectors("f" * 16)
    assert vectors.index() == {}
    rows = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)
    first = vectors.append(["a", "b", "c"], rows[:3])
    second = vectors.append(["d", "e"], rows[3:])
    assert vectors.index() == dict(zip("abcde", [*first, *second], strict=True))
    assert np.array_equal(vectors.load([second[1], first[0], first[2]]), rows[[4, 0, 2]])


def test_what_is_asked_for_is_found_in_few_parts(home: Home) -> None:
    """A store's vectors cost what the store has: where its table says that they lie, no other store's part is read."""

    class Watched(Vectors):
        def _digests(self, path: UPath) -> Any:
            read.append(path.stem)
            return super()._digests(path)

    read: list[str] = []
    vectors = Watched(home.vectors("f" * 16).root)
    assert vectors.find(["a"]) == {}
    places = [place for names in ("ab", "cd", "ef") for place in vectors.append(list(names), np.ones((2, 768)))]
    parts = [place.part for place in places[::2]]
    assert vectors.find([], first=parts) == {}
    assert vectors.find(["f", "c"], first=parts[1:]) == {"c": places[2], "f": places[5]}
    assert set(read) == set(parts[1:])
    assert vectors.find(["b", "x"]) == {"b": places[1]}
    assert set(read) == set(parts)
    vectors.forget(["c"])
    assert vectors.find(["c", "d", ""]) == {"d": places[3]}


def test_a_damaged_part_has_no_vectors(home: Home) -> None:
    """What cannot be read is not in the index, so that it is embedded again."""
    vectors = home.vectors("f" * 16)
    place = vectors.append(["a"], np.ones((1, 768)))[0]
    next(iter(vectors.root.glob("*.parquet"))).write_bytes(b"PAR1")
    assert vectors.index() == vectors.find(["a"], first=[place.part]) == {}
    with pytest.raises(DamagedFile):
        vectors.load([place])
    with pytest.raises(DamagedFile):
        vectors.load([VectorRef("nowhere", 0)])
