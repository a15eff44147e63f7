"""The listing of what was modified since a cursor, read so that no row is passed by while the shop changes.

It slides: always page 1, by ascending date, from one second before the last row seen. A row that
leaves meanwhile pulls the others forward, and over no page's edge. Where sliding does not help
(more rows in one second than a page holds, rows that do not ascend, the future), pages are stepped
from the last to the first: a row that leaves pulls the others towards those still to be read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.shop.gallery import read_gmt
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.rest import Page, Pages

_ONE_SECOND = timedelta(seconds=1)
_MOST_PASSES = 5
_TOO_OFTEN = 3
"""A page that is the one before it: less often that may be by the changes of a moment."""


@dataclass(frozen=True, slots=True)
class Row:
    """A product as a thin listing shows it: its status, and when it was modified (None: not known)."""

    status: str
    modified_at: datetime | None


IsNews = Callable[[str, Row, datetime], bool]
"""Whether a row listed under an id is news, at the shop's present time."""


class ModifiedListing:
    """The sliding listing of one status.

    Attributes:
        seen: every row met, by id, as it was first.
        news: ids of those whose state may differ from what is known.
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

        After a slide it is counted whether all rows were met that the first answer spoke of:
        WordPress sorts by local time, which turns back once a year, so that a slide may pass rows
        by. Otherwise those that are missing are merely hidden from the key.
        """
        after = self._cursor
        first = page = await self._ask(after)
        self._began = self._latest = page.date or clock.now()
        self._take(page, after)
        while not self._is_end(page):
            dates = _dates(page)
            if not dates or dates != sorted(dates) or dates[-1] > self._began:
                await self._step(after, first=page)
                break
            if dates[0] == dates[-1]:
                # By id: not every WooCommerce has an order for equal dates.
                await self._step(dates[0] - _ONE_SECOND, before=dates[0] + _ONE_SECOND, orderby="id")
                after = dates[0]
            else:
                after = dates[-1] - _ONE_SECOND
            page = await self._ask(after)
            self._take(page, after)
        if after > self._cursor and self._met_of_old() < (first.total or 0):
            await self._step(self._cursor)
        return self._began

    async def _step(
        self, after: datetime, *, before: datetime | None = None, orderby: str = "modified", first: Page | None = None
    ) -> None:
        """Read page by page, from the last to the first, until that brings nothing new.

        Rows dated in the future stay where they are, and are listed by every read until their time
        comes: once is enough for them.

        Args:
            after, before: between which moments; both are left out themselves.
            orderby: ``modified`` or ``id``.
            first: the first page, if it was read already.

        Raises:
            ShopProtocolError: the pages are the same whatever their number.
        """

        def ask(number: int) -> Awaitable[Page]:
            return self._ask(after, number, before=before, orderby=orderby)

        alike = 0
        if first is None:
            first = await ask(1)
            self._take(first, after)
        for _ in range(_MOST_PASSES):
            known, last, totals, ahead, differ = len(self.news), first, {first.total}, True, True
            async for page in self._behind(first, ask):
                totals.add(page.total)
                ahead = self._take(page, after) and ahead
                differ = not page.rows or (page.rows, page.total) != (last.rows, last.total)
                if not differ:
                    break
                last = page
            alike += not differ
            if alike == _TOO_OFTEN:
                self._raise_same_rows()
            if differ and ahead and known == len(self.news):
                return
            first = await ask(1)
            self._take(first, after)
            if differ and totals == {first.total} and known == len(self.news):
                return

    async def _behind(self, first: Page, ask: Callable[[int], Awaitable[Page]]) -> AsyncIterator[Page]:
        """Ask for the pages behind the first, from the last to the first; without a total the last is looked for."""
        number = -(-(first.total or 0) // self._shop.per_page)
        if first.total is None:
            number, page = 1, first
            while page.rows:
                number, page = number + 1, await ask(number + 1)
                yield page
        for place in range(number, 1, -1):
            yield await ask(place)

    async def _ask(
        self, after: datetime, number: int = 1, *, before: datetime | None = None, orderby: str = "modified"
    ) -> Page:
        params: dict[str, str | int] = {
            "status": self._status,
            "orderby": orderby,
            "order": "asc",
            "per_page": self._shop.per_page,
            "page": number,
            "modified_after": _naive(after),
            "dates_are_gmt": "true",
            "_fields": "id,status,date_modified_gmt",
        }
        page = await self._shop.page(params if before is None else params | {"modified_before": _naive(before)})
        self._latest = page.date or self._latest
        return page

    def _take(self, page: Page, after: datetime) -> bool:
        """Remember the rows not met before; return whether the page shows nothing but the future.

        A row met before that has moved since will be met by the next read: its new date is later
        than this read's first answer, and so than the next cursor.
        """
        for row in page.rows:
            external_id = product_id(row, store=self._shop.store)
            modified_at = read_gmt(row.get("date_modified_gmt"))
            if modified_at is not None and modified_at <= after:
                msg = (
                    f"store {self._shop.store.id}: {self._shop.store.url} lists product {external_id} as modified after "
                    f"{after:%Y-%m-%dT%H:%M:%S} although its date is {modified_at:%Y-%m-%dT%H:%M:%S}: it ignores "
                    "modified_after; update WooCommerce to 5.8 or newer, or switch off the plugin that drops it"
                )
                raise ShopProtocolError(msg)
            self._meet(external_id, Row(str(row.get("status")), modified_at))
        for external_id in page.unreadable:
            self._meet(external_id, Row("", None))
        return all(date > self._began for date in _dates(page))

    def _meet(self, external_id: str, row: Row) -> None:
        if external_id not in self.seen:
            self.seen[external_id] = row
            if self._is_news(external_id, row, self._began):
                self.news.add(external_id)

    def _met_of_old(self) -> int:
        """How many of the rows met must have been there at the first answer.

        Those dated since may have come later; an import, with any date.
        """
        since = [
            key for key, row in self.seen.items() if row.modified_at and self._began <= row.modified_at <= self._latest
        ]
        return sum(key in self._known for key in self.seen.keys() - set(since))

    def _is_end(self, page: Page) -> bool:
        """Whether a listing ends with its first page; by its total, for a short page may be any."""
        return not page.rows if page.total is None else self._shop.per_page >= page.total

    def _raise_same_rows(self) -> None:
        msg = (
            f"store {self._shop.store.id}: {self._shop.store.url} answers with the same products whatever page is asked for; a "
            "plugin or a cache drops the parameter page: exempt /wp-json/ from it"
        )
        raise ShopProtocolError(msg)


def _dates(page: Page) -> list[datetime]:
    return [date for row in page.rows if (date := read_gmt(row.get("date_modified_gmt")))]


def _naive(moment: datetime) -> str:
    """Spell a moment in UTC without a suffix, with which WordPress would convert it to the site's zone first."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
