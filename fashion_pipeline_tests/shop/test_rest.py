from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.errors import ShopAuthError, ShopError, ShopProtocolError, ShopUnavailable
from fashion_pipeline.model_shop.shop import Key, ModelShop
from fashion_pipeline.shop.product import FIELDS
from fashion_pipeline.shop.rest import PER_PAGE, Params, Shop, gather_limited, read_total
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Reply, Web
from fashion_pipeline_tests.shop.conftest import NOW, MakeStore, poisoned
from fashion_pipeline_tests.shop.recordings import body, replay

BY_ID: Params = {"status": "any", "orderby": "id", "order": "asc", "per_page": PER_PAGE, "page": 1, "_fields": FIELDS}


async def test_a_page(shop: Shop, model: ModelShop) -> None:
    """A page brings the rows, the total and the shop's clock; the keys are in no URL."""
    for number in range(3):
        model.add(name=f"Product {number}")
    page = await shop.page({**BY_ID, "per_page": 2})
    assert [row["name"] for row in page.rows] == ["Product 0", "Product 1"]
    assert (page.total, page.date, page.steady, page.unreadable) == (3, NOW, True, ())
    assert set(page.rows[0]) == set(FIELDS.split(","))
    assert not any("consumer" in asked.query or "ck_a" in asked.query for asked in model.asked)


async def test_http_and_sub_paths(web: Web, model: ModelShop, make_store: MakeStore) -> None:
    """A shop below a path is read over http too, with list parameters, by its signature."""
    ids = [model.add(name="A"), model.add(name="B")]
    model.origin = "http://shop.example"
    shop = Shop(make_store(url="http://shop.example/atelier"), web)
    page = await shop.page({**BY_ID, "include": ",".join(map(str, ids))})
    assert [row["id"] for row in page.rows] == ids


async def test_a_product(shop: Shop, model: ModelShop) -> None:
    """A product is asked for by id, trashed ones too; None is WooCommerce's own 404."""
    kept, trashed, deleted = (model.add(name=name) for name in "abc")
    model.trash(trashed)
    model.force_delete(deleted)
    product = await shop.product(str(kept))
    assert product is not None
    assert product["name"] == "a"
    assert (await shop.product(str(trashed)) or {})["status"] == "trash"
    assert await shop.product(str(deleted)) is None


@pytest.mark.parametrize("name", ["err_404_woocommerce_inactive", "plain_permalinks_wp_json"])
async def test_another_404_is_no_evidence(name: str, shop: Shop, model: ModelShop) -> None:
    """A 404 that WooCommerce did not say, or a redirect, does not make a product absent."""
    model.fault = lambda _: replay(name)
    with pytest.raises(ShopProtocolError):
        await shop.product("12")


async def test_an_answer_about_another_product(shop: Shop, model: ModelShop) -> None:
    """A cache that answers with another product is not believed."""
    model.fault = lambda _: replay("product_cjk")
    with pytest.raises(ShopProtocolError, match="products/12"):
        await shop.product("12")


@pytest.mark.parametrize("name", ["body_bom_before_json", "body_php_notice_before_json"])
async def test_dirty_bodies(name: str, shop: Shop, model: ModelShop) -> None:
    """A page behind a byte order mark or a PHP warning is read."""
    model.fault = lambda _: replay(name)
    page = await shop.page(BY_ID)
    assert [row["id"] for row in page.rows] == [82, 188]
    assert page.total == 73


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("err_401_wrong_secret", ShopAuthError),
        ("err_403_customer_role_key", ShopAuthError),
        ("err_500_html_db_down", ShopUnavailable),
        ("err_503_maintenance", ShopUnavailable),
        ("err_404_woocommerce_inactive", ShopProtocolError),
        ("product_cjk", ShopProtocolError),
    ],
)
async def test_refusals(name: str, error: type[ShopError], shop: Shop, model: ModelShop) -> None:
    """What the shop refuses, or answers without being a list of products, is an error of its kind."""
    model.fault = lambda _: replay(name)
    with pytest.raises(error, match="store atelier"):
        await shop.page(BY_ID)


async def test_wrong_keys(web: Web, model: ModelShop, make_store: MakeStore) -> None:
    """Keys that the shop does not know end in an error that holds no key."""
    shop = Shop(make_store(consumer_key="ck_unknown_to_it"), web)
    with pytest.raises(ShopAuthError, match="the key is unknown") as error:
        await shop.page(BY_ID)
    assert "ck_unknown_to_it" not in str(error.value)


async def test_a_page_that_is_no_json(shop: Shop, model: ModelShop) -> None:
    """An HTML page with status 200 is an error that says who may have answered."""
    model.fault = lambda _: Response("<!DOCTYPE html><html><body>Hello</body></html>", media_type="text/html")
    with pytest.raises(ShopProtocolError, match="a cache, a firewall or a plugin"):
        await shop.page(BY_ID)


