"""One store's REST API: pages of products, one product, and the currency.

A store is read with GET only, from ``<url>/wp-json/wc/v3/``. The Link header is never followed:
WooCommerce copies the query into it, keys included.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from fashion_pipeline.errors import ShopAuthError, ShopError, ShopProtocolError, WebError
from fashion_pipeline.shop.answers import (
    INVALID_ID,
    asked,
    broken,
    error_code,
    not_json,
    read_date,
    read_json,
    refusal,
)
from fashion_pipeline.shop.auth import authentication
from fashion_pipeline.shop.product import FIELDS
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Limits, Reply, Web

PER_PAGE = 100
"""The most products that WooCommerce puts on one page."""
MAX_CONCURRENT = 4
"""Concurrent requests to one shop; more do not make it faster."""

CULPRIT = "the shop answers 500 whenever this product is in the response; find the plugin that breaks it"
"""The detail of a product that is ``unreadable`` for this cause."""

Params = Mapping[str, str | int]
Payload = Mapping[str, Any]
Answer = TypeVar("Answer")

_LIMITS = Limits(max_bytes=64 * 1024 * 1024, deadline_s=120)
_LIMITS_OF_A_PART = Limits(max_bytes=64 * 1024 * 1024, deadline_s=120, attempts=2)
_MOST_UNREADABLE = 10
_LONGEST_TOTAL = 8
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Attributes:
        rows: the payloads. A short page need not be the last one: WooCommerce omits what the key
            may not see, and counts it.
        total: X-WP-Total, of the whole listing; None without that header.
        date: the shop's clock at the (first) response; None without a Date header.
        unreadable: ids of products that make the shop fail whenever they are in the response.
        steady: False where the page was read in parts and the total changed between them.
    """

    rows: tuple[Payload, ...]
    total: int | None
    date: datetime | None
    unreadable: tuple[str, ...] = ()
    steady: bool = True


class Pages(Protocol):
    """What reading a listing needs of a shop. A request asks for ``per_page`` rows."""

    store: Store
    per_page: int

    async def page(self, params: Params) -> Page:
        """Fetch one page of ``/products``."""
        ...


class _PageFails(Exception):  # never leaves this module
    """The shop fails on this page. One product in it may be the cause."""

    def __init__(self, error: ShopError, reply: Reply) -> None:
        super().__init__(str(error))
        self.error = error
        self.reply = reply


