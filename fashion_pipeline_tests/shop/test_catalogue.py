from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.errors import ShopError, ShopUnavailable
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import OK, Outcome, Reason, Status
from fashion_pipeline.records import Product, Table
from fashion_pipeline.shop.catalogue import ReadCounts, read_catalogue
from fashion_pipeline.shop.news import recent_changes
from fashion_pipeline.shop.read import OVERLAP
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline_tests.shop.conftest import NOW, MakeStore, StoppedClock, add_many, web_of
from fashion_pipeline_tests.shop.recordings import replay
from fashion_pipeline_tests.shop.test_rest import poisoned

LONG_AGO = NOW - timedelta(days=30)

Read = tuple[Table[Product], ReadCounts]


class Reader:
    """Reads the model shop again and again, as runs do; every read starts a minute after the one before."""

    def __init__(self, store: Store, web: Web, clock: StoppedClock, model: ModelShop) -> None:
        self.store = store
        self.web = web
        self.clock = clock
        self.model = model
        self.table: Table[Product] | None = None
        self.counts: ReadCounts | None = None

    async def read(
        self,
        *,
        sweep: bool = False,
        allow_removals: bool = False,
        known_first_seen: Mapping[str, datetime] | None = None,
        known_live: Collection[str] = (),
        purged: Collection[str] = (),
    ) -> ReadCounts:
        self.clock.at += timedelta(minutes=1)
        self.model.clock.advance(60)
        self.model.asked.clear()
        self.table, self.counts = await read_catalogue(
            store=self.store,
            shop=Shop(self.store, self.web),
            previous=self.table,
            clock=self.clock,
            sweep=sweep,
            allow_removals=allow_removals,
            known_first_seen=known_first_seen,
            known_live=known_live,
            purged=purged,
        )
        return self.counts

    def row(self, product_id: int) -> Product:
        assert self.table is not None
        return next(row for row in self.table.rows if row.external_id == str(product_id))

    @property
    def metadata(self) -> Mapping[str, str]:
        assert self.table is not None
        return self.table.metadata

    @property
    def requests(self) -> list[str]:
        return [asked.path.partition("/wp-json/wc/v3/")[2] for asked in self.model.asked]


@pytest.fixture
def reader(store: Store, web: Web, clock: StoppedClock, model: ModelShop) -> Reader:
    return Reader(store, web, clock, model)


async def test_the_first_read(reader: Reader, model: ModelShop, tmp_path: Any) -> None:
    """The first read is a sweep; its table has every product, a cursor, and survives being stored."""
    good, bare = add_many(model, 1, modified=LONG_AGO)[0], model.add(created=LONG_AGO)
    counts = await reader.read()
    assert (counts.read, counts.new, counts.publishable, counts.rows, counts.complete) == ("sweep", 2, 1, 2, True)
    assert reader.row(good).outcome.ok
    assert reader.row(good).first_seen_at == NOW + timedelta(minutes=1)
    assert reader.row(bare).outcome.reasons == (Reason.NO_IMAGE, Reason.NO_PRICE)
    assert reader.metadata["cursor"] == (NOW + timedelta(minutes=1) - OVERLAP).isoformat()
    assert reader.metadata["store_url"] == reader.store.url
    assert reader.metadata["currency"] == "EUR"
    path = tmp_path / "table.parquet"
    assert reader.table is not None
    write_table(path, reader.table, Product)
    assert read_table(path, Product) == reader.table


async def test_an_unchanged_shop(reader: Reader, model: ModelShop) -> None:
    """Where nothing changed a read costs two requests and keeps every row."""
    add_many(model, 5, modified=LONG_AGO)
    await reader.read()
    assert reader.table is not None
    rows = reader.table.rows
    counts = await reader.read()
    assert (counts.read, counts.new, counts.changed, counts.listed) == ("incremental", 0, 0, 0)
    assert reader.requests == ["products", "products"]
    assert reader.table.rows == rows


THOUSANDS = 3000


