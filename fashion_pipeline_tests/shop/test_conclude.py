from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import OK, Outcome, Reason, Status
from fashion_pipeline.read_state import SWEEP, ReadState
from fashion_pipeline.shop.conclude import Case, Sweep
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.shop.sweep import Listing
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.shop.conftest import LONG_AGO, NOW, MakeStore, add_many, web_of
from fashion_pipeline_tests.shop.reader import Reader
from fashion_pipeline_tests.shop.recordings import body, replay

FULL = Listing(
    (body("product_cjk"),), frozenset({"105"}), complete=True, doubt="", cursor=NOW, unreadable=frozenset(), empty=False
)
EMPTY = replace(FULL, payloads=(), ids=frozenset(), empty=True)
TRASHED = replace(EMPTY, payloads=(body("product_cjk") | {"status": "trash"},), ids=frozenset({"105"}))


@pytest.fixture
def sweep(store: Store) -> Sweep:
    """A sweep of a shop whose one product is known and listed."""
    first = Merge(store=store, before={}, now=NOW, known_first_seen={}, restarted={})
    before = first.apply(Seen(FULL.payloads), currency="EUR")
    state = ReadState(kind=SWEEP, cursor=NOW, currency="EUR").with_settings(store)
    return Sweep(FULL, replace(first, before=before), state, "EUR", frozenset(), allow_removals=False)


@pytest.mark.parametrize(
    ("listing", "store_url", "case"),
    [
        (FULL, None, Case.TRUSTED),
        (FULL, "", Case.TRUSTED),
        (FULL, "https://elsewhere.example", Case.MOVED),
        (EMPTY, None, Case.EMPTY),
        (EMPTY, "https://elsewhere.example", Case.EMPTY),
        (TRASHED, None, Case.TRUSTED),
        (TRASHED, "https://elsewhere.example", Case.EMPTY),
    ],
)
def test_how_far_a_listing_is_trusted(listing: Listing, store_url: str | None, case: Case, sweep: Sweep) -> None:
    """An empty listing and another address are not; what was seen in the trash of the same shop has been trashed."""
    state = sweep.state if store_url is None else replace(sweep.state, store_url=store_url)
    sweep = replace(sweep, listing=listing, state=state)
    assert sweep.case is case
    assert replace(sweep, allow_removals=True).case is Case.TRUSTED


def test_nothing_known_can_be_lost(sweep: Sweep) -> None:
    """Without known products an empty listing and another address are what they seem; one that a sink shows is known."""
    merge = replace(sweep.merge, before={})
    sweep = replace(
        sweep, listing=EMPTY, merge=merge, state=replace(sweep.state, store_url="https://elsewhere.example")
    )
    assert sweep.case is Case.TRUSTED
    assert replace(sweep, known_live=frozenset({"7"})).case is Case.EMPTY


def test_who_is_asked_for(sweep: Sweep) -> None:
    """Known products, those a sink shows and those an earlier pass met are asked for if they are not listed."""
    listing = replace(FULL, ids=frozenset({"8"}))
    assert replace(sweep, listing=listing, known_live=frozenset({"7", "8"})).absent == ["105", "7"]
    deleted = sweep.merge.apply(Seen(gone=frozenset({"105"})), currency="EUR")
    assert replace(sweep, listing=EMPTY, merge=replace(sweep.merge, before=deleted)).absent == []


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
