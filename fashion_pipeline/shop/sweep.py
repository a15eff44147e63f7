"""Reads every product of a shop, page by page, and decides whether the listing is complete."""

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
"""Called with the number of products read so far, and with the total where the shop states it."""

_MAX_PASSES = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole shop.

    Attributes:
        payloads: one for each product met in any pass, trashed ones included.
        ids: of the products the shop has, readable or not.
        complete: whether an id not in ``ids`` may be taken as absent, even if a payload has it.
        doubt: why the listing is not complete; empty where it is.
        cursor: where the next incremental read begins.
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
        pages: in order.
        doubt: why absence proves nothing; empty where it does.
        disturbed: a product changed meanwhile, and so may have been restored from the trash.
        repeats: a page showed the same products as the one before it.
    """

    pages: tuple[Page, ...]
    doubt: str
    disturbed: bool = False
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class _Status:
    """What is known of one status after one to three passes.

    Attributes:
        rows: everything met in any pass, by id.
        unreadable: ids of products that make the shop fail.
        ids: of the last complete pass, or of all passes if none is complete.
        doubt: why no pass is complete; empty where one is.
        began_at: the shop's clock at the first response.
    """

    rows: Mapping[str, Payload]
    unreadable: frozenset[str]
    ids: frozenset[str]
    doubt: str
    began_at: datetime | None


async def sweep(shop: Pages, *, clock: Clock, progress: Progress | None = None) -> Listing:
    """Read every product with every field, by descending id, up to four pages at a time.

    A product that disappears while pages are being read pulls an untouched one across a page
    boundary. So a listing counts as complete only if ``X-WP-Total`` was the same on every page and
    the ids descend without repeats. Otherwise it is read again, up to three times.

    A product created meanwhile could hide a disappearance from the total. It is listed before all
    others, though, and pushes back what the disappearance pulls forward. A product restored from
    the trash could hide one too. Like an edit, this changes its modified date, so after either the
    listing is read again; the third such listing is accepted.

    Raises:
        ShopProtocolError: the shop ignores ``page``.
        ShopError: the shop cannot be read.
    """
    report = progress or (lambda _done, _total: None)
    began_at = clock.now()
    live = await _read_until_complete(shop, "any", done=0, report=report)
    # After the live ones: a product trashed in between is in both.
    trash = await _read_until_complete(shop, "trash", done=len(live.rows), report=report)
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


async def _read_until_complete(shop: Pages, status: str, *, done: int, report: Progress) -> _Status:
    """Read a status until a pass is complete and undisturbed, up to three times."""
    rows: dict[str, Payload] = {}
    unreadable: frozenset[str] = frozenset()
    ids: frozenset[str] | None = None
    began_at, doubt, repeats = None, "", 0
    for attempt in range(_MAX_PASSES):  # a pass is not kept: each holds the whole shop
        read = await _read(shop, status, done=done, report=report)
        began_at = read.pages[0].date if attempt == 0 else began_at
        doubt, repeats = read.doubt, repeats + read.repeats
        if repeats == _MAX_PASSES:
            _raise_same_rows(shop)
        listed = {product_id(row, store=shop.store): row for page in read.pages for row in page.rows}
        culprits = frozenset(external_id for page in read.pages for external_id in page.unreadable)
        rows |= listed
        unreadable |= culprits
        if not read.doubt:
            ids = frozenset(listed) | culprits
        if not (read.doubt or read.disturbed):
            break
    return _Status(
        rows=rows,
        unreadable=unreadable,
        ids=frozenset(rows) | unreadable if ids is None else ids,
        doubt=f"status {status}: {doubt}" if ids is None else "",
        began_at=began_at,
    )


async def _read(shop: Pages, status: str, *, done: int, report: Progress) -> _Pass:
    first = await shop.page(_params(shop, status, 1))
    pages, total = [first], first.total
    if total is None:
        return await _read_without_total(shop, status, first)
    report(done + len(first.rows), done + total)

    async def ask(number: int) -> Page:
        page = await shop.page(_params(shop, status, number))
        pages.append(page)
        report(done + sum(len(each.rows) for each in pages), done + total)
        return page

    numbers = range(2, -(-total // shop.per_page) + 1)
    in_order = (first, *await gather_limited([partial(ask, number) for number in numbers]))
    return _Pass(in_order, _doubt(shop, in_order), disturbed=_disturbed(in_order), repeats=_repeats(in_order))


async def _read_without_total(shop: Pages, status: str, first: Page) -> _Pass:
    """Read until an empty page. It may be everything, but nothing proves it."""
    pages = [first]
    while pages[-1].rows:
        pages.append(await shop.page(_params(shop, status, len(pages) + 1)))
        if _repeats(pages):
            break
    doubt = "the shop sends no X-WP-Total; let the header pass the proxy in front of it"
    return _Pass(tuple(pages), doubt, repeats=_repeats(pages))


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
    """Return why a pass is not complete; ``""`` where it is."""
    totals = {page.total for page in pages}
    if len(totals) > 1 or not all(page.steady for page in pages):
        return "the number of products changed while they were read"
    rows = [row for page in pages for row in page.rows]
    if len(rows) > (pages[0].total or 0):
        return "the listing has more products than X-WP-Total counts, so others may follow"
    ids = [int(product_id(row, store=shop.store)) for row in rows]
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids repeat or do not descend from page to page"
    return ""


def _disturbed(pages: Sequence[Page]) -> bool:
    """Whether a product was modified while several pages were read, or in the second before."""
    dates = [page.date for page in pages if page.date]
    rows = [row for page in pages for row in page.rows] if len(pages) > 1 and dates else []
    modified = [read_gmt(row.get("date_modified_gmt")) for row in rows]
    return any(date is not None and min(dates) <= date <= max(dates) for date in modified)


def _repeats(pages: Sequence[Page]) -> bool:
    """Whether a page equals the one before it. Once, that may be a coincidence of changes."""
    seen = [([row.get("id") for row in page.rows], page.total) for page in pages]
    return any(page[0] and page == before for before, page in pairwise(seen))


def _raise_same_rows(shop: Pages) -> None:
    msg = (
        f"{shop.store.url} answers with the same products whatever page is asked for; a plugin or a cache drops the "
        "parameter page"
    )
    raise ShopProtocolError(msg, store_id=shop.store.id, advice="exempt /wp-json/ from it")
