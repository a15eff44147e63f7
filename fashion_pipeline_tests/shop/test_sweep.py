from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.errors import ShopProtocolError, ShopUnavailable
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.shop import rest
from fashion_pipeline.shop.product import FIELDS
from fashion_pipeline.shop.read import OVERLAP
from fashion_pipeline.shop.rest import Page, Params, Shop
from fashion_pipeline.shop.sweep import Listing, sweep
from fashion_pipeline_tests.shop.conftest import NOW, StoppedClock, add_many, meanwhile, poisoned
from fashion_pipeline_tests.shop.lacking import Silent, without
from fashion_pipeline_tests.shop.recordings import body, replay

LONG_AGO = NOW - timedelta(days=30)


def listed(listing: Listing) -> list[int]:
    return [payload["id"] for payload in listing.payloads]


async def test_everything_is_listed(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A sweep brings every product of every status, trash included, page after page."""
    ids = add_many(model, 230, modified=LONG_AGO)
    model.edit(ids[5], status="draft")
    model.trash(ids[7])
    listing = await sweep(shop, clock=clock)
    assert sorted(listed(listing)) == ids
    assert listing.ids == {str(key) for key in ids}
    assert (listing.complete, listing.doubt, listing.empty) == (True, "", False)


async def test_progress(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Every page tells how many products were read so far, and of how many; the trash comes on top."""
    model.trash(add_many(model, 230, modified=LONG_AGO)[7])
    told: list[tuple[int, int | None]] = []
    await sweep(shop, clock=clock, progress=lambda done, total: told.append((done, total)))
    first, _second_or_third, *rest = told
    assert (first, rest) == ((100, 229), [(229, 229), (230, 230)])
    assert {total for _, total in told} == {229, 230}


async def test_what_a_sweep_asks_for(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Every field of every product, by descending id, in both states: what WooCommerce leaves out unless it is told."""
    await sweep(shop, clock=clock)
    queries = [parse_qs(asked.query) for asked in model.asked]
    assert [query.pop("status") for query in queries] == [["any"], ["trash"]]
    order = {"orderby": ["id"], "order": ["desc"], "per_page": ["100"], "page": ["1"], "_fields": [FIELDS]}
    assert len({query.pop("_")[0] for query in queries}) == len(queries)
    assert all(query == order for query in queries)


@pytest.mark.parametrize(("reader", "ahead"), [(Shop, timedelta(0)), (Silent, timedelta(hours=7))])
async def test_the_cursor_is_the_shops_first_answer(
    reader: type[Shop], ahead: timedelta, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """What changes during a sweep is left to the next read, by the shop's clock or, where it sends no Date, by ours."""
    clock.at = NOW + timedelta(hours=7)
    ids = add_many(model, 230, modified=LONG_AGO)

    def hour_passes() -> None:
        model.clock.advance(3600)
        clock.at += timedelta(hours=1)
        model.edit(ids[0])

    meanwhile(model, at_2=hour_passes)
    listing = await sweep(reader(shop.store, shop._web), clock=clock)
    assert listing.cursor == NOW + ahead - OVERLAP


@pytest.mark.parametrize(
    "event",
    [
        lambda model, ids: model.trash(ids[3]),
        lambda model, ids: model.force_delete(ids[3]),
        lambda model, _: model.add(created=LONG_AGO),
    ],
    ids=["trash", "delete", "insert"],
)
async def test_a_change_while_reading(
    event: Callable[[ModelShop, list[int]], object], shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """A listing whose total changed between pages is not believed, but read again."""
    ids = add_many(model, 450, modified=LONG_AGO)
    meanwhile(model, at_4=lambda: event(model, ids))
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert {payload["id"] for payload in listing.payloads} == set(model.products)
    assert len(model.asked) == 11


async def test_a_departure_hidden_by_an_arrival(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that leaves as another is created keeps the total, and pulls a third over a page's edge: read again."""
    ids = add_many(model, 450, modified=LONG_AGO)

    def swap() -> None:
        model.force_delete(ids[3])
        model.clock.advance(2)
        model.add()

    meanwhile(model, at_2=swap)
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert {payload["id"] for payload in listing.payloads} == set(model.products)


async def test_a_departure_hidden_by_an_import_with_an_old_date(
    shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """A product that leaves as another is imported keeps the total, and pulls no other over a page's edge."""
    ids = add_many(model, 450, modified=LONG_AGO)

    def swap() -> None:
        model.force_delete(ids[-3])
        model.add(created=LONG_AGO)

    meanwhile(model, at_2=swap)
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert {payload["id"] for payload in listing.payloads} >= set(ids) - {ids[-3]}


async def test_a_departure_hidden_by_a_return(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that leaves as another comes back from the trash keeps the total: its date shows it, so read again."""
    ids = add_many(model, 150, modified=LONG_AGO)
    model.trash(ids[3])
    model.clock.advance(3600)

    def swap() -> None:
        model.trash(ids[-3])
        model.untrash(ids[3])

    meanwhile(model, at_2=swap)
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert {payload["id"] for payload in listing.payloads} == set(ids)


async def test_an_edit_while_reading(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A shop that is edited all the time is read three times, and then believed: every absent product is asked for."""
    ids = add_many(model, 250, modified=LONG_AGO)
    meanwhile(model, **{f"at_{number}": lambda: model.edit(ids[0]) for number in (2, 5, 8)})
    listing = await sweep(shop, clock=clock)
    assert (listing.complete, len(listing.ids)) == (True, 250)
    assert len(model.asked) == 10


async def test_a_page_that_comes_twice(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A hundred products that arrive between two pages push the first page to the second: not the shop's fault."""
    ids = add_many(model, 250, modified=LONG_AGO)
    meanwhile(model, at_2=lambda: add_many(model, 100, modified=LONG_AGO))
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert {payload["id"] for payload in listing.payloads} == set(model.products) > set(ids)


async def test_an_answer_that_comes_twice(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A page that is the one before it, as of a cache, is read again: only the third time is it the shop's fault."""
    ids = add_many(model, 250, modified=LONG_AGO)
    stale = without("page", "page=1")
    left = 2

    def fault(request: Request) -> Response | None:
        nonlocal left
        if "&page=2" not in request.url.query or not left:
            return None
        left -= 1
        return stale(request)

    model.fault = fault
    listing = await sweep(shop, clock=clock)
    assert (listing.complete, sorted(listed(listing))) == (True, ids)


async def test_what_an_earlier_pass_met(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that leaves after it was listed is not of the shop any more, but what it was is not thrown away."""
    ids = add_many(model, 230, modified=LONG_AGO)

    class Poisoned(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            return replace(page, unreadable=("7777",)) if ids[-1] in model.products else page

    meanwhile(model, at_3=lambda: model.force_delete(ids[-1]))
    listing = await sweep(Poisoned(shop.store, shop._web), clock=clock)
    assert listing.complete
    assert listing.ids == set(map(str, ids[:-1]))
    assert sorted(listed(listing)) == ids
    assert listing.unreadable == {"7777"}


async def test_a_shop_that_never_rests(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """After three listings that disagree nothing is concluded from absence, and nothing seen is thrown away."""
    ids = add_many(model, 230, modified=LONG_AGO)
    events = {f"at_{number}": lambda: model.force_delete(min(model.products)) for number in (2, 5, 8)}
    meanwhile(model, **events)
    listing = await sweep(shop, clock=clock)
    assert not listing.complete
    assert "changed while they were read" in listing.doubt
    assert {payload["id"] for payload in listing.payloads} >= set(ids) & set(model.products)
    assert listing.ids == set(map(str, listed(listing)))


async def test_a_total_that_is_too_small(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Pages are planned by the total: one that a plugin counts too small proves nothing about what was not listed."""
    ids = add_many(model, 180, modified=LONG_AGO)

    class Miscounted(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            return replace(page, total=min(page.total or 0, 150))

    listing = await sweep(Miscounted(shop.store, shop._web), clock=clock)
    assert (listing.complete, listed(listing)) == (False, ids[::-1])
    assert "more products than X-WP-Total counts" in listing.doubt


async def test_ids_that_step_back(shop: Shop, clock: StoppedClock, model: ModelShop) -> None:
    """A listing whose ids repeat is not believed."""
    add_many(model, 230, modified=LONG_AGO)

    class Shuffled(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            return replace(page, rows=page.rows[-1:] + page.rows[:-1])

    listing = await sweep(Shuffled(shop.store, shop._web), clock=clock)
    assert not listing.complete
    assert "do not descend" in listing.doubt


async def test_hidden_products_are_counted(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Short pages are normal: the listing goes on, and is complete."""
    ids = add_many(model, 230, modified=LONG_AGO)

    class Hiding(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            return replace(page, rows=tuple(row for row in page.rows if row["id"] > ids[99]))

    listing = await sweep(Hiding(shop.store, shop._web), clock=clock)
    assert listed(listing) == ids[:99:-1]
    assert listing.complete


async def test_no_total(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Without X-WP-Total everything is read, and no absence is believed."""
    ids = add_many(model, 230, modified=LONG_AGO)
    listing = await sweep(Silent(shop.store, shop._web), clock=clock)
    assert listed(listing) == ids[::-1]
    assert not listing.complete
    assert "X-WP-Total" in listing.doubt


async def test_one_bad_product(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that cannot be encoded is there, unreadable; the listing is complete all the same."""
    ids = add_many(model, 130, modified=LONG_AGO)
    model.fault = poisoned(model, ids[17])
    listing = await sweep(shop, clock=clock)
    assert listing.complete
    assert listing.unreadable == {str(ids[17])}
    assert listing.ids == {str(key) for key in ids}
    assert listed(listing) == [key for key in ids[::-1] if key != ids[17]]


async def test_trashed_in_between(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product trashed after it was listed is listed in the trash too, and that counts."""
    ids = add_many(model, 3, modified=LONG_AGO)
    meanwhile(model, at_2=lambda: model.trash(ids[1]))
    listing = await sweep(shop, clock=clock)
    assert [payload["status"] for payload in listing.payloads] == ["publish", "trash", "publish"]


async def test_an_empty_shop(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A shop with nothing but trash is empty."""
    model.trash(model.add())
    listing = await sweep(shop, clock=clock)
    assert listing.empty
    assert listing.complete


@pytest.mark.parametrize("reader", [Shop, Silent])
async def test_a_shop_that_ignores_page(reader: type[Shop], shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """The same page for ever ends in an error that says so, and what to look for."""
    add_many(model, 230, modified=LONG_AGO)
    model.fault = without("page", "page=1")
    with pytest.raises(ShopProtocolError, match=r"whatever page is asked for; .* exempt /wp-json/"):
        await sweep(reader(shop.store, shop._web), clock=clock)


@pytest.mark.parametrize("reader", [Shop, Silent])
async def test_a_product_without_an_id(reader: type[Shop], shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A plugin that spoils the ids ends the sweep with an error that names the store."""

    def fault(request: Request) -> Response:
        rows = '[{"id": "x7", "name": "Coat"}]' if "&page=1&" in request.url.query else "[]"
        return Response(rows, headers={"x-wp-total": "1"})

    model.fault = fault
    with pytest.raises(ShopProtocolError, match="store atelier: a product came without a numeric id"):
        await sweep(reader(shop.store, shop._web), clock=clock)


async def test_an_interrupted_sweep(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A shop that goes into maintenance half-way ends the sweep with an error: nothing is concluded."""
    add_many(model, 330, modified=LONG_AGO)

    def fault(request: Request) -> Response | None:
        return replay("err_503_maintenance") if "&page=3&" in request.url.query else None

    model.fault = fault
    with pytest.raises(ShopUnavailable, match="600 s"):
        await sweep(shop, clock=clock)


async def test_recorded_pages(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Recorded rows, as pages of one listing, are read in order, and a total that they share is believed."""
    names = ["products_last_page_id_asc", "products_page2_id_asc", "products_page1_id_asc"]
    pages = [body(name)[::-1] for name in names]

    def fault(request: Request) -> Response:
        query = parse_qs(request.url.query)
        if query["status"] == ["trash"] or "exclude" in query:
            return replay("products_beyond_last")
        return Response(json.dumps(pages[int(query["page"][0]) - 1]), headers={"x-wp-total": "300"})

    model.fault = fault
    listing = await sweep(shop, clock=clock)
    assert listed(listing) == [row["id"] for page in pages for row in page]
    assert listing.complete


@pytest.mark.parametrize(
    ("rows", "total", "problem"),
    [
        (0, 99_999_999, "99,999,999 products in X-WP-Total; the limit is 500,000"),
        (0, 400_000, "counts 400,000 products, but 20 pages in a row are empty"),
        (1_001, 2_000, "1,001 products on one page; the limit is 1,000"),
        (100, 600_000, "600,000 products in X-WP-Total"),
    ],
)
async def test_a_listing_that_does_not_end(
    *, rows: int, total: int, problem: str, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """Absurd totals, empty pages and huge pages end the read after a few requests, with one sentence."""
    text = json.dumps([{"id": number} for number in range(rows, 0, -1)])
    model.fault = lambda _: Response(text, headers={"x-wp-total": str(total)})
    with pytest.raises(ShopProtocolError, match=problem):
        await sweep(shop, clock=clock)
    assert len(model.asked) <= 30


async def test_fresh_rows_without_an_end(
    shop: Shop, model: ModelShop, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shop without a total that invents products page after page is left at the limit."""
    monkeypatch.setattr(rest, "MOST_PRODUCTS", 1_000)

    def endless(request: Request) -> Response:
        first = 10**9 - 100 * int(request.query_params["page"])
        return Response(json.dumps([{"id": first + number} for number in range(100, 0, -1)]))

    model.fault = endless
    with pytest.raises(ShopProtocolError, match="lists more than 1,000 products, page after page"):
        await sweep(shop, clock=clock)
    assert len(model.asked) == 11
