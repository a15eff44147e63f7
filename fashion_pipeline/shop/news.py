"""Whether a shop has news: two small requests, and one for each hundred products dated in the future."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.pictures import read_gmt
from fashion_pipeline.shop.rest import Pages, Params, Payload


@dataclass(frozen=True, slots=True)
class Recent:
    """What changed lately, as far as a page each of the shop and its trash shows.

    Attributes:
        rows: ``"<id> <modified> <status>"`` of each product; one digest for all that are dated in
            the future, which may be thousands; and where there are more than a page shows, also
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
        number, ahead = 0, []
        while True:
            number += 1
            page = await shop.page(_params(shop, status, since, number))
            at = at or page.date or clock.now()
            dated = [(_row(row), read_gmt(row.get("date_modified_gmt"))) for row in page.rows]
            ahead += [text for text, date in dated if date is not None and date > at]
            rows.update(text for text, date in dated if date is None or date <= at)
            left = (page.total or 0) - number * shop.per_page
            if left <= 0 or not dated or dated[-1][0] not in ahead:
                break
        if left > 0:
            rows.add(f"{page.total} in all, {status}")
        if ahead:
            digest = hashlib.sha256("\n".join(sorted(ahead)).encode()).hexdigest()
            rows.add(f"{len(ahead)} in the future, {status}: {digest[:16]}")
    return Recent(frozenset(rows), at or clock.now())


def _params(shop: Pages, status: str, since: datetime, number: int) -> Params:
    return {
        "status": status,
        "orderby": "modified",
        "order": "desc",
        "per_page": shop.per_page,
        "page": number,
        "modified_after": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "dates_are_gmt": "true",
        "_fields": "id,status,date_modified_gmt",
    }


def _row(row: Payload) -> str:
    return f"{row.get('id')} {row.get('date_modified_gmt')} {row.get('status')}"
