"""How far one image came through the stages, and which bytes are used for it."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_pipeline.outcomes import OK, Outcome, Status
from fashion_pipeline.records import FetchedImage, Image, JudgedImage
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline.storage.vectors import VectorRef

FINAL_STAGE = "postgres_products"
"""The stage of a product that came all the way."""


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """How far one image came.

    Attributes:
        stage: the stage it stopped at; ``FINAL_STAGE`` if it may be published.
        newest: the outcome of its newest bytes, where older ones are used (``stale``).
    """

    stage: str
    outcome: Outcome
    sha256: str | None = None
    place: VectorRef | None = None
    fetched: FetchedImage | None = None
    newest: Outcome = OK
    stale: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The bytes that are used for an image.

    Attributes:
        judged: their row; None: they have not been judged yet.
        newest: the outcome of the image's newest bytes, which these may not be.
    """

    sha256: str
    judged: JudgedImage | None
    newest: Outcome


class ImageStages:
    """The tables of the stages after reading, by image."""

    def __init__(self, tables: StageTables) -> None:
        self.fetched = {(row.external_id, row.image_id): row for row in tables.images.rows}
        self.judged = {row.sha256: row for row in tables.judged.rows}
        self.embedded = {row.sha256: row for row in tables.embedded.rows if row.fingerprint == tables.fingerprint}

    def progress(self, external_id: str, image: Image) -> ImageProgress:
        """Return how far an image of a product came."""
        fetched = self.fetched.get((external_id, image.image_id))
        if fetched is None:
            return ImageProgress("fetched_images", _waiting("its image has not been fetched yet"))
        candidate = self._candidate(fetched)
        if candidate is None:
            return ImageProgress("fetched_images", fetched.outcome)
        return self._progress_of(fetched, candidate)

    def _candidate(self, fetched: FetchedImage) -> _Candidate | None:
        """Return the bytes to use for an image; None if there are none, or only older ones that were refused."""
        sha256, newest = fetched.shown_sha256, fetched.outcome
        if sha256 is None:
            return None
        judged = self.judged.get(sha256)
        if judged is not None and judged.undecided:
            newest = judged.outcome if fetched.outcome.ok else fetched.outcome
            judged = self._stand_in(fetched) or judged
            sha256 = judged.sha256
        if fetched.stale and (judged is None or not judged.outcome.ok):
            return None
        return _Candidate(sha256, judged, newest)

    def _progress_of(self, fetched: FetchedImage, candidate: _Candidate) -> ImageProgress:
        """Return how far the bytes to use came in the stages after fetching."""
        sha256, judged = candidate.sha256, candidate.judged
        if judged is None:
            return ImageProgress("quality_passed", _waiting("its image has not been judged yet"), sha256)
        if not judged.outcome.ok:
            return ImageProgress("quality_passed", judged.outcome, sha256)
        embedded = self.embedded.get(sha256)
        if embedded is None:
            return ImageProgress("embeddings", _waiting("its image has no vector yet"), sha256)
        if not embedded.outcome.ok:
            return ImageProgress("embeddings", embedded.outcome, sha256)
        return ImageProgress(
            FINAL_STAGE,
            OK,
            sha256,
            place=VectorRef(embedded.part, embedded.index),
            fetched=fetched,
            newest=candidate.newest,
            stale=fetched.stale or sha256 != fetched.shown_sha256,
        )

    def _stand_in(self, fetched: FetchedImage) -> JudgedImage | None:
        """Return the bytes shown before those that cannot be judged for the moment, if these passed."""
        for sha256 in fetched.history:
            judged = self.judged.get(sha256)
            if judged is None or not judged.undecided:
                return judged if judged is not None and judged.outcome.ok else None
        return None


def _waiting(detail: str) -> Outcome:
    return Outcome(Status.FAILED, detail=detail)
