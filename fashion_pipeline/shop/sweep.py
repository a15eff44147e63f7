"""What is in a shop: every product, read page by page, and whether the listing can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.product import FIELDS, product_id, read_gmt
from fashion_pipeline.shop.read import OVERLAP
from fashion_pipeline.shop.rest import PER_PAGE, Page, Pages, Params, Payload, at_once

Progress = Callable[[int, int | None], None]
"""Told how many products were read so far, and of how many, where the shop says so."""

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """A shop, read from end to end.

    Attributes:
        payloads: one for each product, trashed ones included.
        ids: the products the shop has, readable or not.
        complete: whether an id that is not in ``ids`` may be taken as absent.
        doubt: why it is not complete; empty where it is.
        cursor: where an incremental read after this one begins.
        unreadable: ids of products that make the shop fail.
        empty: nothing but trash was listed.
    """

    payloads: tuple[Payload, ...]
    ids: frozenset[str]
    complete: bool
    doubt: str
    cursor: datetime
    unreadable: frozenset[str]
    empty: bool


@dataclass(frozen=True, slots=True)
class _Pass:
    """One status, read once."""

    pages: tuple[Page, ...]
    doubt: str


async def sweep(shop: Pages, *, clock: Clock, progress: Progress | None = None) -> Listing:
    """Read every product with every field, by ascending id, up to four pages at a time.

    A product that leaves while pages are being read pulls an untouched one over a page's edge.
    So a listing counts as complete only if ``X-WP-Total`` was the same on every page, the ids
    ascend without repeat, and no product was created meanwhile (which could hide a departure
    from the total). Otherwise it is read again, up to three times.

    Raises:
        ShopProtocolError: the shop ignores ``page``.
        ShopError: it cannot be read; an interrupted sweep concludes nothing.
    """
    tell = progress or (lambda _done, _total: None)
    first: Page | None = None
    payloads: dict[str, Payload] = {}
    ids: set[str] = set()
    unreadable: set[str] = set()
    doubts: list[str] = []
    empty = True
    for status in ("any", "trash"):  # in this order: trashed in between, a product is in both
        union: dict[str, Payload] = {}
        for _ in range(_TRIES):
            read = await _read(shop, status, done=len(payloads), tell=tell)
            first = first or read.pages[0]
            rows = {product_id(row, store=shop.store): row for page in read.pages for row in page.rows}
            union |= rows
            if not read.doubt:
                break
        else:
            doubts.append(f"status {status}: {read.doubt}")
            rows = union
        culprits = {external_id for page in read.pages for external_id in page.unreadable}
        payloads |= rows
        ids |= rows.keys() | culprits
        unreadable |= culprits
        empty = empty and (status == "trash" or not (rows or culprits))
    started = (first.date if first else None) or clock.now()
    return Listing(
        payloads=tuple(payloads.values()),
        ids=frozenset(ids),
        complete=not doubts,
        doubt="; ".join(doubts),
        cursor=started - OVERLAP,
        unreadable=frozenset(unreadable - payloads.keys()),
        empty=empty,
    )


async def _read(shop: Pages, status: str, *, done: int, tell: Progress) -> _Pass:
    first = await shop.page(_params(status, 1))
    pages = [first]
    if first.total is None:
        return await _read_without_total(shop, status, first)
    tell(done + len(first.rows), done + first.total)

    async def ask(number: int) -> Page:
        page = await shop.page(_params(status, number))
        pages.append(page)
        tell(done + sum(len(each.rows) for each in pages), done + (first.total or 0))
        return page

    numbers = range(2, -(-first.total // PER_PAGE) + 1)
    in_order = (first, *await at_once([partial(ask, number) for number in numbers]))
    _need_other_rows(shop, in_order)
    return _Pass(in_order, _doubt(shop, in_order))


async def _read_without_total(shop: Pages, status: str, first: Page) -> _Pass:
    """Read until an empty page: everything there may be, and no proof that it is everything."""
    pages = [first]
    while pages[-1].rows:
        pages.append(await shop.page(_params(status, len(pages) + 1)))
        _need_other_rows(shop, pages)
    return _Pass(tuple(pages), "the shop sends no X-WP-Total; let the header pass the proxy in front of it")


def _params(status: str, number: int) -> Params:
    return {
        "status": status,
        "orderby": "id",
        "order": "asc",
        "per_page": PER_PAGE,
        "page": number,
        "_fields": FIELDS,
    }


def _doubt(shop: Pages, pages: Sequence[Page]) -> str:
    """Say why a listing cannot be believed, or return ``""``."""
    totals = {page.total for page in pages}
    if len(totals) > 1 or not all(page.steady for page in pages):
        return "the number of products changed while they were read"
    rows = [row for page in pages for row in page.rows]
    ids = [int(product_id(row, store=shop.store)) for row in rows]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        return "the ids repeat or step back from page to page"
    dates = [page.date for page in pages if page.date]
    if len(pages) > 1 and dates:
        created = [date for row in rows if (date := read_gmt(row.get("date_created_gmt")))]
        if any(min(dates) < date <= max(dates) for date in created):
            return "a product was created while they were read"
    return ""


def _need_other_rows(shop: Pages, pages: Sequence[Page]) -> None:
    """Refuse a shop whose pages are all the first one."""
    seen = [[row.get("id") for row in page.rows] for page in pages]
    if any(page and page == before for before, page in pairwise(seen)):
        msg = (
            f"store {shop.store.id}: the shop answers with the same products whatever page is asked for; a plugin "
            "or a cache drops the parameter page: exempt /wp-json/ from it"
        )
        raise ShopProtocolError(msg)
