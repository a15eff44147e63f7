from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fashion_pipeline.embedding.encode import Encoder, embed_images
from fashion_pipeline.errors import DamagedFile, DecoderFailed
from fashion_pipeline.outcomes import Reason, Status, SystemClock
from fashion_pipeline.records import EmbeddedImage, Table
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.vectors import Vectors


class Tower(torch.nn.Module):
    """A linear tower that cannot take more than ``room`` images at once."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError
        self.sizes.append(len(batch))
        return batch.flatten(1)[:, :768]


def encoder(tower: Tower, batch_size: int = 4) -> Encoder:
    return Encoder(tower, device=torch.device("cpu"), bf16=False, batch_size=batch_size)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 224, 224, 3)).astype(np.uint8)


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    """A batch that does not fit is halved until it does; the order and number of vectors stay."""
    tower = Tower(room=3)
    pixels = images(10)
    vectors = encoder(tower, batch_size=8).encode(pixels)
    assert np.allclose(vectors, encoder(Tower()).encode(pixels))
    assert tower.sizes == [2, 2, 2, 2, 2]


def test_no_memory_for_one_image_is_an_error_with_advice() -> None:
    """If even one image does not fit, the error says what to do."""
    with pytest.raises(MemoryError, match="FASHION_DEVICE=cpu"):
        encoder(Tower(room=0)).encode(images(2))


def test_no_images_give_no_vectors() -> None:
    """An empty batch is not an error."""
    assert len(encoder(Tower()).encode(images(0))) == 0


@pytest.fixture
def vectors(tmp_path: Path) -> Vectors:
    return Home(tmp_path).vectors("f" * 16)


def embed(
    vectors: Vectors,
    sha256s: list[str],
    *,
    broken: dict[str, Exception] | None = None,
    previous: Table[EmbeddedImage] | None = None,
    **more: Any,
) -> Any:
    loaded: list[Encoder] = []
    pixels: dict[str, np.ndarray] = dict(zip(sorted(set(sha256s)), images(len(set(sha256s))), strict=True))

    def read_pixels(sha256: str) -> np.ndarray:
        if broken and sha256 in broken:
            raise broken[sha256]
        return pixels[sha256]

    def load() -> Encoder:
        loaded.append(encoder(Tower()))
        return loaded[-1]

    table, counts = embed_images(
        sha256s=sha256s,
        previous=previous,
        fingerprint="f" * 16,
        vectors=vectors,
        read_pixels=read_pixels,
        encoder=load,
        clock=SystemClock(),
        **more,
    )
    return table, counts, len(loaded)


def test_an_image_with_a_vector_costs_nothing(vectors: Vectors) -> None:
    """A second run loads no model and embeds nothing; of a later set, only the new image is embedded."""
    table, counts, loads = embed(vectors, ["a", "b", "b"])
    assert (counts.embedded, loads, [row.sha256 for row in table.rows]) == (2, 1, ["a", "b"])
    again, counts, loads = embed(vectors, ["a", "b"])
    assert (counts.embedded, loads, again.rows) == (0, 0, table.rows)
    _, counts, _ = embed(vectors, ["a", "b", "c"])
    assert counts.embedded == 1


def test_an_unreadable_image_fails_alone(vectors: Vectors) -> None:
    """Lost or damaged bytes fail one image temporarily; the others get their vectors."""
    broken = {"b": FileNotFoundError("b"), "c": DamagedFile("c")}
    table, counts, _ = embed(vectors, ["a", "b", "c", "d"], broken=broken)
    outcomes = {row.sha256: row.outcome for row in table.rows}
    assert outcomes["a"].ok
    assert outcomes["d"].ok
    assert outcomes["b"].status is outcomes["c"].status is Status.FAILED
    assert outcomes["b"].reasons == (Reason.BLOB_MISSING,)
    assert (counts.embedded, counts.failed) == (2, 2)
    retry = outcomes["b"].next_retry_at
    assert retry is not None
    assert retry > datetime.now(UTC)


def test_an_image_whose_decoder_fails_waits_for_its_retry(vectors: Vectors) -> None:
    """A hanging decoder costs its deadline once per wait, not in every run; the others get their vectors."""
    broken: dict[str, Exception] = {"b": DecoderFailed("30 s", reason=Reason.DECODER_TIMEOUT)}
    table, counts, _ = embed(vectors, ["a", "b"], broken=broken)
    failure = table.rows[1].outcome
    assert (failure.status, failure.reasons, counts.failed) == (Status.FAILED, (Reason.DECODER_TIMEOUT,), 1)
    again, counts, loads = embed(vectors, ["a", "b"], previous=table)
    assert (again.rows, counts.embedded, counts.failed, loads) == (table.rows, 0, 1, 0)
    due = replace(table.rows[1], outcome=replace(failure, next_retry_at=datetime.now(UTC)))
    _, counts, _ = embed(vectors, ["a", "b"], previous=Table((table.rows[0], due)))
    assert (counts.embedded, counts.failed) == (1, 0)


def test_pixels_are_dropped_only_after_their_vectors_are_stored(vectors: Vectors) -> None:
    """``embedded`` is called only after the part is on the disk."""
    stored: list[bool] = []
    embed(vectors, ["a", "b"], embedded=lambda sha256s: stored.append(set(sha256s) <= set(vectors.index())))
    assert stored == [True]


class Faulty(Tower):
    """A tower that returns a wrong vector for some images of its first batch."""

    def __init__(self, wrong: float) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        found = super().forward(batch)
        if len(self.sizes) == 1:
            found = found.clone()
            found[1] = self.wrong
        return found


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0])
def test_an_unusable_vector_costs_its_own_image_once(tmp_path: Path, wrong: float) -> None:
    """A vector that is not finite, or is all zeros, is never stored; its image is retried, and then has one."""
    pixels = dict(zip("abcd", images(4), strict=True))
    vectors = Home(tmp_path).vectors("model")

    def embed(tower: Tower, previous: Table[EmbeddedImage] | None, clock: Any) -> Table[EmbeddedImage]:
        table, _ = embed_images(
            sha256s=pixels,
            previous=previous,
            fingerprint="model",
            vectors=vectors,
            read_pixels=pixels.__getitem__,
            encoder=lambda: encoder(tower),
            clock=clock,
        )
        return table

    first = embed(Faulty(wrong), None, SystemClock())
    outcomes = {row.sha256: row.outcome for row in first.rows}
    assert [name for name, outcome in outcomes.items() if not outcome.ok] == ["b"]
    assert outcomes["b"].reasons == (Reason.BAD_VECTOR,)
    assert outcomes["b"].status is Status.FAILED
    assert vectors.find("abcd").keys() == set("acd")

    class Later(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(hours=1)

    assert all(row.outcome.ok for row in embed(Tower(), first, Later()).rows)