@pytest.mark.parametrize(("ahead", "every_s"), [(0, 0), (101, 0), (350, 0), (350, 1)], ids=lambda value: f"{value}")
async def test_requests_for_an_unchanged_shop(ahead: int, every_s: int, reader: Reader, model: ModelShop) -> None:
    """Of 3,000 unchanged products a poll and a read cost two requests each, and one per hundred dated in the future."""
    add_many(model, THOUSANDS - ahead, modified=LONG_AGO)
    add_many(model, ahead, modified=NOW + timedelta(days=1), every_s=every_s)
    await reader.read()
    model.clock.advance(3600)
    counts = await reader.read()
    assert (counts.read, counts.rows, counts.changed, counts.listed) == ("incremental", THOUSANDS, 0, ahead)
    assert len(reader.requests) <= 2 + -(-ahead // 100)
    model.asked.clear()
    polls = [await recent_changes(Shop(reader.store, reader.web), NOW, clock=reader.clock) for _ in range(2)]
    assert polls[0] == polls[1]
    assert len(reader.requests) <= 2 * (2 + -(-ahead // 100))


async def test_requests_of_a_sweep(reader: Reader, model: ModelShop) -> None:
    """A sweep of 3,000 products costs one request per hundred, one per missing id, and three."""
    ids = add_many(model, THOUSANDS, modified=LONG_AGO)
    for product_id in ids[::10]:
        model.trash(product_id)
    await reader.read()
    model.clock.advance(3600)
    assert (await reader.read(sweep=True)).complete
    assert len(reader.requests) <= THOUSANDS // 100 + 3
    for product_id in ids[5:10]:
        model.force_delete(product_id)
    counts = await reader.read(sweep=True)
    assert (counts.complete, counts.deleted) == (True, 5)
    assert len(reader.requests) <= THOUSANDS // 100 + 5 + 3


async def test_changes(reader: Reader, model: ModelShop) -> None:
    """New, edited, unpublished and trashed products are found without a sweep; ids and first dates stay."""
    edited, drafted, trashed = add_many(model, 3, modified=LONG_AGO)
    await reader.read()
    model.edit(edited, price="12")
    model.edit(drafted, status="draft")
    model.trash(trashed)
    (added,) = add_many(model, 1, modified=model.clock.now())
    counts = await reader.read()
    assert (counts.read, counts.new, counts.changed, counts.left) == ("incremental", 1, 3, 2)
    assert str(reader.row(edited).price) == "12.00"
    assert reader.row(drafted).outcome.reasons == (Reason.NOT_PUBLISHED,)
    assert reader.row(trashed).outcome.reasons == (Reason.TRASHED,)
    assert reader.row(added).outcome.ok
    model.untrash(trashed)
    counts = await reader.read()
    assert counts.came_back == 1
    assert reader.row(trashed).first_seen_at == NOW + timedelta(minutes=1)


async def test_a_purged_product_stays_buried(reader: Reader, model: ModelShop) -> None:
    """Neither a sweep nor an edit brings anything of it back but its id, in the rows or in what is counted."""
    kept, purged = add_many(model, 2, modified=LONG_AGO)
    await reader.read(purged={str(purged)})
    assert reader.row(purged).outcome.reasons == (Reason.PURGED,)
    assert (reader.row(purged).title, reader.row(purged).images) == ("", ())
    counts = await reader.read(sweep=True, purged={str(purged)})
    assert (counts.changed, counts.publishable) == (0, 1)
    model.edit(purged, name="Back again")
    assert (await reader.read()).changed == 0
    assert reader.row(purged).title == ""
    model.force_delete(purged)
    await reader.read(sweep=True, purged={str(purged)})
    assert reader.row(purged).outcome.reasons == (Reason.PURGED,)
    assert reader.row(kept).outcome.ok


async def test_what_dates_do_not_tell(reader: Reader, model: ModelShop) -> None:
    """A sweep finds what moves no date: post meta, and the shop's currency."""
    (product,) = add_many(model, 1, modified=LONG_AGO)
    await reader.read()
    model.edit_silently(product, price="99")
    model.currency = "GBP"
    assert (await reader.read()).changed == 0
    assert (await reader.read(sweep=True)).changed == 1
    assert (reader.row(product).price_text, reader.row(product).currency) == ("99", "GBP")


async def test_deleted_for_ever(reader: Reader, model: ModelShop) -> None:
    """A product leaves when it is absent from a complete listing and its id answers 404, and is asked for no more."""
    kept, deleted = add_many(model, 2, modified=LONG_AGO)
    await reader.read()
    model.force_delete(deleted)
    assert (await reader.read()).left == 0
    counts = await reader.read(sweep=True)
    assert (counts.left, counts.deleted) == (1, 1)
    assert reader.row(deleted).outcome.reasons == (Reason.DELETED,)
    assert reader.row(kept).outcome.ok
    assert f"products/{deleted}" in reader.requests
    await reader.read(sweep=True)
    assert f"products/{deleted}" not in reader.requests


@pytest.mark.parametrize(
    "name",
    ["err_401_no_auth", "err_403_customer_role_key", "err_500_php_fatal", "err_503_maintenance", "err_404_route"],
)
async def test_absent_but_not_gone(name: str, reader: Reader, model: ModelShop) -> None:
    """A product that is absent and whose id answers anything but WooCommerce's 404 is kept, and says why."""
    kept, hidden = add_many(model, 2, modified=LONG_AGO)
    await reader.read()
    product = model.products.pop(hidden)
    model.fault = lambda request: replay(name) if request.url.path.endswith(f"/{hidden}") else None
    counts = await reader.read(sweep=True)
    assert (counts.left, counts.unreadable) == (0, 1)
    outcome = reader.row(hidden).outcome
    assert outcome.ok
    assert outcome.reasons == (Reason.UNREADABLE,)
    assert str(replay(name).status_code) in outcome.detail
    assert reader.row(kept).outcome.reasons == ()
    model.fault, model.products[hidden] = None, product
    reader.clock.at += timedelta(minutes=5)
    assert (await reader.read()).unreadable == 0
    assert reader.row(hidden).outcome.reasons == ()


async def test_absent_but_there(reader: Reader, model: ModelShop) -> None:
    """A product that is absent from a listing and answers by its id is simply there."""
    kept, missed = add_many(model, 2, modified=LONG_AGO)
    await reader.read()
    model.edit_silently(missed, price="12")

    def fault(request: Request) -> Response | None:
        if request.url.path.endswith("/products"):
            request.scope["query_string"] = f"{request.url.query}&exclude={missed}".encode()
            del request._url
        return None

    model.fault = fault
    counts = await reader.read(sweep=True)
    assert (counts.left, counts.complete) == (0, True)
    assert reader.row(missed).price_text == "12"
    assert reader.row(kept).outcome.ok


async def test_an_id_that_became_a_variation(reader: Reader, model: ModelShop) -> None:
    """An id that now names a variation names no product any more."""
    _, gone = add_many(model, 2, modified=LONG_AGO)
    await reader.read()
    model.force_delete(gone)
    variation = f'{{"id": {gone}, "type": "variation", "status": "publish"}}'
    model.fault = lambda request: Response(variation) if request.url.path.endswith(f"/{gone}") else None
    await reader.read(sweep=True)
    assert reader.row(gone).outcome.reasons == (Reason.DELETED,)


async def test_a_shop_that_dies_while_it_is_asked(reader: Reader, model: ModelShop) -> None:
    """When the shop stops answering, absent products are kept without asking for each of a thousand."""
    ids = add_many(model, 60, modified=LONG_AGO)
    await reader.read()
    for product_id in ids[1:]:
        model.force_delete(product_id)
    model.fault = lambda request: replay("err_503_maintenance") if "/products/" in request.url.path else None
    counts = await reader.read(sweep=True)
    assert (counts.left, counts.unreadable) == (0, 59)
    assert len(reader.requests) < 20


async def test_an_empty_listing(reader: Reader, model: ModelShop) -> None:
    """Without consent only what is seen in the trash leaves; the rest is asked about again by each read."""
    ids = add_many(model, 3, modified=LONG_AGO)
    await reader.read()
    for product_id in ids[:2]:
        model.force_delete(product_id)
    model.trash(ids[2])
    counts = await reader.read(sweep=True)
    assert (counts.left, counts.trashed) == (1, 1)
    assert "2 are known" in counts.held
    assert "--allow-removals" in counts.held
    assert reader.metadata["held"] == counts.held
    for sweep in (True, False):
        assert reader.row(ids[0]).outcome == Outcome(Status.OK, (Reason.AWAITING_CONSENT,), counts.held)
        await reader.read(sweep=sweep)
    assert (await reader.read(sweep=True, allow_removals=True)).deleted == 2
    assert reader.metadata["held"] == ""
    assert reader.row(ids[2]).outcome.reasons == (Reason.TRASHED,)


async def test_an_empty_listing_at_another_address(reader: Reader, model: ModelShop, make_store: MakeStore) -> None:
    """There the trash is no evidence either: it may be another shop's."""
    (product,) = add_many(model, 1, modified=LONG_AGO)
    await reader.read()
    reader.store = make_store(url="http://shop.example/atelier")
    model.trash(product)
    assert "1 are known" in (await reader.read()).held
    assert reader.row(product).outcome.reasons == (Reason.AWAITING_CONSENT,)
    assert (await reader.read(allow_removals=True)).trashed == 1


async def test_an_empty_listing_moves_no_cursor(reader: Reader, model: ModelShop) -> None:
    """What changed before an empty listing, of which nothing was taken, is found by the read after it."""
    (product,) = add_many(model, 1, modified=LONG_AGO)
    await reader.read()
    model.edit(product, price="12")
    model.clock.advance(3600)
    model.fault = lambda request: replay("products_beyond_last") if request.url.path.endswith("products") else None
    assert (await reader.read(sweep=True)).held
    model.fault = None
    counts = await reader.read()
    assert (counts.read, counts.held) == ("sweep", "")
    assert reader.row(product).price_text == "12"
    assert reader.row(product).outcome == OK
    assert (await reader.read()).read == "incremental"


async def test_consent_after_an_empty_listing(reader: Reader, model: ModelShop) -> None:
    """``allow_removals`` alone settles it, as the message says: while removals wait, every read is a sweep."""
    ids = add_many(model, 5, modified=LONG_AGO)
    await reader.read()
    for product_id in ids:
        model.force_delete(product_id)
    assert (await reader.read(sweep=True)).held
    assert (await reader.read()).held
    counts = await reader.read(allow_removals=True)
    assert (counts.left, counts.deleted, counts.held) == (5, 5, "")
    assert (await reader.read()).read == "incremental"


async def test_listed_and_then_deleted(reader: Reader, model: ModelShop) -> None:
    """A product that a disturbed listing showed, and the next one did not, is asked for before it is believed in."""
    add_many(model, 230, modified=LONG_AGO)
    await reader.read()
    (new,) = add_many(model, 1, modified=LONG_AGO)
    listings = 0

    def fault(request: Request) -> None:
        nonlocal listings
        listings += request.url.path.endswith("/products")
        if listings == 2 and new in model.products:
            model.force_delete(new)

    model.fault = fault
    counts = await reader.read(sweep=True)
    assert (counts.complete, counts.publishable) == (True, 230)
    assert reader.row(new).outcome.reasons == (Reason.DELETED,)


async def test_a_listing_that_cannot_be_believed(reader: Reader, model: ModelShop) -> None:
    """An incomplete sweep updates what it saw, concludes nothing from absence, and leaves the cursor where it was."""
    ids = add_many(model, 230, modified=LONG_AGO)
    await reader.read()
    cursor = reader.metadata["cursor"]
    model.edit_silently(ids[100], price="12")
    model.fault = lambda request: model.force_delete(min(model.products)) if "&page=2&" in request.url.query else None
    counts = await reader.read(sweep=True)
    assert (counts.complete, counts.left, counts.deleted) == (False, 0, 0)
    assert "changed while they were read" in reader.metadata["doubt"]
    assert reader.row(ids[100]).price_text == "12"
    assert reader.metadata["cursor"] == cursor
    model.fault = None
    counts = await reader.read(sweep=True)
    assert (counts.complete, counts.deleted) == (True, 230 - len(model.products))


async def test_a_first_read_that_cannot_be_believed(reader: Reader, model: ModelShop) -> None:
    """After an incomplete first read what changes is followed, and the doubt stays until a sweep removes it."""
    add_many(model, 130, modified=LONG_AGO)
    model.fault = lambda request: model.force_delete(min(model.products)) if "&page=2&" in request.url.query else None
    counts = await reader.read()
    assert not counts.complete
    assert counts.doubt
    model.fault = None
    counts = await reader.read()
    assert (counts.read, bool(counts.doubt)) == ("incremental", True)
    counts = await reader.read(sweep=True)
    assert (counts.complete, counts.doubt) == (True, "")
    assert counts.publishable == len(model.products)


async def test_another_address(reader: Reader, model: ModelShop, make_store: MakeStore) -> None:
    """At a changed address nothing is removed or replaced without consent; what matches is updated."""
    ids = add_many(model, 5, modified=LONG_AGO)
    await reader.read()
    reader.store = make_store(url="http://shop.example/atelier")
    model.force_delete(ids[0])
    model.edit_silently(ids[1], status="draft")
    model.products[ids[2]].created = NOW
    model.edit_silently(ids[3], price="12")
    for _ in range(2):
        counts = await reader.read()
        assert (counts.read, counts.left) == ("sweep", 0)
        assert counts.held.startswith("the store's url changed from https://shop.example/atelier")
        assert "3 products" in counts.held
        waiting = [Reason.AWAITING_CONSENT in reader.row(product_id).outcome.reasons for product_id in ids]
        assert waiting == [True, True, True, False, False]
        assert reader.row(ids[1]).outcome.detail == counts.held
    assert reader.row(ids[2]).created_in_shop_at != NOW
    assert reader.row(ids[3]).price_text == "12"
    counts = await reader.read(allow_removals=True)
    assert (counts.left, counts.held) == (2, "")
    assert reader.row(ids[2]).outcome == OK
    assert reader.row(ids[2]).first_seen_at == reader.clock.at
    assert (await reader.read()).read == "incremental"


async def test_a_wrong_address_put_right(reader: Reader, model: ModelShop, make_store: MakeStore) -> None:
    """Of another shop, read by mistake, nothing stays: no product, no currency, and no change is passed by."""
    (ours, draft) = add_many(model, 2, modified=LONG_AGO)
    model.edit_silently(draft, status="draft")
    await reader.read()
    before, right = reader.metadata, reader.store
    theirs = ModelShop(id="theirs", origin=model.origin, keys=model.keys, clock=model.clock, currency="GBP")
    for product_id in add_many(theirs, draft + 3, modified=LONG_AGO):  # the ids of ours are among them
        theirs.products[product_id].created = NOW - timedelta(days=60)
    model.edit(ours, price="12")
    model.clock.advance(3600)
    async with web_of(model, theirs, clock=reader.clock) as reader.web:
        reader.store = make_store(url=f"{theirs.origin}/theirs")
        for _ in range(2):
            counts = await reader.read()
            assert (counts.read, counts.rows, counts.new, counts.publishable) == ("sweep", 2, 0, 1)
            assert "1 products would be removed or replaced" in counts.held
        assert reader.metadata["currency"] == before["currency"] == "EUR"
        reader.store = right
        counts = await reader.read()
        assert (counts.read, counts.held, counts.rows) == ("sweep", "", 2)
        assert reader.row(ours).price_text == "12"
        assert reader.row(ours).outcome == OK
        assert (await reader.read()).read == "incremental"


async def test_a_new_name_of_the_same_shop(reader: Reader, model: ModelShop, make_store: MakeStore) -> None:
    """An address under which every product is found again needs no consent."""
    add_many(model, 5, modified=LONG_AGO)
    await reader.read()
    reader.store = make_store(url="http://shop.example/atelier")
    assert (await reader.read()).held == ""
    assert reader.metadata["store_url"] == "http://shop.example/atelier"
    assert (await reader.read()).read == "incremental"


@pytest.mark.parametrize("change", [{"images": "all"}, {"currency": "CHF"}])
async def test_changed_settings_need_a_sweep(
    change: dict[str, str], reader: Reader, model: ModelShop, make_store: MakeStore
) -> None:
    """A setting that applies to products which are not read again makes the next read a sweep, once."""
    add_many(model, 2, modified=LONG_AGO)
    await reader.read()
    assert reader.table is not None
    for store in (make_store(**change), reader.store):
        reader.store = store
        assert (await reader.read()).read == "sweep"
        assert (await reader.read()).read == "incremental"
    assert {row.currency for row in reader.table.rows} == {model.currency}


async def test_the_shops_clock_goes_back(reader: Reader, model: ModelShop) -> None:
    """When the shop's clock falls behind the cursor, the read is a sweep and the cursor follows the clock."""
    (product,) = add_many(model, 1, modified=LONG_AGO)
    model.clock.set(NOW + timedelta(days=3))
    await reader.read()
    model.clock.set(NOW)
    model.edit(product, price="12")
    assert (await reader.read()).read == "sweep"
    assert reader.row(product).price_text == "12"
    assert reader.metadata["cursor"] == (NOW + timedelta(minutes=1) - OVERLAP).isoformat()


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)], ids=["forward", "back"])
async def test_our_own_clock_moves_no_cursor(reader: Reader, model: ModelShop, jump: timedelta) -> None:
    """However far this machine's clock jumps between two reads, what changed in the shop is read: its clock counts."""
    (product,) = add_many(model, 1, modified=LONG_AGO)
    await reader.read()
    reader.clock.at += jump
    model.edit(product, price="12")
    assert (await reader.read()).read == "incremental"
    assert reader.row(product).price_text == "12"
    assert reader.metadata["cursor"] == (model.clock.now() - OVERLAP).isoformat()


