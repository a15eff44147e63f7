"""What changed in a shop since a cursor.

Two steps. A thin listing by date of modification, ascending, tells which products are news; they
are then asked for by id. The listing slides: always page 1, from one second before the last row
seen, so that a row which moves while the shop is being read is met again and none is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.records import Product
from fashion_pipeline.shop.product import FIELDS, product_id, read_gmt
from fashion_pipeline.shop.rest import CULPRIT, PER_PAGE, Page, Pages, Params, Payload, at_once

OVERLAP = timedelta(minutes=15)
"""How far a cursor stays behind the shop's clock: a scheduled product is published by cron, late, and keeps its date."""

_ONE_SECOND = timedelta(seconds=1)
_SETTLED = timedelta(seconds=60)
_MOST_PASSES = 3
_BATCH_SIZES = (1, 5, 25, 50, PER_PAGE)
"""A failing batch is halved; few products need few requests for that."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an incremental read found.

    Attributes:
        payloads: products that are new or differ in (id, modified, status), and those whose last
            change was so close to the last read that a later one may carry the same second.
        cursor: where the next read begins.
        listed: how many products the listing showed, news or not.
        unreadable: ids of products that the shop does not let us read, and why.
    """

    payloads: tuple[Payload, ...]
    cursor: datetime
    listed: int
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    status: str
    modified_at: datetime | None


async def read_changes(shop: Pages, cursor: datetime, known: Mapping[str, Product], *, clock: Clock) -> Changes | None:
    """Read what changed after a cursor.

    Args:
        shop: asked twice where nothing changed.
        cursor: of the last read, by the shop's clock.
        known: the products of the last read, by id.
        clock: stands in where the shop sends no Date header.

    Returns:
        The changes, or None where the shop's clock has gone back behind the cursor: what changed
        since cannot be told from dates then, and a sweep is due.

    Raises:
        ShopProtocolError: the shop ignores ``modified_after`` or ``page``.
        ShopError: it cannot be read.
    """
    live = _Slide(shop, "any", cursor)
    await live.read()
    now = live.date or clock.now()
    if now < cursor:
        return None
    trash = _Slide(shop, "trash", cursor)
    await trash.read()
    settled_before = cursor + OVERLAP - _SETTLED
    again = {key for key, product in known.items() if _is_to_be_asked_again(product, clock.now())}
    due = {key for key, product in known.items() if _is_due(product, now)}
    wanted = {"trash": _news(trash.seen, known, settled_before, now)}
    wanted["any"] = _news(live.seen, known, settled_before, now) | ((due | again) - set(trash.seen))
    asks = [
        partial(shop.page, _by_id(batch, status)) for status in ("any", "trash") for batch in _batches(wanted[status])
    ]
    pages = await at_once(asks)
    payloads = tuple(row for page in pages for row in page.rows)
    unreadable = {key: known[key].outcome.detail for key in again - {str(row.get("id")) for row in payloads}}
    unreadable |= dict.fromkeys((key for page in pages for key in page.unreadable), CULPRIT)
    return Changes(payloads, now - OVERLAP, len(live.seen.keys() | trash.seen.keys()), unreadable)


def _is_to_be_asked_again(product: Product, now: datetime) -> bool:
    """Whether a product could not be read and it is time to try again."""
    look_again_at = product.outcome.next_retry_at
    return Reason.UNREADABLE in product.outcome.reasons and look_again_at is not None and look_again_at <= now


def _is_due(product: Product, now: datetime) -> bool:
    """Whether a scheduled product's time has come: its publication moves no date, so it is asked for."""
    return product.status == "future" and (product.created_in_shop_at is None or product.created_in_shop_at <= now)


def _news(seen: Mapping[str, _Seen], known: Mapping[str, Product], settled_before: datetime, now: datetime) -> set[str]:
    """Return the ids whose state may differ from what is known.

    Dates have whole seconds: a product changed twice within one keeps its date. So what changed
    shortly before the last read, or since, counts as news until a read lies well behind it.
    """

    def is_known(external_id: str, row: _Seen) -> bool:
        product = known.get(external_id)
        if product is None or row.modified_at is None:
            return False
        same = (product.status, product.modified_in_shop_at) == (row.status, row.modified_at)
        return same and (row.modified_at < settled_before or row.modified_at > now)

    return {external_id for external_id, row in seen.items() if not is_known(external_id, row)}


def _batches(ids: set[str]) -> list[list[str]]:
    ordered = sorted(ids, key=lambda external_id: (len(external_id), external_id))
    return [ordered[start : start + PER_PAGE] for start in range(0, len(ordered), PER_PAGE)]


