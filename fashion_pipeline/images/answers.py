"""An image's new row after its host has replied. Nothing here requests or stores anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

import httpx

from fashion_pipeline.errors import BadUrl, RefusedByHost, WebError
from fashion_pipeline.images.plan import BELIEVED_AFTER, ProductImage
from fashion_pipeline.outcomes import OK, Outcome, Reason, Status, failed, rejected
from fashion_pipeline.records import FetchedImage
from fashion_pipeline.web.guard import parse

LOOK_AGAIN_AFTER = timedelta(days=7)
"""How long a refused image waits until it is requested again."""

STAND_INS = 3
"""How many earlier digests of an image are kept."""

_REFUSALS = frozenset({400, 404, 410, 414, 451})
"""Statuses about the URL itself. Any other is about this client, the host or the moment: no evidence against an image."""

_DOUBTFUL = frozenset({Reason.TOO_MANY_REDIRECTS, Reason.ENCODED, Reason.NOT_AN_IMAGE, Reason.SAME_BYTES})
"""Reasons that a misconfigured or overloaded host gives for all of its images."""

_RULES = frozenset({Reason.BAD_URL, Reason.BLOCKED_ADDRESS, Reason.BLOCKED_PORT})

_LONGEST_VALIDATOR = 500
"""Characters; a host could send a hundred thousand, which would be stored for every image."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A successful reply.

    Attributes:
        sha256: digest of the stored bytes; None if the host confirmed the known ones.
        size_bytes: size of the bytes.
        headers: the reply's headers.
        doubt: why the bytes may be those of a host in trouble; None if there is no doubt.
    """

    sha256: str | None
    size_bytes: int
    headers: httpx.Headers
    doubt: WebError | None = None


class Evidence(Enum):
    """What an error proves about an image."""

    NONE = "none"
    """Nothing: it is about this client, the host or the moment. The last good bytes stay, with retries for ever."""
    DOUBTFUL = "doubtful"
    """A host in trouble sends this for good images too. The last good bytes stay until it has lasted."""
    CLEAR = "clear"
    """The image is gone, or not allowed. Its last good bytes are dropped."""


def evidence(error: WebError) -> Evidence:
    """Return what an error proves about the image that was requested."""
    if error.retryable or (isinstance(error, RefusedByHost) and error.status not in _REFUSALS):
        return Evidence.NONE
    behind_redirect = error.reason in _RULES and error.status is not None
    if error.reason in _DOUBTFUL or behind_redirect or error.reason is Reason.BLOCKED_ADDRESS:
        return Evidence.DOUBTFUL
    return Evidence.CLEAR


def has_lasted(image: ProductImage, *, now: datetime) -> bool:
    """Whether an image's doubtful replies have lasted so long that they count as true."""
    return now - _doubtful_since(image, now) >= BELIEVED_AFTER


def row_after(image: ProductImage, reply: Bytes | WebError, *, now: datetime) -> FetchedImage:
    """Return an image's new row.

    Confirmed or new bytes make it ok. An error that proves nothing keeps the known bytes and
    schedules a retry, and so does a doubtful one until it has lasted. A refusal drops the bytes:
    the shop no longer shows them.
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
            doubtful_since=None,
            doubted_sha256=None,
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
        doubtful_since=_doubtful_since(image, now) if reply.doubt is not None else None,
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
    found = evidence(error)
    if found is Evidence.CLEAR or _is_a_new_private_name(image, error):
        return _refused(
            image, error, rejected(error.reason, detail=str(error), look_again_at=now + LOOK_AGAIN_AFTER), now
        )
    outcome = _failure(image, error, now)
    if found is Evidence.NONE:
        return _stale(image, outcome)
    since = _doubtful_since(image, now)
    if last_good(image) is None or now - since >= BELIEVED_AFTER:
        row = _refused(image, error, replace(outcome, status=Status.REJECTED), now)
    else:
        row = _stale(image, outcome)
    return replace(row, doubtful_since=since)


def _failure(image: ProductImage, error: WebError, now: datetime) -> Outcome:
    """Return the outcome of a failure; its wait grows with each one in a row of the same URL."""
    before = image.before.outcome if image.before is not None and _same_url(image) else None
    if before is not None and before.attempts:  # a doubtful reply that was believed is one of the row
        before = replace(before, status=Status.FAILED)
    return failed(error.reason, detail=str(error), before=before, now=now, retry_after_s=error.retry_after_s)


def _refused(image: ProductImage, error: WebError, outcome: Outcome, now: datetime) -> FetchedImage:
    """Return a row without bytes."""
    refused_at = now if error.status is not None else None
    return replace(_blank(image), size_bytes=error.size_bytes, checked_at=refused_at, outcome=outcome)


def _stale(image: ProductImage, outcome: Outcome) -> FetchedImage:
    """Return a row that keeps the image's last good bytes."""
    before, listed, known = image.before, image.listed, last_good(image)
    if before is not None and _same_url(image) and before.image_modified_at == listed.modified_at:
        return replace(before, position=listed.position, last_good_sha256=known, outcome=outcome)
    return replace(_blank(image), last_good_sha256=known, outcome=outcome, older_sha256s=_older(image, known))


def last_good(image: ProductImage) -> str | None:
    """Return the digest of the bytes to use while an image cannot be fetched; None if there are none."""
    return image.stand_in if image.before is None else image.before.last_good_sha256 or image.stand_in


def _same_url(image: ProductImage) -> bool:
    return image.before is not None and image.before.url == image.listed.url


def _doubtful_since(image: ProductImage, now: datetime) -> datetime:
    """Return when the doubtful replies of an image's URL began: now, if this is the first one."""
    return (image.before.doubtful_since if image.before is not None and _same_url(image) else None) or now


def _is_a_new_private_name(image: ProductImage, error: WebError) -> bool:
    """Whether a URL leads to a private address, and not only because a known host's name does at present."""
    if error.reason is not Reason.BLOCKED_ADDRESS or error.status is not None:
        return False
    if image.before is None or last_good(image) is None:
        return True
    try:
        return parse(image.before.url).host != parse(image.listed.url).host
    except BadUrl:  # the image's former URL
        return True


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
