"""Reads the variations of products, for stores with ``images: all``; any other makes no request here.

A parent's payload lists the ids of its variations, and they are fetched by id: without pages, no
row can move from one page to another. Saving, adding or deleting a variation saves its parent. So
the products that are news are those whose variations may have changed. A sweep reads them all.

WooCommerce 10.3 and newer returns the variations of many parents in one response. With an older
one, or where that request fails, each parent is asked separately, so that one broken variation
hides no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from fashion_pipeline.errors import ShopError, ShopUnavailable
from fashion_pipeline.shop.gallery import MAX_IMAGES, Variations
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.rest import Page, Params, Payload, gather_limited
from fashion_pipeline.stores import Store

_FIELDS = "id,status,image"
_IMAGE_FIELDS = ("id", "src", "date_modified_gmt")
_MAX_FAILURES = 5


class VariationPages(Protocol):
    """What reading variations needs of a shop; ``rest.Shop`` is one."""

    store: Store
    per_page: int

    async def variations(self, params: Params, *, parent_id: str | None = None) -> Page:
        """Fetch one page of the variations of a product, or of all products."""
        ...


async def read_variations(shop: VariationPages, payloads: Iterable[Payload]) -> dict[str, Variations]:
    """Read the variations of the products that may be published; return them by product id.

    A failed request loses no product: its variations are ``unread``, with the reason. After five
    failures in a row the rest stays unread too.

    Args:
        shop: gets no request if its store has ``images: primary``.
        payloads: of products. The first 1,000 variations of each are read.
    """
    if shop.store.images == "primary":
        return {}
    wanted = {product_id(payload, store=shop.store): ids for payload in payloads if (ids := _ids(payload))}
    reading = _Reading(shop, wanted)
    await reading.read()
    return {parent_id: reading.result(parent_id) for parent_id in wanted}


def _ids(payload: Payload) -> tuple[str, ...]:
    """Return the ids of a product's variations, in the shop's order; none for a product that cannot be published."""
    ids = payload.get("variations")
    if payload.get("status") != "publish" or payload.get("post_password") or not isinstance(ids, list):
        return ()
    numbers = (value for value in ids if isinstance(value, int) and not isinstance(value, bool) and value > 0)
    return tuple(dict.fromkeys(map(str, numbers)))[:MAX_IMAGES]


class _Reading:
    """Reads the variations of ``wanted`` parents: together where the shop can, else parent by parent."""

    def __init__(self, shop: VariationPages, wanted: Mapping[str, Sequence[str]]) -> None:
        self.shop = shop
        self.wanted = wanted
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.absent: set[str] = set()
        self.problems: dict[str, str] = {}
        self.together = len(wanted) > 1
        self.failures = 0

    async def read(self) -> None:
        if self.together:
            first, *others = self._batches([key for ids in self.wanted.values() for key in ids])
            await self._ask_together(first)
            await gather_limited([partial(self._ask_together, batch) for batch in others])
            self.failures = 0
        unread = [parent_id for parent_id, ids in self.wanted.items() if self._unread(ids)]
        await gather_limited([partial(self._ask_parent, parent_id) for parent_id in unread])

    def result(self, parent_id: str) -> Variations:
        ids = self.wanted[parent_id]
        unread = frozenset(self._unread(ids))
        problem = self.problems.get(parent_id, "the shop omits some of its variations from the response")
        rows = tuple(self.rows[key] for key in ids if key in self.rows)
        return Variations(rows, unread, problem if unread else "")

    async def _ask_together(self, ids: Sequence[str]) -> None:
        if not self.together:
            return
        try:
            self._take(ids, await self.shop.variations(self._params(ids)))
        except ShopError as error:
            # One broken variation, a shop that is down, or a WooCommerce without this route.
            self.failures += 1
            self.together = isinstance(error, ShopUnavailable) and self.failures < _MAX_FAILURES
        else:
            self.failures = 0

    async def _ask_parent(self, parent_id: str) -> None:
        for ids in self._batches(self._unread(self.wanted[parent_id])):
            if self.failures >= _MAX_FAILURES:
                self.problems[parent_id] = (
                    "its variations were not requested: too many requests for those of other products had failed"
                )
                return
            try:
                self._take(ids, await self.shop.variations(self._params(ids), parent_id=parent_id))
            except ShopError as error:
                self.failures += 1
                self.problems[parent_id] = f"its variations cannot be read: {error}"
                return
            self.failures = 0

    def _take(self, asked: Sequence[str], page: Page) -> None:
        """Keep the rows of a response. An id without a row is absent, unless the shop counts more than it shows."""
        rows = {str(row.get("id")): row for row in page.rows}
        for key in asked:
            if key in rows:
                self.rows[key] = _slim(key, rows[key])
            elif page.total == len(page.rows):
                self.absent.add(key)

    def _unread(self, ids: Sequence[str]) -> list[str]:
        return [key for key in ids if key not in self.rows and key not in self.absent]

    def _batches(self, ids: Sequence[str]) -> list[Sequence[str]]:
        return [ids[start : start + self.shop.per_page] for start in range(0, len(ids), self.shop.per_page)]

    def _params(self, ids: Sequence[str]) -> Params:
        return {"include": ",".join(ids), "per_page": self.shop.per_page, "page": 1, "_fields": _FIELDS}


def _slim(key: str, row: Payload) -> Mapping[str, Any]:
    """Keep of a variation only what its images need: there may be hundreds of thousands."""
    image = row.get("image")
    kept = {name: image.get(name) for name in _IMAGE_FIELDS} if isinstance(image, Mapping) else None
    return {"id": key, "status": row.get("status"), "image": kept}