async def test_first_seen_survives_lost_tables(reader: Reader, model: ModelShop) -> None:
    """After the tables are lost the date of the sinks counts; a reused id begins anew and stays so."""
    kept, reused = add_many(model, 2, modified=LONG_AGO)
    known = {str(kept): LONG_AGO, str(reused): LONG_AGO}
    await reader.read(known_first_seen=known)
    assert reader.row(kept).first_seen_at == LONG_AGO
    model.products[reused].created = NOW
    await reader.read(sweep=True, known_first_seen=known)
    restarted_at = reader.clock.at
    await reader.read(sweep=True, known_first_seen=known)
    assert reader.row(reused).first_seen_at == restarted_at
    assert reader.row(kept).first_seen_at == LONG_AGO


async def test_what_a_sink_shows_is_asked_for_after_the_tables_are_lost(reader: Reader, model: ModelShop) -> None:
    """Without a table, a product that is shown and not listed is gone on its own 404 only; a refusal proves nothing."""
    kept, hidden, deleted = add_many(model, 3, modified=LONG_AGO)
    del model.products[hidden], model.products[deleted]
    refused = replay("err_403_customer_role_key")
    model.fault = lambda request: refused if request.url.path.endswith(f"/{hidden}") else None
    await reader.read(known_live={str(kept), str(hidden), str(deleted)})
    assert reader.row(kept).outcome.ok
    assert reader.row(hidden).outcome.reasons == (Reason.UNREADABLE,)
    assert reader.row(deleted).outcome.reasons == (Reason.DELETED,)


