"""What each image needs, decided before any request. Nothing here requests or stores anything."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import FetchedImage, Image, Product
from fashion_pipeline.stores import Store

REVALIDATED_WITHIN = timedelta(days=7)
"""In sweeps, every image is requested again at least this often: a seventh of them each night."""

BELIEVED_AFTER = timedelta(days=3)
"""How long a doubtful reply must last until it counts as evidence against the image: longer than a weekend's trouble."""

DOUBTED_FOR_AT_LEAST = timedelta(hours=1)
"""How long doubtful bytes stay, where there were none before, until they are requested again; then as long again."""

_RULE_REASONS = {Reason.BAD_URL, Reason.BLOCKED_PORT, Reason.BLOCKED_ADDRESS}


class Step(Enum):
    """What an image needs in this run."""

    KEEP = "keep"
    """Nothing: its bytes are stored."""
    WAIT = "wait"
    """Nothing yet: its retry is not due, or its rejection stands."""
    GET = "get"
    """Its bytes."""
    CONFIRM = "confirm"
    """Its bytes, if they have changed: a conditional request."""


@dataclass(frozen=True, slots=True)
class ProductImage:
    """An image of a product, and its row of the last run.

    Attributes:
        external_id: the product's id in the shop.
        listed: the image as the shop lists it now.
        before: its row of the last run.
        stand_ins: only for a primary image: digests of the product's previous primary image, newest
            first, used while this one cannot be fetched or judged. A shop gives every new image a new id.
    """

    external_id: str
    listed: Image
    before: FetchedImage | None
    stand_ins: tuple[str, ...] = ()

    @property
    def stand_in(self) -> str | None:
        """The newest digest that stands in for this image."""
        return self.stand_ins[0] if self.stand_ins else None


def images_of(product: Product, store: Store) -> tuple[Image, ...]:
    """Return the images of a product that the store publishes: none, the primary one, or all."""
    if not product.outcome.ok:
        return ()
    in_order = sorted(product.images, key=lambda image: image.position)
    return tuple(in_order if store.images == "all" else in_order[:1])


def next_step(
    image: Image,
    before: FetchedImage | None,
    *,
    blob_there: bool,
    sweep: bool,
    max_bytes: int,
    now: datetime,
    ignores_opt_outs: bool = False,
) -> Step:
    """Decide what an image needs.

    Args:
        image: as the shop lists it now.
        before: its row of the last run.
        blob_there: whether the bytes of ``before.sha256`` are stored.
        sweep: whether images are revalidated in this run.
        max_bytes: the store's cap on a file.
        now: the current time, aware UTC.
        ignores_opt_outs: whether the store uses images in spite of an opt-out.
    """
    if before is None or image.url != before.url or image.modified_at != before.image_modified_at:
        return Step.GET
    if before.outcome.ok:
        if not blob_there or _is_doubtful(before, now=now):
            return Step.GET
        return Step.CONFIRM if sweep and due(before, now=now) else Step.KEEP
    if ignores_opt_outs and Reason.OPTED_OUT in before.outcome.reasons:
        return Step.GET
    if not _is_retryable(before, max_bytes=max_bytes, now=now):
        return Step.WAIT
    return Step.CONFIRM if before.sha256 is not None and blob_there else Step.GET


def due(row: FetchedImage, *, now: datetime) -> bool:
    """Whether an image is due for revalidation: it is its weekday, or a week has passed."""
    if row.checked_at is None:
        return True
    if row.checked_at.date() >= now.date():
        return False
    return weekday(row.url) == now.weekday() or now - row.checked_at >= REVALIDATED_WITHIN


def _is_doubtful(row: FetchedImage, *, now: datetime) -> bool:
    """Whether to request bytes again that a host in trouble may have sent."""
    if row.doubtful_since is None or row.checked_at is None:
        return False
    lasted = row.checked_at - row.doubtful_since
    return lasted < BELIEVED_AFTER and now - row.checked_at >= max(DOUBTED_FOR_AT_LEAST, lasted)


def _is_retryable(row: FetchedImage, *, max_bytes: int, now: datetime) -> bool:
    """Whether to retry an image that is not ok: the rules may have changed, or its retry is due."""
    if row.outcome.status is Status.REJECTED:
        if (
            _RULE_REASONS & set(row.outcome.reasons) and row.checked_at is None
        ):  # checked_at is set if a redirect led there
            return True  # judging a URL costs almost nothing, and the rules or its DNS may have changed
        if Reason.FILE_TOO_LARGE in row.outcome.reasons and (row.size_bytes or 0) <= max_bytes:
            return True
    return row.outcome.next_retry_at is not None and row.outcome.next_retry_at <= now


def weekday(url: str) -> int:
    """Return the weekday on which a URL is revalidated, by a stable hash; 0 is Monday."""
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big") % 7


def conditions(row: FetchedImage | None) -> dict[str, str]:
    """Return the headers of a conditional request (RFC 9110, 13.1).

    A validator beyond ASCII is not sent back: its original bytes are unknown after decoding.
    """
    if row is None:
        return {}
    headers = {"If-None-Match": row.etag, "If-Modified-Since": row.last_modified}
    return {name: value for name, value in headers.items() if value and value.isascii()}