def _by_id(ids: Sequence[str], status: str) -> Params:
    return {
        "status": status,
        "include": ",".join(ids),
        "orderby": "id",
        "order": "asc",
        "per_page": next(size for size in _BATCH_SIZES if size >= len(ids)),
        "page": 1,
        "_fields": FIELDS,
    }


class _Slide:
    """The sliding listing of one status; ``seen`` grows, by id."""

    def __init__(self, shop: Pages, status: str, cursor: datetime) -> None:
        self._shop = shop
        self._status = status
        self._cursor = cursor
        self.seen: dict[str, _Seen] = {}
        self._first: Page | None = None

    @property
    def date(self) -> datetime | None:
        """The shop's clock at the first answer."""
        return self._first.date if self._first else None

    async def read(self) -> None:
        """List everything modified after the cursor.

        Pages are stepped only where sliding does not help: within one second, or where rows do
        not ascend (WordPress sorts by local time, which turns back once a year). Stepped pages
        can skip a row when another one moves, so they are read until nothing new appears.
        """
        after = self._cursor
        while True:
            page = await self._ask(after, 1)
            fresh, last = self._take(page, after), page
            number = 1
            while (slide_to := _last_second(last, after)) is None and not _is_end(last, number):
                number += 1
                page = await self._ask(after, number)
                self._need_other_rows(last, page)
                fresh, last = self._take(page, after) + fresh, page
            if number > 1 and fresh:
                continue
            if slide_to is None or _is_end(last, number):
                break
            after = slide_to
        total = self._first.total if self._first else None
        if total is not None and len(self.seen) < total:
            await self._read_every_page()

    async def _read_every_page(self) -> None:
        """Look once more for rows that a slide passed by; usually they are merely hidden from the key."""
        for _ in range(_MOST_PASSES):
            number, fresh, page = 1, 0, await self._ask(self._cursor, 1)
            fresh += self._take(page, self._cursor)
            while not _is_end(page, number):
                number += 1
                before, page = page, await self._ask(self._cursor, number)
                self._need_other_rows(before, page)
                fresh += self._take(page, self._cursor)
            if not fresh:
                return

    async def _ask(self, after: datetime, number: int) -> Page:
        page = await self._shop.page(
            {
                "status": self._status,
                "orderby": "modified",
                "order": "asc",
                "per_page": PER_PAGE,
                "page": number,
                # Naive UTC with the flag: with a suffix WordPress would convert to the site's zone first.
                "modified_after": after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
                "dates_are_gmt": "true",
                "_fields": "id,status,date_modified_gmt",
            }
        )
        self._first = self._first or page
        return page

    def _take(self, page: Page, after: datetime) -> int:
        """Remember the rows not seen before and return how many they are.

        A row seen before that has moved since will be met by the next read: its new date is later
        than this read's first answer, and so than the next cursor.
        """
        fresh = 0
        for row in page.rows:
            modified_at = read_gmt(row.get("date_modified_gmt"))
            if modified_at is not None and modified_at <= after:
                msg = (
                    f"store {self._shop.store.id}: the shop lists product {row.get('id')} as modified after "
                    f"{after:%Y-%m-%dT%H:%M:%S} although its date is {modified_at:%Y-%m-%dT%H:%M:%S}: it ignores "
                    "modified_after; update WooCommerce to 5.8 or newer, or switch off the plugin that drops it"
                )
                raise ShopProtocolError(msg)
            external_id = product_id(row, store=self._shop.store)
            if external_id not in self.seen:
                self.seen[external_id] = _Seen(str(row.get("status")), modified_at)
                fresh += 1
        for external_id in page.unreadable:
            if external_id not in self.seen:
                self.seen[external_id] = _Seen("", None)
                fresh += 1
        return fresh

    def _need_other_rows(self, before: Page, page: Page) -> None:
        ids = [row.get("id") for row in page.rows]
        if ids and ids == [row.get("id") for row in before.rows]:
            msg = (
                f"store {self._shop.store.id}: the shop answers with the same products whatever page is asked for; a "
                "plugin or a cache drops the parameter page: exempt /wp-json/ from it"
            )
            raise ShopProtocolError(msg)


def _is_end(page: Page, number: int) -> bool:
    """Whether a listing ends with this page; by its total, for a short page may be any."""
    return not page.rows if page.total is None else number * PER_PAGE >= page.total


def _last_second(page: Page, after: datetime) -> datetime | None:
    """Return the second before the page's last row, if the listing can slide there."""
    dates = [date for row in page.rows if (date := read_gmt(row.get("date_modified_gmt")))]
    if not dates or dates != sorted(dates) or dates[-1] - _ONE_SECOND <= after:
        return None
    return dates[-1] - _ONE_SECOND