async def test_an_empty_shop_after_the_tables_are_lost(reader: Reader) -> None:
    """An empty listing concludes nothing about what a sink shows until a person agrees."""
    counts = await reader.read(known_live={"12"})
    assert (counts.rows, bool(counts.held)) == (0, True)
    counts = await reader.read(known_live={"12"}, sweep=True, allow_removals=True)
    assert (counts.deleted, counts.held) == (1, "")


async def test_a_product_that_breaks_the_answers(reader: Reader, model: ModelShop) -> None:
    """A product that the shop cannot encode is kept if known, has an outcome if not, and harms no other."""
    known, *others = add_many(model, 5, modified=LONG_AGO)
    await reader.read()
    (new,) = add_many(model, 1, modified=LONG_AGO)
    model.fault = poisoned(model, known, new)
    counts = await reader.read(sweep=True)
    assert (counts.unreadable, counts.left, counts.publishable) == (2, 0, 5)
    assert reader.row(known).outcome.ok
    assert not reader.row(new).outcome.ok
    assert all(reader.row(key).outcome.reasons == () for key in others)
    model.fault = None
    reader.clock.at += timedelta(minutes=5)
    counts = await reader.read()
    assert (counts.unreadable, counts.publishable) == (0, 6)


async def test_a_shop_that_cannot_be_read(reader: Reader, model: ModelShop) -> None:
    """A shop that is down, or whose currency nobody says, is an error; there is no table then."""
    model.fault = lambda request: replay("err_503_maintenance") if request.url.path.endswith("products") else None
    with pytest.raises(ShopUnavailable):
        await reader.read()
    model.fault = lambda request: None if request.url.path.endswith("products") else replay("err_403_customer_role_key")
    with pytest.raises(ShopError, match="currency"):
        await reader.read()
    assert reader.table is None
