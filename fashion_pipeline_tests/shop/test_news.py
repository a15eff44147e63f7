from __future__ import annotations

from datetime import timedelta

from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.shop.news import recent_changes
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline_tests.shop.conftest import NOW, StoppedClock, add_many

SINCE = NOW - timedelta(minutes=15)


async def test_recent_changes(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """An edit, a new status and a product in the trash each make a row that was not there before."""
    edited, drafted, trashed = add_many(model, 3, modified=NOW - timedelta(minutes=5), every_s=0)
    before = await recent_changes(shop, SINCE, clock=clock)
    assert len(before.rows) == 3
    assert before.at == NOW
    assert before == await recent_changes(shop, SINCE, clock=clock)
    model.edit_silently(drafted, status="draft")
    model.edit(edited)
    model.trash(trashed)
    after = await recent_changes(shop, SINCE, clock=clock)
    assert {row.split()[0] for row in after.rows - before.rows} == {str(edited), str(drafted), str(trashed)}


async def test_what_is_quiet(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """A shop in which nothing happened lately has no rows, for two requests without bodies."""
    add_many(model, 3, modified=NOW - timedelta(days=5))
    assert not (await recent_changes(shop, SINCE, clock=clock)).rows
    assert [asked.path for asked in model.asked] == ["/atelier/wp-json/wc/v3/products"] * 2
    assert all("_fields=id%2Cstatus%2Cdate_modified_gmt" in asked.query for asked in model.asked)


async def test_pages_full_of_future(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """However many products are dated in the future, what changed behind them is news, for one request more."""
    ahead = add_many(model, 420, modified=NOW + timedelta(days=900))
    (product,) = add_many(model, 1, modified=NOW - timedelta(days=5))
    before = await recent_changes(shop, SINCE, clock=clock)
    assert len(before.rows) == 1
    assert before == await recent_changes(shop, SINCE, clock=clock)
    for change in (model.edit, model.edit, model.force_delete):
        model.clock.advance(60)
        change(product if change == model.edit else ahead[0])
        model.asked.clear()
        after = await recent_changes(shop, SINCE, clock=clock)
        assert after.rows - before.rows
        assert len(model.asked) == 3
        before = after


async def test_a_bulk_edit_is_news_once(shop: Shop, model: ModelShop, clock: StoppedClock) -> None:
    """After a bulk edit of more than a page in one second, a shop that orders ties anew each time has no news."""
    model.ties_by_id = False
    add_many(model, 300, modified=NOW, every_s=0)
    rounds = [await recent_changes(shop, SINCE, clock=clock) for _ in range(6)]
    assert len({each.rows for each in rounds}) == 1
    model.clock.advance(5)
    model.add()
    later = await recent_changes(shop, SINCE, clock=clock)
    assert later.rows - rounds[0].rows
