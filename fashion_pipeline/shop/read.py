"""What changed in a shop since a cursor.

Two steps: a thin listing by date of modification shows which products are news (see ``modified``);
these are then fetched by id.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.records import Product
from fashion_pipeline.shop.modified import ModifiedListing, Row
from fashion_pipeline.shop.product import FIELDS, product_id
from fashion_pipeline.shop.rest import CULPRIT, PER_PAGE, Page, Pages, Params, Payload, gather_limited

OVERLAP = timedelta(minutes=15)
"""How far a cursor stays behind the shop's clock. Cron publishes a scheduled product late and keeps its date."""

_SETTLED = timedelta(seconds=60)
"""How far the clocks of a shop's servers may differ for a second change within one second to be noticed."""
_MAX_SKEW = timedelta(minutes=5)
"""How far the clocks of a shop's servers may differ. Beyond that, the shop's clock was set back."""
_UNANSWERED = (
    "the shop omitted it from a request by its id: it is hidden from the key, or its status changed in that moment"
)
_NO_PRODUCT = 10**15
"""Ids from here on are those of no product."""
_BATCH_SIZES = (1, 5, 25, 50, PER_PAGE)
"""Sizes of a request by id. A failing batch is halved, which takes few requests for a small one."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an incremental read found.

    Attributes:
        payloads: products that are new or differ in (id, modified, status), and those changed so
            close to the last read that a later change may have the same second.
        cursor: where the next read begins.
        listed: how many products were in the listing, news or not.
        unreadable: ids of products that cannot be read, and why.
    """

    payloads: tuple[Payload, ...]
    cursor: datetime
    listed: int
    unreadable: Mapping[str, str] = field(default_factory=dict)


async def read_changes(shop: Pages, cursor: datetime, known: Mapping[str, Product], *, clock: Clock) -> Changes | None:
    """Read what changed after a cursor.

    Args:
        shop: gets two requests where nothing changed.
        cursor: of the last read, by the shop's clock.
        known: the products of the last read, by id.
        clock: stands in where the shop sends no Date header.

    Returns:
        The changes, or None where the shop's clock was set back behind the last read: then dates do
        not show what changed, and a sweep is due.

    Raises:
        ShopProtocolError: the shop ignores ``modified_after`` or ``page``.
        ShopError: it cannot be read.
    """
    last_read = cursor + OVERLAP

    def is_news(external_id: str, row: Row, now: datetime) -> bool:
        return _is_news(row, known.get(external_id), since=last_read - _SETTLED, until=max(now, last_read) + _SETTLED)

    live = ModifiedListing(shop, "any", cursor, known, is_news)
    now = await live.read(clock)
    if now < last_read - _MAX_SKEW:
        return None
    trash = ModifiedListing(shop, "trash", cursor, known, is_news)
    await trash.read(clock)
    retried = {key for key, product in known.items() if _is_due_for_retry(product, clock.now())}
    due = {key for key, product in known.items() if _is_due_for_publication(product, now)}
    wanted = {"any": live.news | ((due | retried) - trash.seen.keys()), "trash": trash.news}
    pages = await fetch_by_id(shop, wanted)
    payloads = tuple(row for page in pages for row in page.rows)
    answered = {product_id(row, store=shop.store) for row in payloads}
    unreadable = {
        key: (known[key].outcome.detail if key in retried else "") or _UNANSWERED
        for key in (wanted["any"] | wanted["trash"]) - answered
    }
    unreadable |= dict.fromkeys((key for page in pages for key in page.unreadable), CULPRIT)
    return Changes(payloads, now - OVERLAP, len(live.seen.keys() | trash.seen.keys()), unreadable)


async def fetch_by_id(shop: Pages, wanted: Mapping[str, Iterable[str]]) -> list[Page]:
    """Fetch products by id, by the status they are listed under; in smaller batches where the shop's pages are smaller.

    Each request also names an id that does not exist, and that no request named before: a cache that
    knows WooCommerce's parameters cannot answer it from the past.
    """
    while True:
        batches = [(batch, status) for status in wanted for batch in _batches(wanted[status], shop.per_page)]
        pages = await gather_limited([partial(shop.page, _by_id(*batch)) for batch in batches])
        capped = [len(page.rows) for page in pages if page.rows and (page.pages or 0) > 1]
        if not capped:
            return pages
        shop.per_page = min(capped)


def _is_due_for_retry(product: Product, now: datetime) -> bool:
    """Whether a product could not be read, and its retry time has come."""
    retry_at = product.outcome.next_retry_at
    return Reason.UNREADABLE in product.outcome.reasons and retry_at is not None and retry_at <= now


def _is_due_for_publication(product: Product, now: datetime) -> bool:
    """Whether a scheduled product's time has come. Its publication changes no date, so it is fetched by id."""
    if product.status != "future" or Reason.DELETED in product.outcome.reasons:
        return False
    return product.created_in_shop_at is None or product.created_in_shop_at <= now


def _is_news(row: Row, product: Product | None, *, since: datetime, until: datetime) -> bool:
    """Whether a product's state may differ from what is known.

    Dates are whole seconds: a product changed twice within one second keeps its date. So a change
    shortly before the last read, or since, counts as news until a read happens well after it.

    Args:
        row: as listed.
        product: as known.
        since, until: between these, by any of the shop's clocks, the last read may have missed a
            second change.
    """
    if product is None or row.modified_at is None:
        return True
    same = (product.status, product.modified_in_shop_at) == (row.status, row.modified_at)
    return not same or since <= row.modified_at <= until


def _batches(ids: Iterable[str], size: int) -> list[list[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _by_id(ids: Sequence[str], status: str) -> Params:
    return {
        "status": status,
        "include": ",".join((*ids, str(_NO_PRODUCT + secrets.randbelow(_NO_PRODUCT)))),
        "orderby": "id",
        "order": "asc",
        "per_page": next(size for size in _BATCH_SIZES if size >= len(ids)),
        "page": 1,
        "_fields": FIELDS,
    }
