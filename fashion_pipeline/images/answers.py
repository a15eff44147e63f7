"""What becomes of a picture's row when its host has answered. Nothing here asks or stores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import httpx

from fashion_pipeline.errors import WebError
from fashion_pipeline.images.plan import Picture
from fashion_pipeline.outcomes import OK, failed, rejected
from fashion_pipeline.records import FetchedImage

LOOK_AGAIN_AFTER = timedelta(days=7)
"""When a refused picture is looked at again by itself."""

_ASK_LATER = frozenset({401, 403})
"""Statuses that firewalls and hot-link rules give to what they mistake; no evidence that a picture is gone."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A host's good answer: bytes that were stored, or None where it confirmed the known ones."""

    sha256: str | None
    size_bytes: int
    headers: httpx.Headers


def is_transient(error: WebError) -> bool:
    """Whether an error says nothing about the picture itself, so that its last good bytes stand."""
    return error.retryable or error.status in _ASK_LATER


def row_after(picture: Picture, answer: Bytes | WebError, *, now: datetime) -> FetchedImage:
    """Return a picture's new row.

    Confirmed or new bytes make it ok. A transient error keeps what was known and sets the next
    try. A refusal forgets the bytes: they are not what the shop shows any more.
    """
    if isinstance(answer, WebError):
        return _after_error(picture, answer, now)
    before = picture.before
    if answer.sha256 is None and before is not None:
        return replace(
            before,
            position=picture.image.position,
            last_good_sha256=before.sha256,
            etag=answer.headers.get("etag", before.etag),
            last_modified=answer.headers.get("last-modified", before.last_modified),
            checked_at=now,
            outcome=OK,
        )
    return replace(
        _blank(picture),
        sha256=answer.sha256,
        last_good_sha256=answer.sha256,
        size_bytes=answer.size_bytes,
        etag=answer.headers.get("etag"),
        last_modified=answer.headers.get("last-modified"),
        checked_at=now,
        outcome=OK,
    )


def _after_error(picture: Picture, error: WebError, now: datetime) -> FetchedImage:
    before, image = picture.before, picture.image
    if not is_transient(error):
        outcome = rejected(error.reason, detail=str(error), look_again_at=now + LOOK_AGAIN_AFTER)
        return replace(_blank(picture), size_bytes=error.size_bytes, outcome=outcome)
    same_url = before is not None and before.url == image.url
    outcome = failed(
        error.reason,
        detail=str(error),
        before=before.outcome if before is not None and same_url else None,
        now=now,
        retry_after_s=error.retry_after_s,
    )
    if before is None:
        return replace(_blank(picture), last_good_sha256=picture.stand_in, outcome=outcome)
    last_good = before.last_good_sha256 or picture.stand_in
    if same_url and before.image_modified_at == image.modified_at:
        return replace(before, position=image.position, last_good_sha256=last_good, outcome=outcome)
    return replace(_blank(picture), last_good_sha256=last_good, outcome=outcome)


def _blank(picture: Picture) -> FetchedImage:
    """Return a row that knows nothing yet of the picture's bytes."""
    return FetchedImage(
        external_id=picture.external_id,
        image_id=picture.image.image_id,
        position=picture.image.position,
        url=picture.image.url,
        image_modified_at=picture.image.modified_at,
        sha256=None,
        last_good_sha256=None,
        size_bytes=None,
        etag=None,
        last_modified=None,
        checked_at=None,
        outcome=OK,
    )
