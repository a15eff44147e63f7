"""What is in a shop: every product, read page by page, and whether the listing can be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.gallery import read_gmt
from fashion_pipeline.shop.product import FIELDS, product_id
from fashion_pipeline.shop.read import OVERLAP
from fashion_pipeline.shop.rest import Page, Pages, Params, Payload, gather_limited

Progress = Callable[[int, int | None], None]
"""Told how many products were read so far, and of how many, where the shop says so."""

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """A shop, read from end to end.

    Attributes:
        payloads: one for each product that any pass met, trashed ones included.
        ids: the products the shop has, readable or not.
        complete: whether an id that is not in ``ids`` may be taken as absent, though a payload has it.
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
    """One status, read once.

    Attributes:
        doubt: why an absence may not be believed; empty where it may.
        moved: whether a product changed meanwhile, and so may have come back from the trash.
        alike: whether a page showed the same products as the one before it.
    """

    pages: tuple[Page, ...]
    doubt: str
    moved: bool = False
    alike: bool = False


@dataclass(frozen=True, slots=True)
class _Status:
    """What is known of one status after one to three passes.

    Attributes:
        rows: everything that any pass met.
        ids: of the last pass that can be believed, or of all.
        doubt: why none can be.
    """

    rows: Mapping[str, Payload]
    unreadable: frozenset[str]
    ids: frozenset[str]
    doubt: str
    began_at: datetime | None


async def sweep(shop: Pages, *, clock: Clock, progress: Progress | None = None) -> Listing:
    """Read every product with every field, by descending id, up to four pages at a time.

    A product that leaves while pages are being read pulls an untouched one over a page's edge.
    So a listing counts as complete only if ``X-WP-Total`` was the same on every page and the ids
    descend without repeat; otherwise it is read again, up to three times. A product created
    meanwhile could hide a departure from the total, but stands before all others, and pushes back
    what the departure pulls. One that came back from the trash could do so too: its date of
    modification shows it, as it does an edit, so that after either the listing is read again as
    well; the third such listing counts.

    Raises:
        ShopProtocolError: the shop ignores ``page``.
        ShopError: it cannot be read; an interrupted sweep concludes nothing.
    """
    tell = progress or (lambda _done, _total: None)
    began_at = clock.now()
    live = await _read_until_believed(shop, "any", done=0, tell=tell)
    # After the others: what is trashed in between is in both.
    trash = await _read_until_believed(shop, "trash", done=len(live.rows), tell=tell)
    rows = {**live.rows, **trash.rows}
    return Listing(
        payloads=tuple(rows.values()),
        ids=live.ids | trash.ids,
        complete=not live.doubt and not trash.doubt,
        doubt="; ".join(each.doubt for each in (live, trash) if each.doubt),
        cursor=(live.began_at or began_at) - OVERLAP,
        unreadable=(live.unreadable | trash.unreadable) - rows.keys(),
        empty=not live.ids,
    )


async def _read_until_believed(shop: Pages, status: str, *, done: int, tell: Progress) -> _Status:
    """Read a status until a listing is believed and was not disturbed, up to three times."""
    rows: dict[str, Payload] = {}
    unreadable: frozenset[str] = frozenset()
    ids: frozenset[str] | None = None
    began_at, doubt, alike = None, "", 0
    for attempt in range(_TRIES):  # passes are not kept: each holds the whole shop
        read = await _read(shop, status, done=done, tell=tell)
        began_at = read.pages[0].date if attempt == 0 else began_at
        doubt, alike = read.doubt, alike + read.alike
        if alike == _TRIES:
            _raise_same_rows(shop)
        listed = {product_id(row, store=shop.store): row for page in read.pages for row in page.rows}
        culprits = frozenset(external_id for page in read.pages for external_id in page.unreadable)
        rows |= listed
        unreadable |= culprits
        if not read.doubt:
            ids = frozenset(listed) | culprits
        if not (read.doubt or read.moved):
            break
    return _Status(
        rows=rows,
        unreadable=unreadable,
        ids=frozenset(rows) | unreadable if ids is None else ids,
        doubt=f"status {status}: {doubt}" if ids is None else "",
        began_at=began_at,
    )


async def _read(shop: Pages, status: str, *, done: int, tell: Progress) -> _Pass:
    first = await shop.page(_params(shop, status, 1))
    pages, total = [first], first.total
    if total is None:
        return await _read_without_total(shop, status, first)
    tell(done + len(first.rows), done + total)

    async def ask(number: int) -> Page:
        page = await shop.page(_params(shop, status, number))
        pages.append(page)
        tell(done + sum(len(each.rows) for each in pages), done + total)
        return page

    numbers = range(2, -(-total // shop.per_page) + 1)
    in_order = (first, *await gather_limited([partial(ask, number) for number in numbers]))
    return _Pass(in_order, _doubt(shop, in_order), _moved(in_order), _alike(in_order))


async def _read_without_total(shop: Pages, status: str, first: Page) -> _Pass:
    """Read until an empty page: everything there may be, and no proof that it is everything."""
    pages = [first]
    while pages[-1].rows:
        pages.append(await shop.page(_params(shop, status, len(pages) + 1)))
        if _alike(pages):
            break
    doubt = "the shop sends no X-WP-Total; let the header pass the proxy in front of it"
    return _Pass(tuple(pages), doubt, alike=_alike(pages))


def _params(shop: Pages, status: str, number: int) -> Params:
    return {
        "status": status,
        "orderby": "id",
        "order": "desc",
        "per_page": shop.per_page,
        "page": number,
        "_fields": FIELDS,
    }


def _doubt(shop: Pages, pages: Sequence[Page]) -> str:
    """Say why a listing cannot be believed, or return ``""``."""
    totals = {page.total for page in pages}
    if len(totals) > 1 or not all(page.steady for page in pages):
        return "the number of products changed while they were read"
    rows = [row for page in pages for row in page.rows]
    if len(rows) > (pages[0].total or 0):
        return "more products came than X-WP-Total counts, so that others may lie behind them"
    ids = [int(product_id(row, store=shop.store)) for row in rows]
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids repeat or step back from page to page"
    return ""


def _moved(pages: Sequence[Page]) -> bool:
    """Whether a product was modified while several pages were read, or in the second before."""
    dates = [page.date for page in pages if page.date]
    rows = [row for page in pages for row in page.rows] if len(pages) > 1 and dates else []
    modified = [read_gmt(row.get("date_modified_gmt")) for row in rows]
    return any(date is not None and min(dates) <= date <= max(dates) for date in modified)


def _alike(pages: Sequence[Page]) -> bool:
    """Whether a page is the one before it: once, that may be by the changes of a moment."""
    seen = [([row.get("id") for row in page.rows], page.total) for page in pages]
    return any(page[0] and page == before for before, page in pairwise(seen))


def _raise_same_rows(shop: Pages) -> None:
    msg = (
        f"store {shop.store.id}: {shop.store.url} answers with the same products whatever page is asked for; a plugin "
        "or a cache drops the parameter page: exempt /wp-json/ from it"
    )
    raise ShopProtocolError(msg)
