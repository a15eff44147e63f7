from __future__ import annotations

from datetime import timedelta
from typing import Any

from fashion_pipeline.model_shop.payload import product_payload
from fashion_pipeline_tests.model_shop.recordings import recorded_shop


def test_a_reduced_product_shows_both_prices() -> None:
    """A sale shows the old price struck out, and the price is the lower one."""
    shop = recorded_shop()
    product = shop.products[shop.add(name="Coat", regular_price="1234.5", sale_price="900")]
    body = product_payload(shop, product)
    assert (body["price"], body["on_sale"]) == ("900", True)
    assert "&euro;</span>1.234,50" in body["price_html"]
    assert "Current price is: &euro;900,00." in body["price_html"]


def test_a_sale_has_its_time() -> None:
    """A sale price counts from its first second to its last."""
    shop = recorded_shop()
    now = shop.clock.now()
    begins, ends = ((now + timedelta(minutes=after)).strftime("%Y-%m-%dT%H:%M:%S") for after in (1, 2))
    sale: dict[str, Any] = {"sale_price": "70", "date_on_sale_from_gmt": begins, "date_on_sale_to_gmt": ends}
    product = shop.products[shop.add(name="Frock", regular_price="100", **sale)]
    seen = []
    for _ in range(4):
        body = product_payload(shop, product)
        seen.append((body["price"], body["on_sale"]))
        shop.clock.advance(60)
    assert seen == [("100", False), ("70", True), ("70", True), ("100", False)]


def test_a_set_costs_what_its_cheapest_part_does() -> None:
    """A grouped product has the lowest price of what it groups and is published."""
    shop = recorded_shop()
    parts = [shop.add(name="Part", price=price) for price in ("30", "9.50", "")]
    parts.append(shop.add(name="Draft part", price="1", status="draft"))
    outfit = shop.products[shop.add(name="Outfit", type="grouped", regular_price="", grouped_products=parts)]
    assert product_payload(shop, outfit)["price"] == "9.50"
