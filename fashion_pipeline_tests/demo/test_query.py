from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fashion_pipeline.demo.query import read_arguments, select
from fashion_pipeline.demo.shop import ModelShop, ShopClock
from fashion_pipeline_tests.demo.recordings import READER, ask, below_x, moment, recorded, recorded_shop


@pytest.mark.parametrize(
    "name",
    [
        *("modified_after_equal_gmt", "modified_after_minus_1s_gmt", "modified_after_minus_1s_Z_and_gmt_flag"),
        *("modified_after_minus_1s_Z_no_flag", "modified_after_minus_1s_naive_no_flag"),
    ],
)
async def test_cursor_semantics_as_recorded(name: str) -> None:
    """modified_after is exclusive, local without the flag, and a trap with both flag and suffix, as recorded."""
    shop = recorded_shop()
    shop.products[105].modified = moment("2026-11-20T16:03:37")
    recording = recorded(name)
    answer = await ask(shop, below_x(recording["request"]["url"]), key=READER)
    assert answer.json() == recording["response"]["body"]
    totals = {name: value for name, value in recording["response"]["headers"] if name.startswith("x-wp")}
    assert {name: answer.headers[name] for name in totals} == totals


async def test_trash_is_listed_incrementally_as_recorded() -> None:
    """Trashed products are found by status=trash with modified_after."""
    recording = recorded("products_trash_modified_after")
    answer = await ask(recorded_shop(), below_x(recording["request"]["url"]), key=READER)
    (row,) = answer.json()
    (expected,) = recording["response"]["body"]
    assert (row["id"], row["status"], row["date_modified_gmt"]) == (84, "trash", expected["date_modified_gmt"])
    assert row["permalink"] == below_x(expected["permalink"])


def shop_of(*products: dict[str, Any]) -> ModelShop:
    """Return a shop with products added in one second of its clock."""
    shop = ModelShop("x", clock=ShopClock(datetime(2026, 5, 1, tzinfo=UTC)))
    for fields in products:
        shop.add(**fields)
    return shop


def ids(shop: ModelShop, **given: str) -> list[int]:
    """Return the ids a listing would hold, in order."""
    args, problems = read_arguments(given)
    assert not problems
    return [product.id for product in select(shop, args)]


def test_ties_are_broken_by_id() -> None:
    """Products of one second, one title or one price come in the order of their ids, either way."""
    shop = shop_of(*({"name": "Same", "price": "5"} for _ in range(4)))
    everything = sorted(shop.products)
    for orderby in ("date", "modified", "title", "price", "id"):
        assert ids(shop, orderby=orderby, order="asc") == everything
        assert ids(shop, orderby=orderby) == everything[::-1]


def test_price_orders_by_number() -> None:
    """Prices are ordered as numbers, no price first."""
    shop = shop_of({"price": "100"}, {"price": "9.50"}, {"price": ""}, {"price": "20"})
    first, second, third, fourth = sorted(shop.products)
    assert ids(shop, orderby="price", order="asc") == [third, second, fourth, first]


def test_undated_drafts_escape_date_filters() -> None:
    """A draft made in wp-admin has no dates and is invisible to modified_after."""
    shop = shop_of({"name": "Dated"}, {"name": "Admin draft", "status": "draft", "undated": True})
    dated, undated = sorted(shop.products)
    assert ids(shop, modified_after="2020-01-01T00:00:00", dates_are_gmt="true") == [dated]
    assert undated in ids(shop)


def test_both_bounds_are_excluded() -> None:
    """A row of the bound's own second is in neither of two adjoining windows."""
    shop = shop_of({"name": "At the bound"})
    bound = "2026-05-01T00:00:00"
    assert ids(shop, modified_after=bound, dates_are_gmt="true") == []
    assert ids(shop, modified_before=bound, dates_are_gmt="true") == []


def test_problems_are_named_per_argument() -> None:
    """Each wrong argument is named with WordPress's code and sentence."""
    _, problems = read_arguments({"page": "x", "dates_are_gmt": "perhaps", "include": "1,b", "order": "up"})
    assert {name: (problem["code"], problem["message"]) for name, problem in problems.items()} == {
        "page": ("rest_invalid_type", "page is not of type integer."),
        "dates_are_gmt": ("rest_invalid_type", "dates_are_gmt is not of type boolean."),
        "include": ("rest_invalid_type", "include[1] is not of type integer."),
        "order": ("rest_not_in_enum", "order is not one of asc and desc."),
    }
