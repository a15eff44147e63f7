"""What can become of an item at a stage: statuses, reasons, retry times, and the clock."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol, Self


class Status(StrEnum):
    """How an item left a stage."""

    OK = "ok"
    REJECTED = "rejected"
    """Stands until the item's input or the rules change."""
    FAILED = "failed"
    """For the moment only: tried again at ``next_retry_at``, for ever."""


class Reason(StrEnum):
    """Why an item stopped at a stage; ``text`` says it in plain words."""

    # The shop's own word on the product (raw_products).
    NOT_PUBLISHED = "not_published", "the shop does not publish it (draft, pending, private or scheduled)"
    TRASHED = "trashed", "the shop has moved it to the trash"
    DELETED = "deleted", "the shop no longer has it: absent from a complete listing, and 404 by its id"
    PASSWORD_PROTECTED = "password_protected", "a password protects it in the shop"
    NO_IMAGE = "no_image", "it has no picture in the shop"
    NO_PRICE = "no_price", "it has no price"
    ZERO_PRICE = "zero_price", "its price is 0 and the store does not say accept_free"
    BAD_PRICE = "bad_price", "its price is not a decimal number"
    PRICE_OUT_OF_RANGE = "price_out_of_range", "its price is 100,000,000 or more"
    UNREADABLE = "unreadable", "the shop does not let it be read at present; what is known is kept"
    PURGED = "purged", "it was purged here by hand, and nothing of it is kept"

    # Fetching its picture (fetched_images).
    BAD_URL = "bad_url", "the picture's address is not an http or https URL"
    BLOCKED_ADDRESS = "blocked_address", "the picture's address leads to a private network"
    BLOCKED_PORT = "blocked_port", "the picture's address names a port that is not allowed"
    UNRESOLVABLE = "unresolvable", "the picture's host name has no address"
    UNREACHABLE = "unreachable", "the picture's host did not answer"
    TLS_ERROR = "tls_error", "the picture's host has no valid certificate"
    TOO_SLOW = "too_slow", "the picture took longer than the deadline"
    TOO_MANY_REDIRECTS = "too_many_redirects", "the picture's address redirects too often"
    HTTP_ERROR = "http_error", "the picture's host answered with an error"
    RATE_LIMITED = "rate_limited", "the picture's host asked us to come back later"
    GONE = "gone", "the picture is not there any more (404 or 410)"
    EMPTY = "empty", "the picture's host answered with no bytes"
    ENCODED = "encoded", "the picture came in a content encoding that was not asked for"
    TRUNCATED = "truncated", "the picture ends before its end"

    # Judging its picture (quality_passed).
    NOT_AN_IMAGE = "not_an_image", "what the address returned is not a picture"
    FORMAT_NOT_ALLOWED = "format_not_allowed", "the picture is not JPEG, PNG, WebP, GIF or AVIF"
    UNDECODABLE = "undecodable", "the picture's decoder gave up on it"
    DECODER_TIMEOUT = "decoder_timeout", "the picture's decoder was not done in time"
    DECODER_CRASHED = "decoder_crashed", "the picture's decoder crashed on it"
    DECODER_MEMORY = "decoder_memory", "the picture's decoder needed more memory than it may use"
    TOO_MANY_PIXELS = "too_many_pixels", "the picture has more pixels than are safe to decode"
    TOO_SMALL = "too_small", "the picture's shorter side is too short"
    FILE_TOO_SMALL = "file_too_small", "the picture's file is too small"
    FILE_TOO_LARGE = "file_too_large", "the picture's file is too large"
    TOO_BLURRY = "too_blurry", "the picture is not sharp enough"

    # Embedding it (embeddings), and keeping the sinks (qdrant_points, postgres_products).
    BLOB_MISSING = "blob_missing", "the picture's stored bytes are lost; they are fetched again"
    AWAITING_CONSENT = "awaiting_consent", "it would leave, and a person must agree to that first (--allow-removals)"

    text: str

    def __new__(cls, value: str, text: str = "") -> Self:
        """Give each reason its plain words."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


GONE = frozenset({Reason.TRASHED, Reason.DELETED, Reason.PURGED})
"""Reasons of a product that the shop has no more, or that was purged here: it does not count as one of the shop's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item at one stage.

    ``attempts`` counts failures in a row; ``next_retry_at`` is set while the item is to be looked
    at again by itself (always when failed; weekly for a picture that is ``gone``).
    """

    status: Status
    reasons: tuple[Reason, ...] = ()
    detail: str = ""
    attempts: int = 0
    next_retry_at: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether the item goes on to the next stage."""
        return self.status is Status.OK


OK = Outcome(Status.OK)

FIRST_RETRY_S = 300.0
LONGEST_RETRY_S = 86_400.0


def rejected(*reasons: Reason, detail: str = "", look_again_at: datetime | None = None) -> Outcome:
    """Refuse an item until its input or the rules change, or ``look_again_at`` has come."""
    return Outcome(Status.REJECTED, reasons, detail, next_retry_at=look_again_at)


def failed(
    reason: Reason,
    *,
    detail: str,
    before: Outcome | None,
    now: datetime,
    retry_after_s: float | None = None,
) -> Outcome:
    """Fail an item for the moment.

    The wait doubles from five minutes to one day with each failure in a row (``before`` is the
    item's previous outcome), half of it drawn at random, so that a thousand pictures of one dead
    host do not come back in the same second. ``retry_after_s`` is the host's own wish, obeyed up
    to one day.
    """
    attempts = before.attempts + 1 if before is not None and before.status is Status.FAILED else 1
    ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16))
    wait_s = ceiling * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret
    if retry_after_s is not None:
        wait_s = min(LONGEST_RETRY_S, max(wait_s, retry_after_s))
    return Outcome(Status.FAILED, (reason,), detail, attempts, now + timedelta(seconds=wait_s))


class Clock(Protocol):
    """The one source of time: aware UTC datetimes, and waiting."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
