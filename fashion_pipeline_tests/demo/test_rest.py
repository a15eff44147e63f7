from __future__ import annotations

import pytest

from fashion_pipeline.demo.shop import Key
from fashion_pipeline_tests.demo.recordings import KEYS, READER, ask, below_x, products_url, recorded, recorded_shop

COMPARED = ("content-type", "link", "allow", "cache-control", "vary", "x-wp-total", "x-wp-totalpages", "x-robots-tag")

ASKED_AS = {
    "err_401_no_auth": None,
    "err_401_unknown_key": Key("ck_nobody", "cs_nobody"),
    "err_401_wrong_secret": Key("ck_reader", "cs_wrong"),
    "err_401_read_with_write_only_key": KEYS[1],
    "err_403_customer_role_key": KEYS[2],
    "wc_v3_index": None,
}


@pytest.mark.parametrize(
    "name",
    [
        *("err_400_modified_after", "err_400_orderby", "err_401_basic_over_http", "err_401_no_auth"),
        *("err_401_read_with_write_only_key", "err_401_unknown_key", "err_401_write_with_read_key"),
        *("err_401_wrong_secret", "err_403_customer_role_key", "err_404_product", "err_404_route"),
        *("products_beyond_last", "products_exclude", "products_include_over_per_page", "products_include_trash"),
        *("products_page_0", "products_per_page_0", "products_per_page_101", "products_status_bogus"),
        *("products_status_any", "products_status_draft", "products_status_future", "products_status_pending"),
        *("products_status_private", "products_status_publish", "products_status_trash"),
        *("products_include_status_any_trash", "data_currencies_current", "wc_v3_index"),
    ],
)
async def test_answers_as_recorded(name: str) -> None:
    """Asked what a real shop was asked, the model answers with the same status, headers and body."""
    recording = recorded(name)
    request, expected = recording["request"], recording["response"]
    url = below_x(request["url"])
    answer = await ask(
        recorded_shop(), url, method=request["method"], key=ASKED_AS.get(name, READER), json=request["json"]
    )
    assert answer.status_code == expected["status"]
    headers = {header: below_x(value) for header, value in expected["headers"] if header in COMPARED}
    if url.startswith("http://"):
        headers["link"] = headers["link"].replace("http://", "https://")  # the model believes to live under https
    assert {header: answer.headers[header] for header in COMPARED if header in answer.headers} == headers
    assert answer.json() == below_x(expected["body"])


async def test_head_brings_totals_without_a_body() -> None:
    """HEAD answers with the headers of GET, and nothing else."""
    expected = dict(recorded("products_head_counts")["response"]["headers"])
    answer = await ask(recorded_shop(), products_url("?per_page=1"), method="HEAD", key=READER)
    assert answer.content == b""
    assert answer.headers["x-wp-total"] == answer.headers["x-wp-totalpages"] == "71"
    assert answer.headers["link"] == below_x(expected["link"])


async def test_keys_in_the_query_leak_into_link() -> None:
    """A shop asked with its keys in the URL repeats them in Link, as WooCommerce does."""
    url = products_url("?consumer_key=ck_reader&consumer_secret=cs_reader&per_page=2&_fields=id")
    answer = await ask(recorded_shop(), url)
    assert answer.status_code == 200
    assert answer.headers["link"] == f'<{url}&page=2>; rel="next"'


async def test_currency_setting_has_the_recorded_form() -> None:
    """The currency setting has the recorded keys, the value among its options, and nothing invented."""
    expected = recorded("settings_general_currency")["response"]["body"]
    url = "https://store.example/x/wp-json/wc/v3/settings/general/woocommerce_currency"
    body = (await ask(recorded_shop(), url, key=READER)).json()
    assert body["options"]["EUR"] == expected["options"]["EUR"]
    assert {**body, "options": {}} == below_x({**expected, "options": {}})


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
    assert (body["environment"]["version"], body["settings"]["currency"]) == ("11.0.1", "EUR")


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
