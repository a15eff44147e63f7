from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fashion_pipeline.model_shop.query import read_arguments, select
from fashion_pipeline.model_shop.shop import ModelShop, ShopClock


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