class Shop:
    """One store's REST API.

    Args:
        store: the store of this shop.
        web: sends the requests.
        per_page: products on one page of a listing, at most ``PER_PAGE``.
        limits: of each request.

    Every method raises:
        ShopAuthError: the shop refuses the keys.
        ShopProtocolError: the response is not WooCommerce's.
        ShopUnavailable: the shop is down, slow or in maintenance.
        ShopError: requests to its address are not allowed.
    """

    def __init__(self, store: Store, web: Web, *, per_page: int = PER_PAGE, limits: Limits = _LIMITS) -> None:
        self.store = store
        self.per_page = per_page
        self._limits = limits
        self._web = web
        self._auth = authentication(store)

    async def page(self, params: Params) -> Page:
        """Fetch one page of ``/products``, with ``per_page`` and ``page`` among the parameters.

        One product that cannot be encoded makes WooCommerce answer 500 for its whole page. Then
        the page is read in smaller and smaller parts, and the product is named in ``unreadable``.
        """
        try:
            return await self._page(params, self._limits)
        except _PageFails as failure:
            await self._raise_if_down(failure.error)
            parts = await self._parts(params, failure)
            return _joined(parts)

    async def product(self, external_id: str) -> dict[str, Any] | None:
        """Fetch one product by its id, even from the trash; None where WooCommerce says that it does not exist."""
        path = f"products/{quote(external_id, safe='')}"
        reply = await self._get(path, {"_fields": FIELDS}, self._limits)
        if reply.status == 404 and error_code(reply) == INVALID_ID:
            return None
        value = self._value(reply, path)
        if not isinstance(value, dict) or str(value.get("id")) != external_id:
            msg = f"{asked(self.store, path)} did not answer with that product"
            advice = "exempt /wp-json/ from the cache in front of the shop"
            raise ShopProtocolError(msg, store_id=self.store.id, advice=advice)
        return value

    async def variations(self, params: Params, *, parent_id: str | None = None) -> Page:
        """Fetch one page of the variations of a product, or (WooCommerce 10.3 and newer) of all products."""
        path = "variations" if parent_id is None else f"products/{quote(parent_id, safe='')}/variations"
        try:
            return await self._page(params, self._limits, path=path)
        except _PageFails as failure:
            raise failure.error from None

    async def currency(self) -> str:
        """Return the ISO 4217 code from ``stores.yaml`` or from the shop.

        Raises:
            ShopError: neither has one; there is no default.
        """
        if self.store.currency is not None:
            return self.store.currency
        problem = ""
        for path, key in (("settings/general/woocommerce_currency", "value"), ("data/currencies/current", "code")):
            try:
                value = self._value(await self._get(path, {"_fields": key}, self._limits), path)
            except (ShopAuthError, ShopProtocolError) as error:
                problem = problem or error.sentence
                continue
            code = value.get(key) if isinstance(value, dict) else None
            if isinstance(code, str) and _CURRENCY.fullmatch(code):
                return code
        if problem:  # if the keys open nothing at all, raise that instead
            await self.page({"per_page": 1, "page": 1, "_fields": "id"})
        msg = "the shop's currency cannot be read with this key"
        advice = f"set `currency:` (such as EUR) for this store in stores.yaml. {problem}".strip()
        raise ShopError(msg, store_id=self.store.id, advice=advice)

    async def _page(self, params: Params, limits: Limits, *, path: str = "products") -> Page:
        reply = await self._get(path, params, limits)
        if reply.status == 500:
            raise _PageFails(refusal(reply, store=self.store, path=path), reply)
        value = self._value(reply, path)
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            msg = f"{asked(self.store, path)} answered 200 but not with a list of products"
            advice = "a plugin changes the response: switch plugins off one by one to find it"
            raise ShopProtocolError(msg, store_id=self.store.id, advice=advice)
        return Page(tuple(value), read_total(reply), read_date(reply))

    async def _raise_if_down(self, error: ShopError) -> None:
        """Raise the error of a page if the whole shop is down: then no other address answers either."""
        reply = await self._get("data/currencies/current", {"_fields": "code"}, _LIMITS_OF_A_PART)
        if reply.status >= 500:
            raise error

    async def _parts(self, params: Params, failure: _PageFails) -> list[Page]:
        """Read a failing page in smaller pages that cover it exactly."""
        per_page, number = int(params.get("per_page", PER_PAGE)), int(params.get("page", 1))
        if per_page == 1:
            return [await self._culprit(params, failure.reply)]
        smaller = next(size for size in range(per_page // 2, 0, -1) if per_page % size == 0)
        count = per_page // smaller
        parts: list[Page] = []
        for step in range(count):
            part = {**params, "per_page": smaller, "page": (number - 1) * count + step + 1}
            try:
                parts.append(await self._page(part, _LIMITS_OF_A_PART))
            except _PageFails as smaller_failure:
                parts.extend(await self._parts(part, smaller_failure))
            if sum(bool(page.unreadable) for page in parts) > _MOST_UNREADABLE:
                raise failure.error
        return parts

    async def _culprit(self, params: Params, reply: Reply) -> Page:
        """Find the id of the product on a page of one; the id alone can usually be encoded."""
        try:
            thin = await self._page({**params, "_fields": "id"}, _LIMITS_OF_A_PART)
        except _PageFails:
            return Page((), read_total(reply), read_date(reply), ("",))
        return Page((), thin.total, thin.date, tuple(str(row.get("id")) for row in thin.rows))

    def _value(self, reply: Reply, path: str) -> Any:
        if reply.status != 200:
            raise refusal(reply, store=self.store, path=path)
        try:
            return read_json(reply.body)
        except ValueError as error:
            raise not_json(reply, error, store=self.store, path=path) from error

    async def _get(self, path: str, params: Params, limits: Limits) -> Reply:
        url = f"{self.store.url}/wp-json/wc/v3/{path}?{urlencode(params, quote_via=quote)}"
        try:
            return await self._web.get(url, limits=limits, auth=self._auth, raw=True, encodings=True)
        except WebError as error:
            raise broken(error, store=self.store) from error


async def gather_limited(asks: Sequence[Callable[[], Awaitable[Answer]]]) -> list[Answer]:
    """Make requests, at most ``MAX_CONCURRENT`` at a time; return the results in order. The first error cancels the rest."""
    answers: dict[int, Answer] = {}
    waiting = iter(enumerate(asks))

    async def work() -> None:
        for place, ask in waiting:
            answers[place] = await ask()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(MAX_CONCURRENT, len(asks))):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [answers[place] for place in range(len(asks))]


def _joined(parts: Sequence[Page]) -> Page:
    totals = {part.total for part in parts}
    return Page(
        rows=tuple(row for part in parts for row in part.rows),
        total=parts[0].total,
        date=next((part.date for part in parts if part.date), None),
        unreadable=tuple(external_id for part in parts for external_id in part.unreadable if external_id),
        steady=len(totals) == 1,
    )


def read_total(reply: Reply) -> int | None:
    """Return X-WP-Total; None without it, or where it is not a plausible number."""
    value = reply.headers.get("x-wp-total", "").strip()
    return int(value) if value.isdecimal() and len(value) <= _LONGEST_TOTAL else None
