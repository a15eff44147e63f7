from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fashion_pipeline.model_shop.payload import product_payload, variation_as_product, variation_payload
from fashion_pipeline.model_shop.shop import Attachment, ModelProduct, ModelShop, ShopClock
from fashion_pipeline_tests.model_shop.recordings import (
    READER,
    ask,
    below_x,
    moment,
    products_url,
    recorded,
    recorded_shop,
)

TYPED = (
    *("sku", "regular_price", "sale_price", "status", "stock_status", "attributes", "menu_order"),
    *("manage_stock", "stock_quantity"),
)
LISTINGS = (
    *("variations_page1", "variations_all_endpoint", "variations_all_modified_after"),
    *("variations_modified_after", "variations_of_missing_parent", "variation_single"),
)
PICTURED_BY_HAND = {"name", "alt"}


def shop_with_variations() -> ModelShop:
    """Return the recorded shop with its three variable products and what was typed into their variations."""
    shop = recorded_shop()
    parent = recorded("product_variable0")["response"]["body"]
    for row in recorded("variations_all_endpoint")["response"]["body"]:
        image = below_x(row["image"])
        created, modified = moment(image["date_created_gmt"]), moment(image["date_modified_gmt"])
        assert created
        assert modified
        shop.attachments[image["id"]] = Attachment(image["id"], image["src"], created, modified, alt=image["alt"])
        own = shop.products[row["parent_id"]]
        shop.variations[row["id"]] = ModelProduct(
            row["id"],
            "",
            {name: row[name] for name in TYPED},
            [image["id"]],
            moment(row["date_created_gmt"]),
            moment(row["date_modified_gmt"]),
            parent_id=row["parent_id"],
        )
        own.slug, own.fields["type"] = f"variable-vest-{(154, 165, 173).index(own.id)}", "variable"
        own.attachments = [own.id - 1]
    shop.products[154].fields |= {"categories": parent["categories"]}
    return shop


def unlike_pictures(value: Any) -> Any:
    """Leave out what someone typed into the media library."""
    if isinstance(value, list):
        return [unlike_pictures(row) for row in value]
    image = value.get("image")
    return value | {"image": {k: v for k, v in image.items() if k not in PICTURED_BY_HAND}} if image else value


@pytest.mark.parametrize("name", LISTINGS)
async def test_answers_as_recorded(name: str) -> None:
    """Variations are listed below their parent and all together, and read alone, as recorded, field by field."""
    shop = shop_with_variations()
    for row in recorded("variations_all_modified_after")["response"]["body"]:
        if "modified_after" in name:  # recorded after some of them were edited
            edited = shop.variations[row["id"]]
            edited.modified = moment(row["date_modified_gmt"])
            edited.fields |= {"regular_price": row["price"], "sale_price": ""}
    recording = recorded(name)
    expected = recording["response"]
    answer = await ask(shop, below_x(recording["request"]["url"]), key=READER)
    assert answer.status_code == expected["status"]
    body = answer.json()
    assert unlike_pictures(body) == unlike_pictures(below_x(expected["body"]))
    if body and "image" in (body if isinstance(body, dict) else body[0]):
        row, recorded_row = (body, expected["body"]) if isinstance(body, dict) else (body[0], expected["body"][0])
        assert list(row) == list(recorded_row)
    headers = {key: below_x(value) for key, value in expected["headers"]}
    compared = {"allow", "link", "x-wp-total", "x-wp-totalpages"} & headers.keys()
    assert {key: answer.headers[key] for key in compared} == {key: headers[key] for key in compared}


async def test_a_variation_asked_for_as_a_product() -> None:
    """``/products/<a variation's id>`` answers in a product's form with the type variation, as recorded."""
    expected = below_x(recorded("variation_via_products")["response"]["body"])
    shop = shop_with_variations()
    shop.products[154].fields["name"] = "Variable Vest 0"
    body = (await ask(shop, products_url("/156"), key=READER)).json()
    assert list(body) == list(expected)
    assert {field for field in body if body[field] != expected[field]} <= {"images"}
    assert [image["src"] for image in body["images"]] == [image["src"] for image in expected["images"]]


async def test_a_variation_below_another_parent_is_not_there() -> None:
    """A variation is found below its own parent only, and below ``/products/<id>/variations`` a product never is."""
    shop = shop_with_variations()
    for path in ("/165/variations/156", "/154/variations/154", "/999999/variations/156"):
        answer = await ask(shop, products_url(path), key=READER)
        assert (answer.status_code, answer.json()["code"]) == (404, "woocommerce_rest_product_invalid_id")


def test_the_parent_as_recorded() -> None:
    """Price, stock, the ids and what a page shows of a variable product come from its variations, as recorded."""
    shop = shop_with_variations()
    body = product_payload(shop, shop.products[154])
    expected = recorded("product_variable0")["response"]["body"]
    derived = ("price", "regular_price", "stock_status", "on_sale", "variations", "has_options", "purchasable")
    assert {name: body[name] for name in derived} == {name: expected[name] for name in derived}
    assert body["price_html"] == expected["price_html"]


