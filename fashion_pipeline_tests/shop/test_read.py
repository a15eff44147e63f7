from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY
from urllib.parse import parse_qs

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import OK, Outcome, Reason, rejected
from fashion_pipeline.records import Product
from fashion_pipeline.shop.product import FIELDS, parse
from fashion_pipeline.shop.read import OVERLAP, Changes, read_changes
from fashion_pipeline.shop.rest import CULPRIT, Page, Params, Shop
from fashion_pipeline_tests.shop.conftest import NOW, StoppedClock, add_many, meanwhile, poisoned
from fashion_pipeline_tests.shop.lacking import Silent, without
from fashion_pipeline_tests.shop.recordings import body, replay

CURSOR = NOW - OVERLAP
LONG_AGO = NOW - timedelta(days=30)


async def known(shop: Shop, ids: Iterable[int]) -> dict[str, Product]:
    """Return the rows of an earlier read of these products."""
    rows: dict[str, Product] = {}
    for key in ids:
        payload = await shop.product(str(key))
        assert payload is not None
        row = parse(payload, store=shop.store, currency="EUR", now=NOW, first_seen_at=NOW)
        rows[str(key)] = row
    return rows


def found(changes: Changes | None) -> set[int]:
    assert changes is not None
    return {payload["id"] for payload in changes.payloads}


