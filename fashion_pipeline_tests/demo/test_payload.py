from __future__ import annotations

from typing import Any

import pytest

from fashion_pipeline.demo.payload import product_payload
from fashion_pipeline.demo.shop import Attachment, ModelProduct
from fashion_pipeline_tests.demo.recordings import below_x, moment, recorded, recorded_shop

GIVEN = (
    *(
        "name",
        "status",
        "type",
        "price",
        "regular_price",
        "description",
        "tags",
        "brands",
        "categories",
        "external_url",
    ),
    *("button_text", "attributes", "default_attributes", "variations", "on_sale", "meta_data"),
)
DRAWN_FROM_A_HAT = {"related_ids", "images", "price_html"}


def rebuilt(body: dict[str, Any]) -> dict[str, Any]:
    """Give a model shop what a shopkeeper typed into the recorded product, and spell it out again."""
    shop = recorded_shop()
    keys = []
    for image in body["images"]:
        url = below_x(image["src"])
        created, modified = moment(image["date_created_gmt"]), moment(image["date_modified_gmt"])
        assert created
        assert modified
        width = int(image["sizes"].rpartition(" ")[2].removesuffix("px"))
        shop.attachments[image["id"]] = Attachment(
            image["id"], url, created, modified, (width, width * 4 // 3), image["alt"]
        )
        keys.append(image["id"])
    product = ModelProduct(
        id=body["id"],
        slug=body["slug"].removesuffix("__trashed"),
        fields={name: body[name] for name in GIVEN},
        attachments=keys,
        created=moment(body["date_created_gmt"]),
        modified=moment(body["date_modified_gmt"]),
    )
    return product_payload(shop, product)


@pytest.mark.parametrize(
    "name",
    [
        *("product_webp", "product_external", "product_trashed_get_by_id", "product_draft", "product_variable0"),
        *("product_zero_price", "product_no_price", "product_private", "product_html_title", "product_rtl"),
    ],
)
def test_spelled_as_recorded(name: str) -> None:
    """A product is spelled out key by key as recorded, in the recorded order."""
    expected = below_x(recorded(name)["response"]["body"])
    body = rebuilt(recorded(name)["response"]["body"])
    assert list(body) == list(expected)
    differing = {field for field in body if body[field] != expected[field]}
    assert differing <= DRAWN_FROM_A_HAT


@pytest.mark.parametrize("name", ["product_webp", "product_zero_price", "product_no_price", "product_rtl"])
def test_price_html_as_recorded(name: str) -> None:
    """The price a page shows is written as recorded: entity, comma, markup."""
    expected = recorded(name)["response"]["body"]
    assert rebuilt(expected)["price_html"] == expected["price_html"]


def test_pictures_as_recorded() -> None:
    """A picture has the recorded keys, and its local dates are wrong by one more offset, as recorded."""
    expected = below_x(recorded("product_webp")["response"]["body"])["images"][0]
    image = rebuilt(recorded("product_webp")["response"]["body"])["images"][0]
    assert list(image) == list(expected)
    for field in (
        "id",
        "date_created",
        "date_created_gmt",
        "date_modified",
        "date_modified_gmt",
        "src",
        "name",
        "sizes",
    ):
        assert image[field] == expected[field]
    assert image["thumbnail"] == expected["thumbnail"]


def test_a_reduced_product_shows_both_prices() -> None:
    """A sale shows the old price struck out, and the price is the lower one."""
    shop = recorded_shop()
    product = shop.products[shop.add(name="Coat", regular_price="1234.5", sale_price="900")]
    body = product_payload(shop, product)
    assert (body["price"], body["on_sale"]) == ("900", True)
    assert "&euro;</span>1.234,50" in body["price_html"]
    assert "Current price is: &euro;900,00." in body["price_html"]
