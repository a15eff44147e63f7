"""Asks again for what a sweep shows changed: a cache may have answered with the listing of yesterday.

Dates do not tell an old state from a new one: post meta moves none, and a shop's clock may have been
set back. So a change counts only if a request that no cache can have seen shows it. Most changes
are known from incremental reads by then, so this takes few requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fashion_pipeline.records import Product
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.read import fetch_by_id
from fashion_pipeline.shop.rest import Pages, Payload


async def confirm(shop: Pages, merge: Merge, seen: Seen, *, currency: str) -> Seen:
    """Return what was seen, with a fresh payload for each doubtful product.

    A doubtful product that is not in the fresh response keeps its row: nothing is concluded about it.

    Raises:
        ShopError: the shop cannot be read.
    """
    restarted = dict(merge.restarted)
    after = merge.apply(seen, currency=currency)
    merge.restarted.clear()
    merge.restarted.update(restarted)
    by_id = {product_id(payload, store=merge.store): payload for payload in seen.payloads}
    doubtful = {key for key in by_id if key in merge.before and _content(merge.before[key]) != _content(after[key])}
    if not doubtful:
        return seen
    fresh = await _fetch(shop, doubtful)
    kept = {key: payload for key, payload in by_id.items() if key not in doubtful} | fresh
    return replace(seen, payloads=tuple(kept.values()))


def _content(row: Product) -> tuple[object, ...]:
    return row.content_hash, row.status, row.created_in_shop_at, row.outcome.status, row.outcome.reasons


async def _fetch(shop: Pages, ids: Iterable[str]) -> dict[str, Payload]:
    """Fetch products by id: the live ones, then of the others those in the trash."""
    found: dict[str, Payload] = {}
    for status in ("any", "trash"):
        pages = await fetch_by_id(shop, {status: set(ids) - found.keys()})
        found |= {product_id(row, store=shop.store): row for page in pages for row in page.rows}
    return {key: row for key, row in found.items() if key in set(ids)}
