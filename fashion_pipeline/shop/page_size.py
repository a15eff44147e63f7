"""How many products a shop really puts on a page.

A theme or a host may lower ``per_page`` without an error. Numbered pages are then shorter than
they seem, and the last ones are never asked for. The other cause of a short page is harmless:
WooCommerce omits products that the key may not see, and counts them.
"""

from __future__ import annotations

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.rest import Page, Pages, Params


async def fit_page_size(shop: Pages, params: Params, page: Page) -> bool:
    """Lower ``shop.per_page`` to what the shop puts on a page; return whether it was lowered.

    A short first page is followed by one request for what it lacks, unless X-WP-TotalPages already
    says that the pages are smaller than asked for.

    Args:
        shop: its ``per_page`` is lowered.
        params: of the request for page 1.
        page: its response.

    Raises:
        ShopProtocolError: the shop ignores the parameters of the request.
    """
    if not page.rows and page.total:  # all of them hidden: the other end shows how large a page is
        params = {**params, "order": "desc" if params["order"] == "asc" else "asc"}
        page = await shop.page(params)
    rows = len(page.rows) + len(page.unreadable)
    asked = int(params["per_page"])
    total = page.total
    if not page.rows or rows >= (asked if total is None else min(asked, total)):
        return False
    if (page.pages or 0) <= -(-(rows if total is None else total) // asked):
        seen = {product_id(row, store=shop.store) for row in page.rows} | set(page.unreadable)
        others = await shop.page({**params, "exclude": ",".join(sorted(seen - {""}))})
        if not {product_id(row, store=shop.store) for row in others.rows} - seen:
            if others.rows:
                _raise_ignored(shop)
            return False
    shop.per_page = rows
    return True


def _raise_ignored(shop: Pages) -> None:
    msg = (
        f"{shop.store.url} lists the same products whatever is asked for; a plugin or a cache drops the request's "
        "parameters"
    )
    raise ShopProtocolError(msg, store_id=shop.store.id, advice="exempt /wp-json/ from it")
