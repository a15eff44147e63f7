"""Whether a shop has news: two small requests, or up to four where a page is full of products dated in the future."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.gallery import read_gmt
from fashion_pipeline.shop.rest import Page, Pages, Params, Payload

_ONE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Recent:
    """What changed lately, according to one page of the shop and one of its trash.

    Attributes:
        rows: ``"<id> <modified> <status>"`` of each product. Products dated in the future may be
            thousands: of them, the count and one digest of the latest. Where a listing has more than
            one page, also its total; then the rows of the page's last second are omitted, because
            which of them are on it may differ from request to request.
        at: the shop's clock, or ours where it sends no Date header.
    """

    rows: frozenset[str]
    at: datetime


async def recent_changes(shop: Pages, since: datetime, *, clock: Clock) -> Recent:
    """List what was modified after ``since``, newest first, trashed products included.

    A row that the previous list lacks is news. This is only a hint: the run that follows reads with
    its own cursor, and a sweep finds the products without a date.
    """
    rows: set[str] = set()
    at: datetime | None = None
    for status in ("any", "trash"):
        page = await shop.page(_params(shop, status, since))
        at = at or page.date or clock.now()
        ahead = [_row(row) for row in _stable(page) if _is_later(row, at)]
        count = len(ahead)
        # The rows of the past come after all of them.
        if page.rows and _is_later(page.rows[-1], at) and len(page.rows) < (page.total or 0):
            until = {"modified_before": _naive(at + _ONE_SECOND)}
            past = await shop.page({**_params(shop, status, since), **until})
            count, page = (page.total or 0) - (past.total or 0), past
        rows.update(_row(row) for row in _stable(page) if not _is_later(row, at))
        if (page.total or 0) > len(page.rows):
            end = page.rows[-1].get("date_modified_gmt") if page.rows else None
            rows.add(f"{page.total} in all, {status}, the page ends at {end}")
        if count:
            digest = hashlib.sha256("\n".join(sorted(ahead)).encode()).hexdigest()
            rows.add(f"{count} in the future, {status}: {digest[:16]}")
    return Recent(frozenset(rows), at or clock.now())


def _params(shop: Pages, status: str, since: datetime) -> Params:
    return {
        "status": status,
        "orderby": "modified",
        "order": "desc",
        "per_page": shop.per_page,
        "page": 1,
        "modified_after": _naive(since),
        "dates_are_gmt": "true",
        "_fields": "id,status,date_modified_gmt",
    }


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _is_later(row: Payload, at: datetime) -> bool:
    date = read_gmt(row.get("date_modified_gmt"))
    return date is not None and date > at


def _stable(page: Page) -> list[Payload]:
    """Return the rows of a page, without those of its last second where the listing goes on after it."""
    if (page.total or 0) <= len(page.rows):
        return list(page.rows)
    return [row for row in page.rows if row.get("date_modified_gmt") != page.rows[-1].get("date_modified_gmt")]


def _row(row: Payload) -> str:
    return f"{row.get('id')} {row.get('date_modified_gmt')} {row.get('status')}"
