"""The listing of the products modified since a cursor. It misses no row although the shop changes meanwhile.

The listing slides: it always asks for page 1 by ascending date, and moves ``modified_after`` to one
second before the last row seen. A row that disappears pulls the later rows forward, but across no
page boundary.

Where sliding does not help (more rows in one second than fit on a page, rows that do not ascend,
dates in the future), it steps through numbered pages from the last to the first. A row that
disappears then pulls the others towards the pages that are still to be read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.gallery import read_gmt
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.rest import Page, Pages

_ONE_SECOND = timedelta(seconds=1)
_MAX_PASSES = 5
_MAX_REPEATS = 3
"""Passes with a page equal to the one before it. Fewer may be a coincidence of changes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A product as the thin listing shows it: its status, and when it was modified (None: not known)."""

    status: str
    modified_at: datetime | None


IsNews = Callable[[str, Row, datetime], bool]
"""Whether the row of an id is news, given the shop's present time."""


@dataclass(frozen=True, slots=True)
class _Window:
    """The rows asked for: modified after one moment and before another, both excluded; ``orderby`` modified or id."""

    after: datetime
    before: datetime | None = None
    orderby: str = "modified"


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over the pages behind the first.

    Attributes:
        totals: every X-WP-Total seen.
        is_future: every row is dated in the future.
        repeats: a page equals the one before it; the pass ended there.
    """

    totals: frozenset[int | None]
    is_future: bool
    repeats: bool


class ModifiedListing:
    """The listing of one status.

    Attributes:
        seen: every row met, by id, in its first state.
        news: ids of the rows whose state may differ from what is known.
    """

    def __init__(self, shop: Pages, status: str, cursor: datetime, known: Container[str], is_news: IsNews) -> None:
        self._shop = shop
        self._status = status
        self._cursor = cursor
        self._known = known
        self._is_news = is_news
        self._began = self._latest = cursor
        self.seen: dict[str, Row] = {}
        self.news: set[str] = set()

    async def read(self, clock: Clock) -> datetime:
        """List everything modified after the cursor; return the shop's clock at the first answer.

        A slide may miss rows: WordPress sorts by local time, which is set back once a year. So the
        rows met are compared with the first total. If some are missing, all pages are stepped
        through; what is still missing then is merely hidden from the key.
        """
        after = self._cursor
        first = page = await self._fetch(_Window(after))
        self._began = self._latest = page.date or clock.now()
        self._take(page, after)
        while not self._is_end(page):
            dates = _dates(page)
            if not self._can_slide(dates):
                await self._step(_Window(after), first=page)
                break
            if dates[0] == dates[-1]:
                # By id: not every WooCommerce orders rows of equal dates.
                await self._step(_Window(dates[0] - _ONE_SECOND, before=dates[0] + _ONE_SECOND, orderby="id"))
                after = dates[0]
            else:
                after = dates[-1] - _ONE_SECOND
            page = await self._fetch(_Window(after))
            self._take(page, after)
        if after > self._cursor and self._count_old_rows() < (first.total or 0):
            await self._step(_Window(self._cursor))
        return self._began

    async def _step(self, window: _Window, *, first: Page | None = None) -> None:
        """Read all pages of a window, from the last to the first, until a pass finds nothing new.

        Rows dated in the future stay in place, and every later read lists them again until their
        time comes. One pass is enough for them.

        Args:
            window: which rows.
            first: page 1, if it was read already.

        Raises:
            ShopProtocolError: the pages are equal whatever their number.
        """
        if first is None:
            first = await self._take_page(window)
        repeats = 0
        for _ in range(_MAX_PASSES):
            known = len(self.news)
            done = await self._read_pass(window, first)
            repeats += done.repeats
            if repeats == _MAX_REPEATS:
                self._raise_same_rows()
            if done.is_future and not done.repeats and len(self.news) == known:
                return
            first = await self._take_page(window)
            if done.totals == {first.total} and not done.repeats and len(self.news) == known:
                return

    async def _read_pass(self, window: _Window, first: Page) -> _Pass:
        last, totals, is_future = first, {first.total}, True
        async for page in self._pages_behind(first, window):
            totals.add(page.total)
            is_future = self._take(page, window.after) and is_future
            if page.rows and (page.rows, page.total) == (last.rows, last.total):
                return _Pass(frozenset(totals), is_future, repeats=True)
            last = page
        return _Pass(frozenset(totals), is_future, repeats=False)

    async def _pages_behind(self, first: Page, window: _Window) -> AsyncIterator[Page]:
        """Yield the pages behind the first, from the last to the first. Without a total the last one is searched for."""
        number = -(-(first.total or 0) // self._shop.per_page)
        if first.total is None:
            number, page = 1, first
            while page.rows:
                number, page = number + 1, await self._fetch(window, number + 1)
                yield page
        for place in range(number, 1, -1):
            yield await self._fetch(window, place)

    async def _take_page(self, window: _Window) -> Page:
        """Fetch and take page 1."""
        page = await self._fetch(window)
        self._take(page, window.after)
        return page

    async def _fetch(self, window: _Window, number: int = 1) -> Page:
        params: dict[str, str | int] = {
            "status": self._status,
            "orderby": window.orderby,
            "order": "asc",
            "per_page": self._shop.per_page,
            "page": number,
            "modified_after": _naive(window.after),
            "dates_are_gmt": "true",
            "_fields": "id,status,date_modified_gmt",
        }
        if window.before is not None:
            params["modified_before"] = _naive(window.before)
        page = await self._shop.page(params)
        self._latest = page.date or self._latest
        return page

    def _take(self, page: Page, after: datetime) -> bool:
        """Remember the rows not met before; return whether every row of the page is dated in the future.

        A row met before that was modified since will be met by the next read: its new date is later
        than the first answer of this read, and so later than the next cursor.
        """
        for row in page.rows:
            external_id = product_id(row, store=self._shop.store)
            modified_at = read_gmt(row.get("date_modified_gmt"))
            if modified_at is not None and modified_at <= after:
                self._raise_ignored_date(external_id, modified_at, after)
            self._meet(external_id, Row(str(row.get("status")), modified_at))
        for external_id in page.unreadable:
            self._meet(external_id, Row("", None))
        return all(date > self._began for date in _dates(page))

    def _meet(self, external_id: str, row: Row) -> None:
        if external_id not in self.seen:
            self.seen[external_id] = row
            if self._is_news(external_id, row, self._began):
                self.news.add(external_id)

    def _count_old_rows(self) -> int:
        """Count the rows met that must have existed at the first answer.

        A row dated since then may be younger. So may an unknown one: an import sets any date.
        """
        since = {
            key for key, row in self.seen.items() if row.modified_at and self._began <= row.modified_at <= self._latest
        }
        return sum(key in self._known for key in self.seen.keys() - since)

    def _can_slide(self, dates: list[datetime]) -> bool:
        """Whether the next page can begin at the last date: the dates ascend, and none lies in the future."""
        return bool(dates) and dates == sorted(dates) and dates[-1] <= self._began

    def _is_end(self, page: Page) -> bool:
        """Whether page 1 is the only one; by its total, because any page may be short."""
        return not page.rows if page.total is None else self._shop.per_page >= page.total

    def _raise_ignored_date(self, external_id: str, modified_at: datetime, after: datetime) -> None:
        msg = (
            f"{self._shop.store.url} lists product {external_id} as modified after "
            f"{after:%Y-%m-%dT%H:%M:%S} although its date is {modified_at:%Y-%m-%dT%H:%M:%S}: it ignores "
            "modified_after"
        )
        advice = "update WooCommerce to 5.8 or newer, or switch off the plugin that drops it"
        raise ShopProtocolError(msg, store_id=self._shop.store.id, advice=advice)

    def _raise_same_rows(self) -> None:
        msg = (
            f"{self._shop.store.url} answers with the same products whatever page is asked for; a plugin or a cache "
            "drops the parameter page"
        )
        raise ShopProtocolError(msg, store_id=self._shop.store.id, advice="exempt /wp-json/ from it")


def _dates(page: Page) -> list[datetime]:
    return [date for row in page.rows if (date := read_gmt(row.get("date_modified_gmt")))]


def _naive(moment: datetime) -> str:
    """Write a moment in UTC without a suffix: with one, WordPress would convert it to the site's zone first."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
