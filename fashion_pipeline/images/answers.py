"""An image's new row after its host has replied. Nothing here requests or stores anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import httpx

from fashion_pipeline.errors import RefusedByHost, WebError
from fashion_pipeline.images.plan import ProductImage
from fashion_pipeline.outcomes import OK, failed, rejected
from fashion_pipeline.records import FetchedImage

LOOK_AGAIN_AFTER = timedelta(days=7)
"""How long a refused image waits until it is requested again."""

STAND_INS = 3
"""How many earlier digests of an image are kept."""

_REFUSALS = frozenset({400, 404, 410, 414, 451})
"""Statuses about the URL itself. Any other is about this client, the host or the moment: no evidence against an image."""

_LONGEST_VALIDATOR = 500
"""Characters; a host could send a hundred thousand, which would be stored for every image."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A successful reply.

    Attributes:
        sha256: digest of the stored bytes; None if the host confirmed the known ones.
        size_bytes: size of the bytes.
        headers: the reply's headers.
    """

    sha256: str | None
    size_bytes: int
    headers: httpx.Headers


def is_transient(error: WebError) -> bool:
    """Whether an error is no evidence against the image itself, so that its last good bytes stay in use."""
    return error.retryable or (isinstance(error, RefusedByHost) and error.status not in _REFUSALS)


def row_after(image: ProductImage, reply: Bytes | WebError, *, now: datetime) -> FetchedImage:
    """Return an image's new row.

    Confirmed or new bytes make it ok. A transient error keeps the known bytes and schedules a
    retry. A refusal drops the bytes: the shop no longer shows them.
    """
    if isinstance(reply, WebError):
        return _after_error(image, reply, now)
    before = image.before
    if reply.sha256 is None and before is not None:
        return replace(
            before,
            position=image.listed.position,
            last_good_sha256=before.sha256,
            etag=_validator(reply, "etag") or before.etag,
            last_modified=_validator(reply, "last-modified") or before.last_modified,
            checked_at=now,
            outcome=OK,
        )
    return replace(
        _blank(image),
        sha256=reply.sha256,
        last_good_sha256=reply.sha256,
        size_bytes=reply.size_bytes,
        etag=_validator(reply, "etag"),
        last_modified=_validator(reply, "last-modified"),
        checked_at=now,
        outcome=OK,
        older_sha256s=_older(image, reply.sha256),
    )


def _validator(reply: Bytes, name: str) -> str | None:
    value = reply.headers.get(name)
    return value if value and len(value) <= _LONGEST_VALIDATOR else None


def _older(image: ProductImage, sha256: str | None) -> tuple[str, ...]:
    """Return the digests of bytes to use until new ones are judged.

    Whether the previous bytes ever passed is unknown here, so a few are kept.
    """
    known = dict.fromkeys((*(image.before.history if image.before is not None else ()), *image.stand_ins))
    return tuple(older for older in known if older != sha256)[:STAND_INS]


def _after_error(image: ProductImage, error: WebError, now: datetime) -> FetchedImage:
    before, listed = image.before, image.listed
    if not is_transient(error):
        outcome = rejected(error.reason, detail=str(error), look_again_at=now + LOOK_AGAIN_AFTER)
        refused_at = now if error.status is not None else None
        return replace(_blank(image), size_bytes=error.size_bytes, checked_at=refused_at, outcome=outcome)
    same_url = before is not None and before.url == listed.url
    outcome = failed(
        error.reason,
        detail=str(error),
        before=before.outcome if before is not None and same_url else None,
        now=now,
        retry_after_s=error.retry_after_s,
    )
    last_good = image.stand_in if before is None else before.last_good_sha256 or image.stand_in
    if before is not None and same_url and before.image_modified_at == listed.modified_at:
        return replace(before, position=listed.position, last_good_sha256=last_good, outcome=outcome)
    older = _older(image, last_good)
    return replace(_blank(image), last_good_sha256=last_good, outcome=outcome, older_sha256s=older)


def _blank(image: ProductImage) -> FetchedImage:
    """Return a row without any bytes yet."""
    return FetchedImage(
        external_id=image.external_id,
        image_id=image.listed.image_id,
        position=image.listed.position,
        url=image.listed.url,
        image_modified_at=image.listed.modified_at,
        sha256=None,
        last_good_sha256=None,
        size_bytes=None,
        etag=None,
        last_modified=None,
        checked_at=None,
        outcome=OK,
    )
