"""What becomes of a picture's row when its host has answered. Nothing here asks or stores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import httpx

from fashion_pipeline.errors import RefusedByHost, WebError
from fashion_pipeline.images.plan import Picture
from fashion_pipeline.outcomes import OK, failed, rejected
from fashion_pipeline.records import FetchedImage

LOOK_AGAIN_AFTER = timedelta(days=7)
"""When a refused picture is looked at again by itself."""

STAND_INS = 3
"""How many earlier bytes of a picture are remembered."""

_SAYS_NO = frozenset({400, 404, 410, 414, 451})
"""Statuses about the address itself. Any other is about us, the host or the moment: no evidence against a picture."""

_LONGEST_VALIDATOR = 500
"""Characters; a host could send a hundred thousand, to be kept for every picture."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A host's good answer: bytes that were stored, or None where it confirmed the known ones."""

    sha256: str | None
    size_bytes: int
    headers: httpx.Headers


def is_transient(error: WebError) -> bool:
    """Whether an error says nothing about the picture itself, so that its last good bytes stand."""
    return error.retryable or (isinstance(error, RefusedByHost) and error.status not in _SAYS_NO)


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
            etag=_validator(answer, "etag") or before.etag,
            last_modified=_validator(answer, "last-modified") or before.last_modified,
            checked_at=now,
            outcome=OK,
        )
    return replace(
        _blank(picture),
        sha256=answer.sha256,
        last_good_sha256=answer.sha256,
        size_bytes=answer.size_bytes,
        etag=_validator(answer, "etag"),
        last_modified=_validator(answer, "last-modified"),
        checked_at=now,
        outcome=OK,
        older_sha256s=_older(picture, answer.sha256),
    )


def _validator(answer: Bytes, name: str) -> str | None:
    value = answer.headers.get(name)
    return value if value and len(value) <= _LONGEST_VALIDATOR else None


def _older(picture: Picture, sha256: str | None) -> tuple[str, ...]:
    """Return what may stand in for some bytes until they are judged.

    Whether those that came just before them were ever good is not known here, so a few are kept.
    """
    known = dict.fromkeys((*(picture.before.history if picture.before is not None else ()), *picture.stand_ins))
    return tuple(older for older in known if older != sha256)[:STAND_INS]


def _after_error(picture: Picture, error: WebError, now: datetime) -> FetchedImage:
    before, image = picture.before, picture.image
    if not is_transient(error):
        outcome = rejected(error.reason, detail=str(error), look_again_at=now + LOOK_AGAIN_AFTER)
        asked_at = now if error.status is not None else None
        return replace(_blank(picture), size_bytes=error.size_bytes, checked_at=asked_at, outcome=outcome)
    same_url = before is not None and before.url == image.url
    outcome = failed(
        error.reason,
        detail=str(error),
        before=before.outcome if before is not None and same_url else None,
        now=now,
        retry_after_s=error.retry_after_s,
    )
    last_good = picture.stand_in if before is None else before.last_good_sha256 or picture.stand_in
    if before is not None and same_url and before.image_modified_at == image.modified_at:
        return replace(before, position=image.position, last_good_sha256=last_good, outcome=outcome)
    older = _older(picture, last_good)
    return replace(_blank(picture), last_good_sha256=last_good, outcome=outcome, older_sha256s=older)


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