async def test_no_answer_at_all(make_store: MakeStore, web: Web) -> None:
    """A host that the guard refuses is an error of the store, with the guard's advice."""
    shop = Shop(make_store(url="https://other.example"), web)
    with pytest.raises(ShopError, match="allow_private_hosts"):
        await shop.page(BY_ID)


async def test_one_bad_product(shop: Shop, model: ModelShop) -> None:
    """A product that cannot be encoded costs its page nothing but itself, and is named."""
    ids = [model.add(name=f"Product {number}") for number in range(230)]
    model.fault = poisoned(model, ids[137])
    page = await shop.page({**BY_ID, "page": 2})
    assert [row["id"] for row in page.rows] == [key for key in ids[100:200] if key != ids[137]]
    assert page.unreadable == (str(ids[137]),)
    assert (page.total, page.date, page.steady) == (230, NOW, True)


async def test_a_bad_product_without_a_name(shop: Shop, model: ModelShop) -> None:
    """A product that fails even when only its id is asked for is left out, and nothing else is."""
    ids = [model.add(name=f"Product {number}") for number in range(7)]
    model.fault = poisoned(model, ids[3], fields="id")
    page = await shop.page(BY_ID)
    assert [row["id"] for row in page.rows] == [key for key in ids if key != ids[3]]
    assert page.unreadable == ()


async def test_every_product_is_bad(shop: Shop, model: ModelShop) -> None:
    """A shop in which every product fails is unavailable, and found to be so in a few requests."""
    ids = [model.add(name=f"Product {number}") for number in range(100)]
    model.fault = poisoned(model, *ids)
    with pytest.raises(ShopUnavailable):
        await shop.page(BY_ID)
    assert len(model.asked) < 100


async def test_the_total_moves_between_parts(shop: Shop, model: ModelShop) -> None:
    """A page read in parts is not steady when products come or go between them."""
    ids = [model.add(name=f"Product {number}") for number in range(40)]
    poison = poisoned(model, ids[7])

    def fault(request: Request) -> Response | None:
        if "&page=2&" in request.url.query and len(model.products) == 40:
            model.force_delete(ids[30])
        return poison(request)

    model.fault = fault
    page = await shop.page(BY_ID)
    assert page.unreadable == (str(ids[7]),)
    assert not page.steady


async def test_currency(shop: Shop, store: Store, model: ModelShop, web: Web, make_store: MakeStore) -> None:
    """The currency is the store's own setting, else what the shop says, by either of its two ways."""
    model.currency = "SEK"
    assert await shop.currency() == "SEK"
    model.fault = lambda request: replay("err_403_customer_role_key") if "settings" in request.url.path else None
    assert await shop.currency() == "SEK"
    model.asked.clear()
    assert await Shop(make_store(currency="CHF"), web).currency() == "CHF"
    assert not model.asked


async def test_recorded_currency(shop: Shop, model: ModelShop) -> None:
    """The recorded answers about the currency are read."""
    model.fault = lambda _: replay("settings_general_currency")
    assert await shop.currency() == "EUR"
    model.fault = lambda request: replay("data_currencies_current" if "data" in request.url.path else "err_404_route")
    assert await shop.currency() == "EUR"


async def test_no_currency(shop: Shop, model: ModelShop) -> None:
    """A currency that nobody says is never guessed: the error tells which line to write where."""
    key = model.keys[0]
    model.keys = [Key(key.consumer_key, key.consumer_secret, may_view=frozenset({"products"}))]
    with pytest.raises(ShopError, match=r"set `currency:`.*stores\.yaml"):
        await shop.currency()


@pytest.mark.parametrize("total", ["", "-1", "many", "9" * 9, "9" * 5000, "³"])
def test_no_total_that_a_shop_can_have(total: str) -> None:
    """A total that is no number, or larger than any shop, counts as none: pages are not planned by it."""
    assert read_total(Reply(200, httpx.Headers([(b"x-wp-total", total.encode())]), b"[]", "")) is None


async def test_no_date_and_no_total(shop: Shop, model: ModelShop) -> None:
    """A shop without Date and X-WP-Total is read, and what is missing is None."""

    def fault(request: Request) -> Response:
        return Response(json.dumps([body("product_cjk")]), headers={"date": "yesterday"})

    model.fault = fault
    page = await shop.page(BY_ID)
    assert (page.total, page.date) == (None, None)


async def test_at_once_in_order() -> None:
    """Answers keep the order of the questions, and the first error is raised as it is."""

    async def answer(value: int) -> int:
        if value < 0:
            msg = "negative"
            raise ValueError(msg)
        return value

    def ask(value: int) -> Any:
        return lambda: answer(value)

    assert await gather_limited([ask(value) for value in range(9)]) == list(range(9))
    with pytest.raises(ValueError, match="negative"):
        await gather_limited([ask(1), ask(-1), ask(2)])
    assert await gather_limited([]) == []


def test_link_is_not_followed() -> None:
    """The recorded Link header repeats the keys of the query: a reason to send none and to follow none."""
    headers = httpx.Headers(list(replay("products_query_auth_link_leak").headers.items()))
    assert "consumer_secret" in headers["link"]
