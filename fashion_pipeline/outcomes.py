"""The outcome of an item at a stage: statuses, reasons, retry times, and the clock."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol, Self


class Status(StrEnum):
    """How a stage ended for an item."""

    OK = "ok"
    REJECTED = "rejected"
    """Final until the item's input or the rules change."""
    FAILED = "failed"
    """Temporary: retried at ``next_retry_at``, without limit."""


class Reason(StrEnum):
    """Why an item stopped at a stage; ``text`` explains it in plain words."""

    # The product's state in the shop (raw_products).
    NOT_PUBLISHED = "not_published", "the shop does not publish it (draft, pending, private or scheduled)"
    TRASHED = "trashed", "it is in the shop's trash"
    DELETED = "deleted", "the shop no longer has it: absent from a complete listing, and 404 by its id"
    PASSWORD_PROTECTED = "password_protected", "it is protected by a password in the shop"
    NO_TITLE = "no_title", "it has no title in the shop"
    SOLD_OUT = "sold_out", "it is sold out, and the store sets sold_out: remove"
    NO_IMAGE = "no_image", "it has no image in the shop"
    NO_PRICE = "no_price", "it has no price"
    ZERO_PRICE = "zero_price", "its price is 0 and the store does not set accept_free"
    BAD_PRICE = "bad_price", "its price is not a decimal number"
    PRICE_OUT_OF_RANGE = "price_out_of_range", "its price is 100,000,000 or more"
    UNREADABLE = "unreadable", "the shop does not return it at present; the last known data is kept"
    PURGED = "purged", "it was purged by hand; none of its data is kept"

    # Fetching its image (fetched_images).
    BAD_URL = "bad_url", "the image's URL is not an http or https URL"
    BLOCKED_ADDRESS = "blocked_address", "the image's URL leads to an address that is not public"
    BLOCKED_PORT = "blocked_port", "the image's URL uses a port that is not allowed"
    UNRESOLVABLE = "unresolvable", "the image's host name has no address"
    UNREACHABLE = "unreachable", "the image's host did not answer"
    TLS_ERROR = "tls_error", "the image's host has no valid certificate"
    TOO_SLOW = "too_slow", "the image took longer than the deadline"
    TOO_MANY_REDIRECTS = "too_many_redirects", "the image's URL redirects too many times"
    HTTP_ERROR = "http_error", "the image's host answered with an error"
    RATE_LIMITED = "rate_limited", "the image's host asked for fewer requests"
    GONE = "gone", "the image no longer exists (404 or 410)"
    EMPTY = "empty", "the image's host sent no bytes"
    ENCODED = "encoded", "the image was sent with a content encoding that was not requested"
    TRUNCATED = "truncated", "the image is truncated"
    OPTED_OUT = "opted_out", "the image's owner asks AI services not to use it (X-Robots-Tag)"
    SAME_BYTES = "same_bytes", "the image's host sends the same bytes for several different images"

    # Judging its image (quality_passed).
    NOT_AN_IMAGE = "not_an_image", "the URL returned something other than an image"
    FORMAT_NOT_ALLOWED = "format_not_allowed", "the image is not JPEG, PNG, WebP, GIF or AVIF"
    UNDECODABLE = "undecodable", "the image cannot be decoded"
    DECODER_TIMEOUT = "decoder_timeout", "the image's decoder exceeded its time limit"
    DECODER_CRASHED = "decoder_crashed", "the image's decoder crashed"
    DECODER_MEMORY = "decoder_memory", "the image's decoder exceeded its memory limit"
    TOO_MANY_PIXELS = "too_many_pixels", "the image has more pixels than the limit"
    TOO_SMALL = "too_small", "the image's shorter side is too short"
    FILE_TOO_SMALL = "file_too_small", "the image's file is too small"
    FILE_TOO_LARGE = "file_too_large", "the image's file is too large"
    TOO_BLURRY = "too_blurry", "the image is not sharp enough"

    # Embedding it (embeddings), and updating the sinks (qdrant_points, postgres_products).
    BLOB_MISSING = "blob_missing", "the image's stored bytes are lost; it is fetched again"
    BAD_VECTOR = "bad_vector", "the model made no usable vector of the image; it is embedded again"
    AWAITING_CONSENT = "awaiting_consent", "its removal awaits a person's consent (--allow-removals)"

    text: str

    def __new__(cls, value: str, text: str = "") -> Self:
        """Attach the plain words to each reason."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


GONE = frozenset({Reason.TRASHED, Reason.DELETED, Reason.PURGED})
"""Reasons of a product that the shop no longer has, or that was purged here: it does not count as one of the shop's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one item at one stage.

    Attributes:
        status: ok, rejected or failed.
        reasons: why it is not ok, the most important first.
        detail: the figures or the error, for people.
        attempts: failures in a row.
        next_retry_at: when it is retried without any change; always set for a failed item, and weekly
            for an image that is ``gone``.
    """

    status: Status
    reasons: tuple[Reason, ...] = ()
    detail: str = ""
    attempts: int = 0
    next_retry_at: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether the item continues to the next stage."""
        return self.status is Status.OK


OK = Outcome(Status.OK)

FIRST_RETRY_S = 300.0
LONGEST_RETRY_S = 86_400.0


def rejected(*reasons: Reason, detail: str = "", look_again_at: datetime | None = None) -> Outcome:
    """Return the outcome of an item that is rejected until its input or the rules change, or until ``look_again_at``."""
    return Outcome(Status.REJECTED, reasons, detail, next_retry_at=look_again_at)


def failed(
    reason: Reason,
    *,
    detail: str,
    before: Outcome | None,
    now: datetime,
    retry_after_s: float | None = None,
) -> Outcome:
    """Return the outcome of an item that failed temporarily.

    The wait doubles from five minutes to one day with each failure in a row (``before`` is the
    item's previous outcome). Half of it is random, so that a thousand images on one dead host are
    not retried in the same second. A longer ``retry_after_s``, which the host asked for, is
    obeyed up to one day.
    """
    attempts = before.attempts + 1 if before is not None and before.status is Status.FAILED else 1
    ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16))
    wait_s = ceiling * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret
    if retry_after_s is not None:
        wait_s = min(LONGEST_RETRY_S, max(wait_s, retry_after_s))
    return Outcome(Status.FAILED, (reason,), detail, attempts, now + timedelta(seconds=wait_s))


class Clock(Protocol):
    """The only source of time: aware UTC datetimes, and waiting."""

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
