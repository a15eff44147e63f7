"""Whether a shop has news: two small requests, no product bodies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.rest import PER_PAGE, Pages


@dataclass(frozen=True, slots=True)
class Recent:
    """What changed lately, as far as one page each of the shop and its trash shows.

    Attributes:
        rows: ``"<id> <modified> <status>"`` of each product; where there are more than a page
            shows (a hundred imported with dates in the future would hide everything else), also
            how many.
        at: the shop's clock, or ours where it sends none.
    """

    rows: frozenset[str]
    at: datetime


async def recent_changes(shop: Pages, since: datetime, *, clock: Clock) -> Recent:
    """List what was modified after ``since``, the newest first, trashed products included.

    Compare it with the list of the last time: a row that was not there is news. A hint, not the
    truth: the run that follows reads with its own cursor, and the sweep finds what has no date.
    """
    rows: set[str] = set()
    at: datetime | None = None
    for status in ("any", "trash"):
        page = await shop.page(
            {
                "status": status,
                "orderby": "modified",
                "order": "desc",
                "per_page": PER_PAGE,
                "page": 1,
                "modified_after": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
                "dates_are_gmt": "true",
                "_fields": "id,status,date_modified_gmt",
            }
        )
        at = at or page.date
        rows.update(f"{row.get('id')} {row.get('date_modified_gmt')} {row.get('status')}" for row in page.rows)
        if page.total is not None and page.total > PER_PAGE:
            rows.add(f"{page.total} in all, {status}")
    return Recent(frozenset(rows), at or clock.now())
