from __future__ import annotations

import pytest

from fashion_pipeline.model_shop.shop import Key
from fashion_pipeline_tests.model_shop.recordings import READER, ask, below_x, products_url, recorded, recorded_shop


@pytest.mark.parametrize("name", ["settings_general_currency", "settings_readonly_key"])
async def test_currency_setting_has_the_recorded_form(name: str) -> None:
    """The currency setting has the recorded keys, the value among its options, and nothing invented."""
    expected = recorded(name)["response"]["body"]
    url = "https://store.example/x/wp-json/wc/v3/settings/general/woocommerce_currency"
    body = (await ask(recorded_shop(), url, key=READER)).json()
    assert body["options"]["EUR"] == expected["options"]["EUR"]
    assert {**body, "options": {}} == below_x({**expected, "options": {}})


async def test_settings_have_the_recorded_form() -> None:
    """Of the general settings those about prices are there, in the recorded order, field by field."""
    expected = below_x(recorded("settings_general")["response"])
    answer = await ask(recorded_shop(), "https://store.example/x/wp-json/wc/v3/settings/general", key=READER)
    rows = answer.json()
    assert [list(row) for row in rows] == [list(row) for row in expected["body"][-len(rows) :]]
    assert [row | {"options": {}} for row in rows] == [row | {"options": {}} for row in expected["body"][-len(rows) :]]
    assert rows[1]["options"] == expected["body"][-4]["options"]
    assert answer.headers["allow"] == dict(expected["headers"])["allow"]


async def test_currency_and_settings_need_more_than_products() -> None:
    """A key that may only see products is refused the settings with 403."""
    shop = recorded_shop()
    shop.keys = [Key("ck_some", "cs_some", may_view=frozenset({"products"}))]
    for path in ("settings/general/woocommerce_currency", "data/currencies/current", "system_status"):
        answer = await ask(shop, f"https://store.example/x/wp-json/wc/v3/{path}", key=shop.keys[0])
        assert (answer.status_code, answer.json()["code"]) == (403, "woocommerce_rest_cannot_view")
    assert (await ask(shop, products_url(), key=shop.keys[0])).status_code == 200


async def test_capabilities_are_public_and_as_recorded() -> None:
    """Without keys, the route index lists the recorded arguments of the products route."""
    expected = recorded("wc_v3_products_args")["response"]["body"]["routes"]["/wc/v3/products"]["endpoints"][0]
    body = (await ask(recorded_shop(), "https://store.example/x/wp-json/wc/v3")).json()
    assert body["routes"]["/wc/v3/products"]["endpoints"][0] == expected


async def test_index_names_the_site() -> None:
    """The index of wp-json has the recorded keys, the site's zone and the wc/v3 namespace."""
    recording = recorded("index")
    body = (await ask(recorded_shop(), below_x(recording["request"]["url"]))).json()
    expected = recording["response"]["body"]
    assert list(body) == list(expected)
    assert (body["gmt_offset"], body["timezone_string"], body["url"]) == (1, "Europe/Paris", "https://store.example/x")
    assert "wc/v3" in body["namespaces"]


async def test_system_status_tells_version_and_currency() -> None:
    """The status names WooCommerce's version and the currency where the real one has them."""
    body = (await ask(recorded_shop(), "https://store.example/x/wp-json/wc/v3/system_status", key=READER)).json()
    expected = recorded("system_status")["response"]["body"]
    for part in ("environment", "settings"):
        ours = {name: value for name, value in body[part].items() if not name.endswith("_url")}
        assert ours == {name: expected[part][name] for name in ours}


async def test_date_is_the_shops_clock() -> None:
    """Every answer carries the shop's own time, refusals too."""
    shop = recorded_shop()
    for key in (READER, None):
        answer = await ask(shop, products_url(), key=key)
        assert answer.headers["date"] == "Fri, 20 Nov 2026 16:05:00 GMT"


async def test_anonymous_cannot_tell_products_apart() -> None:
    """Without a key an existing product is 401 and a missing one 404, as WooCommerce decides."""
    shop = recorded_shop()
    assert (await ask(shop, products_url("/105"))).status_code == 401
    assert (await ask(shop, products_url("/999999"))).status_code == 404


async def test_a_list_of_ids_may_come_as_a_json_body() -> None:
    """A GET with a JSON body, and a POST that overrides its method, take arguments from the body."""
    shop = recorded_shop()
    shop.keys = [Key("ck_both", "cs_both", permissions="read_write")]
    ids = sorted(shop.products)[:3]
    seen = {"exclude": sorted(set(shop.products) - set(ids)), "orderby": "id", "order": "asc"}
    by_get = await ask(shop, products_url(), key=shop.keys[0], json=seen)
    override = {"x-http-method-override": "GET"}
    by_post = await ask(shop, products_url(), key=shop.keys[0], method="POST", json=seen, headers=override)
    assert [row["id"] for row in by_get.json()] == [row["id"] for row in by_post.json()] == ids
