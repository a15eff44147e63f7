"""The classic bug of readers of listings: what was not read is taken for what is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fashion_pipeline.errors import ShopError
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.records import Product, Table
from fashion_pipeline.shop.catalogue import read_catalogue
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline_tests.shop.conftest import NOW, StoppedClock, add_many

PAGES, PER_PAGE, UNREADABLE = 100, 2, 60

ANSWERS: dict[str, Callable[[], Response]] = {
    "500": lambda: Response("<h1>Error</h1>", 500),
    "403": lambda: Response("<h1>Sorry, you have been blocked</h1>", 403),
    "503": lambda: Response("<h1>Maintenance</h1>", 503),
    "404": lambda: JSONResponse({"code": "rest_no_route", "message": "No route", "data": {"status": 404}}, 404),
    "a page": lambda: Response("<h1>Welcome</h1>", 200),
    "nothing": lambda: JSONResponse([], headers={"X-WP-Total": str(PAGES * PER_PAGE), "X-WP-TotalPages": str(PAGES)}),
    "nothing at all": lambda: JSONResponse([]),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_sixty_of_a_hundred_unreadable_pages_remove_nothing(
    answer: str, store: Store, web: Web, clock: StoppedClock, model: ModelShop
) -> None:
    """However pages fail, every product stays as it was; once they can be read, what really left leaves, and only that."""
    ids = add_many(model, PAGES * PER_PAGE, modified=NOW - timedelta(days=30))
    shop = Shop(store, web, per_page=PER_PAGE)

    async def read(previous: Table[Product] | None, *, sweep: bool) -> Table[Product]:
        clock.at += timedelta(days=1)
        model.clock.advance(86_400)
        table, _ = await read_catalogue(
            store=store, shop=shop, previous=previous, clock=clock, sweep=sweep, allow_removals=False
        )
        return table

    def fault(request: Request) -> Response | None:
        listing = request.url.path.endswith("/products") and "include" not in request.query_params
        page = int(request.query_params.get("page", 1))
        return ANSWERS[answer]() if listing and page > PAGES - UNREADABLE else None

    table = before = await read(None, sweep=True)
    assert len(before.rows) == PAGES * PER_PAGE
    deleted, trashed = ids[0], ids[-1]
    model.force_delete(deleted)
    model.fault = fault
    for sweep in (True, False, True):
        with contextlib.suppress(ShopError):
            table = await read(table, sweep=sweep)
        assert {row.external_id for row in table.rows if not row.outcome.ok} <= {str(deleted)}
        assert len(table.rows) == len(before.rows)
    model.fault = None
    model.trash(trashed)
    table = await read(table, sweep=True)
    left = {row.external_id: row.outcome.reasons for row in table.rows if not row.outcome.ok}
    assert left == {str(deleted): (Reason.DELETED,), str(trashed): (Reason.TRASHED,)}