async def test_nothing_changed(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Where nothing changed a read costs two small requests, and the cursor moves with the shop's clock."""
    rows = await known(shop, [model.add(created=LONG_AGO)])
    model.asked.clear()
    model.clock.advance(3600)
    changes = await read_changes(shop, CURSOR, rows, clock=clock)
    assert changes == Changes((), NOW + timedelta(hours=1) - OVERLAP, 0)
    assert len(model.asked) == 2


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move this machine to Tokyo."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_what_a_read_asks_for(far_east: None, shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """The cursor is sent as naive UTC with ``dates_are_gmt``, in whatever zone we are, and trash is asked for too."""
    await read_changes(shop, CURSOR, {}, clock=clock)
    queries = [parse_qs(asked.query) for asked in model.asked]
    assert [query["status"] for query in queries] == [["any"], ["trash"]]
    for query in queries:
        assert query["modified_after"] == ["2026-11-20T16:45:00"]
        assert query["dates_are_gmt"] == ["true"]
        assert (query["orderby"], query["order"], query["per_page"]) == (["modified"], ["asc"], ["100"])


async def test_what_is_asked_by_id(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """News is asked for with every field, in an order by which a batch can be halved, as few at a time as there are."""
    ids = add_many(model, 3, modified=NOW - timedelta(seconds=600))
    await read_changes(shop, CURSOR, {}, clock=clock)
    assert len(model.asked) == 3
    query = parse_qs(model.asked[-1].query)
    *include, unknown = query.pop("include")[0].split(",")
    assert (sorted(include), len(unknown), query.pop("_")) == (sorted(map(str, ids)), 16, [ANY])
    assert query == {
        "status": ["any"],
        "orderby": ["id"],
        "order": ["asc"],
        "per_page": ["5"],
        "page": ["1"],
        "_fields": [FIELDS],
    }


def listings(model: ModelShop) -> list[dict[str, list[str]]]:
    """Return what the listing of everything was asked."""
    queries = [parse_qs(asked.query) for asked in model.asked if asked.path.endswith("/products")]
    return [query for query in queries if query["status"] == ["any"] and "include" not in query]


@pytest.mark.parametrize(("count", "requests"), [(100, 1), (101, 2), (250, 3)])
async def test_a_slide_reads_no_page_twice(
    count: int, requests: int, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """Changed products cost one request a hundred."""
    ids = add_many(model, count, modified=NOW - timedelta(seconds=600))
    (row,) = (await known(shop, ids[:1])).values()
    await read_changes(shop, CURSOR, dict.fromkeys(map(str, ids), row), clock=clock)
    assert len(listings(model)) == requests


async def test_a_full_second_is_stepped_through_alone(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """More products in one second than a page holds are read by id until that brings nothing new; the rest slides."""
    crowd = add_many(model, 150, modified=NOW - timedelta(seconds=600), every_s=0)
    others = add_many(model, 150, modified=NOW - timedelta(seconds=300))
    (row,) = (await known(shop, crowd[:1])).values()
    rows = {str(key): replace(row, modified_in_shop_at=LONG_AGO) for key in (*crowd, *others)}
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == {*crowd, *others}
    stepped = [query for query in listings(model) if "modified_before" in query]
    assert [query["page"][0] for query in stepped] == ["1", "2", "1", "2", "1"]
    for query in stepped:
        assert query["orderby"] == ["id"]
        assert (query["modified_after"], query["modified_before"]) == (["2026-11-20T16:49:59"], ["2026-11-20T16:50:01"])
    assert all(query["page"] == ["1"] for query in listings(model) if query not in stepped)


async def test_a_full_trash(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """More products than a page holds may move to the trash at once."""
    ids = add_many(model, 150, modified=LONG_AGO)
    (row,) = (await known(shop, ids[:1])).values()
    for key in ids:
        model.trash(key)
    model.clock.advance(600)
    assert found(await read_changes(shop, CURSOR, dict.fromkeys(map(str, ids), row), clock=clock)) == set(ids)


async def test_what_is_news(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """New, edited, trashed, restored and unpublished products are news, each with all its fields."""
    same, edited, trashed, restored, drafted = (model.add(created=LONG_AGO) for _ in range(5))
    model.trash(restored)
    rows = await known(shop, [same, edited, trashed, restored, drafted])
    model.clock.advance(600)
    model.edit(edited, price="12")
    model.trash(trashed)
    model.untrash(restored)
    model.edit(drafted, status="draft")
    added = model.add()
    changes = await read_changes(shop, CURSOR, rows, clock=clock)
    assert found(changes) == {edited, trashed, restored, drafted, added}
    assert changes is not None
    by_id = {payload["id"]: payload for payload in changes.payloads}
    assert by_id[edited]["price"] == "12"
    assert by_id[trashed]["status"] == "trash"


async def test_a_second_change_within_a_second(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product changed again in the second in which it was read is found by the next read, then left in peace."""
    product = model.add(created=LONG_AGO)
    model.edit(product, price="1")
    rows = await known(shop, [product])
    model.edit(product, price="2")
    model.clock.advance(300)
    changes = await read_changes(shop, CURSOR, rows, clock=clock)
    assert changes is not None
    assert [payload["price"] for payload in changes.payloads] == ["2"]
    model.clock.advance(60)
    later = await read_changes(shop, changes.cursor, await known(shop, [product]), clock=clock)
    assert found(later) == set()


@pytest.mark.parametrize(("seconds", "again"), [(-61, False), (-60, True), (360, True), (361, False)])
async def test_how_close_to_a_read_a_second_change_may_hide(
    *, seconds: int, again: bool, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """From a minute before the last read to a minute after this one: so far may the clocks of a shop's servers differ."""
    product = model.add(created=LONG_AGO, modified=NOW + timedelta(seconds=seconds))
    rows = await known(shop, [product])
    model.clock.advance(300)
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == ({product} if again else set())


EVENTS: dict[str, Callable[[ModelShop, list[int]], object]] = {
    "edit": lambda model, ids: model.edit(ids[3], price="7"),
    "trash": lambda model, ids: model.trash(ids[3]),
    "delete": lambda model, ids: model.force_delete(ids[3]),
    "insert": lambda model, _: model.add(),
    "insert an import with an old date": lambda model, ids: model.add(modified=model.products[ids[3]].modified),
}


@pytest.mark.parametrize("every_s", [1.0, 0.0, 0.01], ids=["seconds", "one second", "hundreds in a second"])
@pytest.mark.parametrize("when", [2, 4])
@pytest.mark.parametrize("silent", [False, True], ids=["total", "no total"])
@pytest.mark.parametrize("event", EVENTS)
async def test_nothing_is_lost_while_reading(
    *, event: str, silent: bool, when: int, every_s: float, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """No product that stays untouched is missed, whatever happens to others between two pages."""
    reader = Silent(shop.store, shop._web) if silent else shop
    ids = add_many(model, 250, modified=NOW - timedelta(seconds=600), every_s=every_s)
    meanwhile(model, **{f"at_{when}": lambda: EVENTS[event](model, ids)})
    assert found(await read_changes(reader, CURSOR, {}, clock=clock)) >= set(ids) - {ids[3]}


async def test_what_changes_while_reading_comes_with_the_next_read(
    shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """The cursor is taken from the first answer, so that a change behind the reader's back is found next time."""
    ids = add_many(model, 250, modified=NOW - timedelta(seconds=600))

    def change() -> None:
        model.clock.advance(1200)
        model.edit(ids[0], price="7")

    meanwhile(model, at_3=change)
    changes = await read_changes(shop, CURSOR, {}, clock=clock)
    assert changes is not None
    assert changes.cursor == CURSOR
    model.fault = None
    assert ids[0] in found(await read_changes(shop, changes.cursor, {}, clock=clock))


@pytest.mark.parametrize("count", [60, 150], ids=["on one page", "on pages of their own"])
async def test_the_hour_that_comes_twice(count: int, shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Rows are not lost where local time, by which WordPress sorts, turns back (Paris, 25 October 2026, 01:00 UTC)."""
    first = add_many(model, count, modified=datetime(2026, 10, 25, 0, 30, tzinfo=UTC), every_s=0.4)
    second = add_many(model, count, modified=datetime(2026, 10, 25, 1, 10, tzinfo=UTC), every_s=0.4)
    changes = await read_changes(shop, datetime(2026, 10, 25, tzinfo=UTC), {}, clock=clock)
    assert found(changes) == {*first, *second}


async def test_an_hour_that_comes_twice_while_the_shop_changes(
    shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """Rows that a slide passed by are missed in the count though as many others came meanwhile."""
    first = add_many(model, 3, modified=datetime(2026, 10, 25, 0, 50, tzinfo=UTC))
    second = add_many(model, 150, modified=datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
    others = add_many(model, 3, modified=LONG_AGO - timedelta(days=30))
    model.clock.set(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))

    def edit_others() -> None:
        for product in others:
            model.edit(product)

    meanwhile(model, at_2=edit_others)
    changes = await read_changes(shop, datetime(2026, 10, 25, tzinfo=UTC), {}, clock=clock)
    assert found(changes) >= {*first, *second}


async def test_future_dates(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product dated in the future is read once, is no news afterwards, and does not hold the cursor."""
    future = model.add(created=LONG_AGO, modified=NOW + timedelta(days=1000))
    changes = await read_changes(shop, CURSOR, {}, clock=clock)
    assert found(changes) == {future}
    assert changes is not None
    assert changes.cursor == CURSOR
    model.clock.advance(3600)
    edited = model.add()
    assert found(await read_changes(shop, CURSOR, await known(shop, [future]), clock=clock)) == {edited}


async def test_pages_of_the_future(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Products dated in the future fill pages of their own: all are read, and once known, each page by id once."""
    ids = add_many(model, 250, modified=NOW + timedelta(days=1000))
    changes = await read_changes(shop, CURSOR, {}, clock=clock)
    assert changes is not None
    assert (found(changes), changes.cursor) == (set(ids), CURSOR)
    rows = await known(shop, ids)
    model.asked.clear()
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == set()
    assert [query["page"] for query in listings(model)] == [["1"], ["1"], ["3"], ["2"]]


@pytest.mark.parametrize("late", [timedelta(0), timedelta(hours=8)])
@pytest.mark.parametrize("modified", [None, LONG_AGO])
async def test_a_scheduled_product_is_published(
    late: timedelta, modified: datetime | None, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """Publication by cron moves no date, and is found however late it comes."""
    due = NOW + timedelta(hours=1)
    product = model.add(created=due, modified=modified, status="future")
    rows = await known(shop, [product])
    model.clock.set(due + late)
    before = await read_changes(shop, CURSOR, rows, clock=clock)
    assert before is not None
    assert [payload["status"] for payload in before.payloads] == ["future"]
    assert model.run_cron() == [product]
    changes = await read_changes(shop, before.cursor, rows, clock=clock)
    assert changes is not None
    assert [payload["status"] for payload in changes.payloads] == ["publish"]


@pytest.mark.parametrize(("created", "asked"), [(timedelta(0), True), (None, True), (timedelta(seconds=1), False)])
async def test_when_a_scheduled_product_is_due(
    *, created: timedelta | None, asked: bool, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """It is asked for from the second of its date on, or always where that is not known; not before."""
    product = model.add(created=NOW + timedelta(hours=1), modified=LONG_AGO, status="future")
    rows = await known(shop, [product])
    date = None if created is None else NOW + created
    due = {key: replace(row, created_in_shop_at=date) for key, row in rows.items()}
    changes = await read_changes(shop, CURSOR, due, clock=clock)
    assert found(changes) == ({product} if asked else set())


async def test_a_scheduled_product_that_was_deleted(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A scheduled product that the shop has no more is not asked for when its time comes."""
    product = model.add(created=NOW - timedelta(hours=1), modified=LONG_AGO, status="future")
    rows = await known(shop, [product])
    model.force_delete(product)
    model.asked.clear()
    deleted = {key: replace(row, outcome=rejected(Reason.DELETED)) for key, row in rows.items()}
    await read_changes(shop, CURSOR, deleted, clock=clock)
    assert len(model.asked) == 2


async def test_listed_and_then_left_out(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that is hidden between the listing and the question has a reason, so that it is asked for again."""
    product = model.add(created=LONG_AGO)
    rows = await known(shop, [product])
    model.edit(product, price="7")

    class Hiding(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            return replace(page, rows=()) if "include" in params else page

    changes = await read_changes(Hiding(shop.store, shop._web), CURSOR, rows, clock=clock)
    assert changes is not None
    assert changes.payloads == ()
    assert list(changes.unreadable) == [str(product)]
    assert "hidden from the key" in changes.unreadable[str(product)]


@pytest.mark.parametrize("places", [slice(20, 60), slice(120)], ids=["some", "a page"])
async def test_hidden_products(places: slice, shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A short page, or an empty one, is not the last one: products the key may not see are left out, and counted."""
    ids = add_many(model, 250, modified=NOW - timedelta(seconds=600))
    hidden = set(ids[places])

    class Hiding(Shop):
        async def page(self, params: Params) -> Page:
            page = await super().page(params)
            rows = tuple(row for row in page.rows if row["id"] not in hidden)
            return replace(page, rows=rows)

    hiding = Hiding(shop.store, shop._web)
    assert found(await read_changes(hiding, CURSOR, {}, clock=clock)) == set(ids) - hidden


async def test_a_shop_that_ignores_page(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """The same page for ever ends in an error that says so, and what to look for."""
    add_many(model, 250, modified=NOW - timedelta(seconds=60), every_s=0)
    model.fault = without("page", "page=1")
    with pytest.raises(ShopProtocolError, match=r"whatever page is asked for; .* exempt /wp-json/"):
        await read_changes(shop, CURSOR, {}, clock=clock)


async def test_a_page_that_comes_again(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A page that is the one before it is read again: only the third time is it the shop's fault."""
    ids = add_many(model, 250, modified=NOW - timedelta(seconds=60), every_s=0)
    stale = without("page", "page=1")
    left = 2

    def fault(request: Request) -> Response | None:
        nonlocal left
        if "&page=3" not in request.url.query or not left:
            return None
        left -= 1
        return stale(request)

    model.fault = fault
    assert found(await read_changes(shop, CURSOR, {}, clock=clock)) == set(ids)
    assert not left


async def test_a_shop_that_ignores_modified_after(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A WooCommerce before 5.8, which lists everything, ends in an error that names the version."""
    product = model.add(created=LONG_AGO, modified=CURSOR)
    model.fault = without("modified_after", "dates_are_gmt=true")
    with pytest.raises(ShopProtocolError, match=rf"store atelier: .* product {product} .* WooCommerce to 5\.8"):
        await read_changes(shop, CURSOR, {}, clock=clock)


async def test_no_total(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Without X-WP-Total the listing ends where a page is empty."""
    ids = add_many(model, 150, modified=NOW - timedelta(seconds=600))
    changes = await read_changes(Silent(shop.store, shop._web), CURSOR, {}, clock=clock)
    assert found(changes) == set(ids)


async def test_no_date(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """Where the shop sends no Date, the local clock stands in."""

    def fault(request: Request) -> Response:
        return Response("[]", headers={"x-wp-total": "0", "date": ""})

    model.fault = fault
    clock.at = NOW + timedelta(minutes=2)
    changes = await read_changes(shop, CURSOR, {}, clock=clock)
    assert changes is not None
    assert changes.cursor == NOW + timedelta(minutes=2) - OVERLAP


@pytest.mark.parametrize(("minutes", "swept"), [(5, False), (6, True), (60, True)])
async def test_the_shops_clock_goes_back(
    *, minutes: int, swept: bool, shop: Shop, model: ModelShop, clock: StoppedClock
) -> None:
    """Where the shop's clock is far behind its last answer dates prove nothing: the caller is told to sweep."""
    model.clock.advance(-60 * minutes)
    assert (await read_changes(shop, CURSOR, {}, clock=clock) is None) == swept


async def test_a_second_change_by_a_clock_that_is_behind(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A second change in the second of the last read is found though the next answer's clock is a little behind."""
    product = model.add()
    rows = await known(shop, [product])
    model.edit(product, price="7")
    model.clock.advance(-1)
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == {product}


async def test_recorded_rows(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """The recorded listings, with rows dated 2027 and 2029, are read, and the cursor stays in the present."""

    def fault(request: Request) -> Response:
        query = parse_qs(request.url.query)
        if "include" in query or "exclude" in query:
            return Response("[]", headers={"x-wp-total": "0"})
        response = replay(
            "products_trash_modified_after" if query["status"] == ["trash"] else "products_orderby_modified_asc"
        )
        del response.headers["x-wp-totalpages"]  # recorded with smaller pages than are asked for here
        return response

    model.fault = fault
    rows = body("products_orderby_modified_asc")
    changes = await read_changes(shop, datetime(2026, 11, 20, 15, 0, tzinfo=UTC), {}, clock=clock)
    assert changes is not None
    assert changes.listed == len(rows) + 1
    assert changes.cursor == CURSOR


async def test_a_product_that_breaks_its_batch(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product that cannot be encoded is named with the reason; the others of its batch are read."""
    ids = add_many(model, 30, modified=NOW - timedelta(seconds=600))
    model.fault = poisoned(model, ids[7])
    changes = await read_changes(shop, CURSOR, {}, clock=clock)
    assert found(changes) == set(ids) - {ids[7]}
    assert changes is not None
    assert changes.unreadable == {str(ids[7]): CULPRIT}


async def test_a_product_that_breaks_the_listing(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A product whose very status cannot be encoded is asked for by its id, and named with the reason."""
    ids = add_many(model, 30, modified=NOW - timedelta(seconds=600))
    rows = await known(shop, ids[5:])
    model.fault = poisoned(model, ids[7], fields="status")
    changes = await read_changes(shop, CURSOR, rows, clock=clock)
    assert found(changes) == set(ids[:5])
    assert changes is not None
    assert (changes.listed, changes.unreadable) == (30, {str(ids[7]): CULPRIT})


@pytest.mark.parametrize("where", ["modified_after", "include"])
async def test_a_product_without_an_id(where: str, shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A plugin that spoils the ids, in the listing or in the answer by id, ends the read with the store's name."""
    model.add()
    spoilt = '[{"id": "x7", "date_modified_gmt": "2026-11-20T16:59:00"}]'
    model.fault = lambda request: Response(spoilt) if f"&{where}=" in request.url.query else None
    with pytest.raises(ShopProtocolError, match="store atelier: a product came without a numeric id"):
        await read_changes(shop, CURSOR, {}, clock=clock)


async def test_what_could_not_be_read_is_asked_again(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """An unreadable product is asked for when its time has come, though its date does not move."""
    product = model.add(created=LONG_AGO)
    (row,) = (await known(shop, [product])).values()
    outcome = Outcome(OK.status, (Reason.UNREADABLE,), "why", 1, NOW + timedelta(minutes=5))
    rows = {row.external_id: replace(row, outcome=outcome)}
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == set()
    clock.at = NOW + timedelta(minutes=5)
    assert found(await read_changes(shop, CURSOR, rows, clock=clock)) == {product}
    model.trash(product)
    model.products[product].modified = LONG_AGO
    changes = await read_changes(shop, CURSOR, rows, clock=clock)
    assert changes is not None
    assert changes.unreadable == {str(product): "why"}
