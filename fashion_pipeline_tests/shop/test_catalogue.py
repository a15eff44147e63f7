from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.requests import Request

from fashion_pipeline.errors import ShopError, ShopProtocolError, ShopUnavailable
from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.records import Product
from fashion_pipeline.shop.news import recent_changes
from fashion_pipeline.shop.read import OVERLAP
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline_tests.model_shop.exchanges import changed_request
from fashion_pipeline_tests.model_shop.faults import stale_cache
from fashion_pipeline_tests.shop.conftest import LONG_AGO, NOW, MakeStore, add_many, poisoned
from fashion_pipeline_tests.shop.reader import Reader
from fashion_pipeline_tests.shop.recordings import replay


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


@pytest.mark.parametrize("ties_by_id", [True, False], ids=["ties by id", "ties in any order"])
async def test_a_bulk_edit_and_a_new_product(*, ties_by_id: bool, reader: Reader, model: ModelShop) -> None:
    """300 products edited in one second and one new one are read, in whatever order the shop lists equal dates."""
    model.ties_by_id = ties_by_id
    ids = add_many(model, 450, modified=LONG_AGO)
    await reader.read()
    for key in ids[:300]:
        model.edit(key, price="77")
    model.clock.advance(30)
    new = model.add(name="New", price="5", images=["https://shop.example/new.jpg"])
    for _ in range(3):
        await reader.read()
    assert {str(reader.row(key).price) for key in ids[:300]} == {"77.00"}
    assert reader.row(new).outcome.ok


@pytest.mark.parametrize("honest", [True, False], ids=["total pages says so", "total pages as asked for"])
async def test_a_page_that_is_capped(*, honest: bool, reader: Reader, model: ModelShop) -> None:
    """A shop that puts two products on a page, whatever is asked for, is read whole by sweeps and by increments."""
    model.page_cap, model.honest_cap = 2, honest
    ids = add_many(model, 9, modified=LONG_AGO)
    model.trash(ids[8])
    counts = await reader.read()
    assert (counts.rows, counts.publishable, counts.doubt) == (9, 8, "")
    for key in ids[:7]:
        model.edit(key, price="77")
    model.force_delete(ids[7])
    await reader.read()
    assert {str(reader.row(key).price) for key in ids[:7]} == {"77.00"}
    await reader.read(sweep=True)
    assert reader.row(ids[7]).outcome.reasons == (Reason.DELETED,)


async def test_a_query_that_is_dropped(reader: Reader, model: ModelShop) -> None:
    """A cache that drops the query shows ten of twelve products: that is an error, and nothing is concluded."""
    add_many(model, 12, modified=LONG_AGO)

    def drop(request: Request) -> Change:
        return Change(changed_request(request, query=""))

    model.fault = drop
    with pytest.raises(ShopProtocolError, match=r"the same products whatever .* exempt /wp-json/"):
        await reader.read()
    assert reader.table is None


@pytest.mark.parametrize("ignores", [(), ("_",)], ids=["a cache by the whole query", "a cache by the known parameters"])
async def test_a_cache_that_answers_from_the_past(
    *, ignores: tuple[str, ...], reader: Reader, model: ModelShop
) -> None:
    """No sweep puts back an old price or revives a trashed product, even where a cache answers with yesterday's list."""
    edited, trashed, deleted = add_many(model, 3, modified=LONG_AGO)
    model.fault = stale_cache(ignores=ignores)
    await reader.read()
    model.edit(edited, price="77")
    model.trash(trashed)
    model.force_delete(deleted)
    await reader.read()
    await reader.read(sweep=True)
    assert str(reader.row(edited).price) == "77.00"
    assert reader.row(trashed).outcome.reasons == (Reason.TRASHED,)
    model.fault = None
    model.edit_silently(edited, price="5")
    await reader.read(sweep=True)
    assert str(reader.row(edited).price) == "5.00"
    assert reader.row(deleted).outcome.reasons == (Reason.DELETED,)


async def test_a_cache_that_says_how_old_its_copy_is(reader: Reader, model: ModelShop) -> None:
    """A copy that is an hour old is not believed: the read ends with a sentence about the cache."""
    add_many(model, 3, modified=LONG_AGO)
    model.fault = stale_cache(age=True)
    await reader.read(sweep=True)
    with pytest.raises(ShopProtocolError, match=r"a cache, with a copy that is 3,600 s old; exempt /wp-json/"):
        await reader.read(sweep=True)
