"""What to do about each picture, before anything is asked of a host. Nothing here does anything."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import FetchedImage, Image, Product
from fashion_pipeline.stores import Store

REVALIDATED_WITHIN = timedelta(days=7)
"""On sweeps, every picture is asked for again at least this often: a seventh each night."""

_BY_RULE = {Reason.BAD_URL, Reason.BLOCKED_PORT, Reason.BLOCKED_ADDRESS}


class Step(Enum):
    """What a picture needs in this run."""

    KEEP = "keep"
    """Nothing: its bytes are known and there."""
    WAIT = "wait"
    """Nothing yet: its time to be tried again has not come, or its refusal stands."""
    GET = "get"
    """Its bytes."""
    CONFIRM = "confirm"
    """Its bytes, if they are not those that are known."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a product, and what the last run knew of it.

    Attributes:
        stand_ins: of a product's first picture: the bytes of the one that was first before it, newest
            first, which are shown while it cannot be fetched or judged. A shop gives every new picture a new id.
    """

    external_id: str
    image: Image
    before: FetchedImage | None
    stand_ins: tuple[str, ...] = ()

    @property
    def stand_in(self) -> str | None:
        """The newest bytes that stand in for this picture."""
        return self.stand_ins[0] if self.stand_ins else None


def pictures_of(product: Product, store: Store) -> tuple[Image, ...]:
    """Return the pictures of a product that this store publishes: none, the first, or all."""
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
) -> Step:
    """Decide what a picture needs.

    Args:
        image: as the shop lists it now.
        before: its row of the last run.
        blob_there: whether the bytes of ``before.sha256`` are stored.
        sweep: whether pictures are revalidated in this run.
        max_bytes: the store's cap on a file.
        now: aware UTC.
    """
    if before is None or image.url != before.url or image.modified_at != before.image_modified_at:
        return Step.GET
    if before.outcome.ok:
        if not blob_there:
            return Step.GET
        return Step.CONFIRM if sweep and due(before, now=now) else Step.KEEP
    if not _to_be_tried(before, max_bytes=max_bytes, now=now):
        return Step.WAIT
    return Step.CONFIRM if before.sha256 is not None and blob_there else Step.GET


def due(row: FetchedImage, *, now: datetime) -> bool:
    """Whether a picture's turn to be revalidated has come: its weekday, or a week without."""
    if row.checked_at is None:
        return True
    if row.checked_at.date() >= now.date():
        return False
    return weekday(row.url) == now.weekday() or now - row.checked_at >= REVALIDATED_WITHIN


def _to_be_tried(row: FetchedImage, *, max_bytes: int, now: datetime) -> bool:
    """Whether a picture that is not ok is to be tried again: its rule allows it now, or its time has come."""
    if row.outcome.status is Status.REJECTED:
        if _BY_RULE & set(row.outcome.reasons) and row.checked_at is None:  # its host was not asked, for a redirect
            return True  # judging a URL again is nearly free, and the rules or the name may have changed
        if Reason.FILE_TOO_LARGE in row.outcome.reasons and (row.size_bytes or 0) <= max_bytes:
            return True
    return row.outcome.next_retry_at is not None and row.outcome.next_retry_at <= now


def weekday(url: str) -> int:
    """Return the day on which a URL is revalidated: 0 is Monday, by a hash that never changes."""
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big") % 7


def conditions(row: FetchedImage | None) -> dict[str, str]:
    """Return the headers that ask for bytes only if they changed (RFC 9110, 13.1).

    A validator beyond ASCII cannot be told from what another encoding made of it, and is not sent back.
    """
    if row is None:
        return {}
    headers = {"If-None-Match": row.etag, "If-Modified-Since": row.last_modified}
    return {name: value for name, value in headers.items() if value and value.isascii()}