def test_a_parent_without_variations_as_recorded() -> None:
    """A variable product without variations has no price and is out of stock, as recorded."""
    shop = ModelShop("x")
    body = product_payload(shop, shop.products[shop.add(name="Empty", type="variable")])
    expected = recorded("product_variable_empty")["response"]["body"]
    for name in ("price", "stock_status", "variations", "has_options", "purchasable", "price_html", "on_sale"):
        assert body[name] == expected[name], name


def vest(**fields: Any) -> tuple[ModelShop, int]:
    """Return a shop with a variable product, a minute old."""
    shop = ModelShop("x", clock=ShopClock(datetime(2026, 5, 1, tzinfo=UTC)))
    parent_id = shop.add(name="Vest", type="variable", images=["https://x.example/vest.jpg"], **fields)
    shop.clock.advance(60)
    return shop, parent_id


def test_each_change_of_a_variation_moves_the_parents_date() -> None:
    """Adding, saving and deleting a variation saves its parent; writing its post meta does not."""
    shop, parent_id = vest()

    def moved() -> bool:
        before = shop.products[parent_id].modified
        shop.products[parent_id].modified = datetime(2026, 1, 1, tzinfo=UTC)
        return before == shop.clock.now()

    variation_id = shop.add_variation(parent_id, regular_price="20")
    assert moved()
    shop.edit_variation(variation_id, regular_price="25", image="https://x.example/red.jpg")
    assert moved()
    assert shop.variations[variation_id].modified == shop.clock.now()
    shop.edit_variation_silently(variation_id, regular_price="30")
    assert not moved()
    assert product_payload(shop, shop.products[parent_id])["price"] == "30"
    shop.delete_variation(variation_id)
    assert moved()
    assert product_payload(shop, shop.products[parent_id])["price"] == ""


def test_a_private_variation_has_no_price_to_show_and_stock_all_the_same() -> None:
    """A disabled variation is in no price; WooCommerce counts its stock for the parent nevertheless."""
    shop, parent_id = vest()
    shop.add_variation(parent_id, regular_price="10", status="private")
    shop.add_variation(parent_id, regular_price="20", stock_status="outofstock")
    body = product_payload(shop, shop.products[parent_id])
    assert (body["price"], body["stock_status"]) == ("20", "instock")
    assert len(body["variations"]) == 2


def test_stock_of_the_parent_comes_from_its_variations_unless_it_manages_its_own() -> None:
    """In stock beats on order beats sold out; a parent that manages its stock lends it to its variations."""
    shop, parent_id = vest()
    parent = shop.products[parent_id]
    first = shop.add_variation(parent_id, regular_price="10", stock_status="outofstock")
    assert product_payload(shop, parent)["stock_status"] == "outofstock"
    second = shop.add_variation(parent_id, regular_price="10", stock_status="onbackorder")
    assert product_payload(shop, parent)["stock_status"] == "onbackorder"
    shop.edit_variation(first, stock_status="instock")
    assert product_payload(shop, parent)["stock_status"] == "instock"
    shop.edit(parent_id, manage_stock=True, stock_quantity=0, stock_status="outofstock")
    assert product_payload(shop, parent)["stock_status"] == "outofstock"
    lent = variation_payload(shop, shop.variations[first], below_parent=True)
    assert (lent["manage_stock"], lent["stock_quantity"], lent["stock_status"]) == ("parent", 0, "outofstock")
    shop.edit_variation(second, manage_stock=True, stock_quantity=3, stock_status="instock")
    assert variation_payload(shop, shop.variations[second], below_parent=True)["stock_status"] == "instock"


def test_a_variation_without_a_picture_shows_the_parents() -> None:
    """The picture of a variation is its own, or its parent's first, or none."""
    shop, parent_id = vest()
    variation = shop.variations[shop.add_variation(parent_id, regular_price="10")]
    image = variation_payload(shop, variation, below_parent=True)["image"]
    assert image["src"] == "https://x.example/vest.jpg"
    assert variation_as_product(shop, variation)["images"][0]["id"] == image["id"]
    shop.edit(parent_id, images=[])
    assert variation_payload(shop, variation, below_parent=True)["image"] is None


async def test_variations_leave_with_their_parent() -> None:
    """Variations of a trashed product are listed nowhere until it is restored, and a deleted product takes its own."""
    shop = shop_with_variations()
    url = "https://store.example/x/wp-json/wc/v3/variations?per_page=1"
    shop.trash(154)
    assert (await ask(shop, url, key=READER)).headers["x-wp-total"] == "12"
    assert (await ask(shop, products_url("/154/variations"), key=READER)).json() == []
    shop.untrash(154)
    assert (await ask(shop, url, key=READER)).headers["x-wp-total"] == "18"
    shop.force_delete(154)
    assert (await ask(shop, url, key=READER)).headers["x-wp-total"] == "12"
    assert (await ask(shop, products_url("/156"), key=READER)).status_code == 404
