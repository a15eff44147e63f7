from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fashion_pipeline.model_shop.shop import Key, ModelShop
from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.model_shop.recordings import (
    FOLDERS,
    KEYS,
    READER,
    ask,
    below_x,
    moment,
    recorded,
    type_in,
    whole_shop,
)

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

ASKED_BY = {
    "err_401_no_auth": None,
    "err_401_unknown_key": Key("ck_nobody", "cs_nobody"),
    "err_401_wrong_secret": Key("ck_reader", "cs_wrong"),
    "err_401_read_with_write_only_key": KEYS[1],
    "err_403_customer_role_key": KEYS[2],
    "wc_v3_index": None,
}
"""Whose keys were sent, where it is not the reader's."""

AT_REST = {
    *("data_currencies_current", "wc_v3_index"),
    *("err_400_modified_after", "err_400_orderby", "err_401_no_auth", "err_401_read_with_write_only_key"),
    *("err_401_unknown_key", "err_401_write_with_read_key", "err_401_wrong_secret", "err_403_customer_role_key"),
    *("err_401_basic_over_http", "err_404_product", "err_404_route"),
    *("product_anim_gif", "product_cjk", "product_cmyk", "product_comma_price", "product_deleted_get_by_id"),
    *("product_draft", "product_emoji", "product_exif", "product_external", "product_external_nourl"),
    *("product_grouped", "product_hidden", "product_html_title", "product_huge_image", "product_long_desc"),
    *("product_long_title", "product_many_images", "product_no_image", "product_no_price", "product_out_of_stock"),
    *("product_password", "product_private", "product_rtl", "product_sale_scheduled", "product_trashed_get_by_id"),
    *("product_variable0", "product_variable_empty", "product_virtual", "product_webp", "product_zero_price"),
    *("products_beyond_last", "products_default", "products_exclude", "products_exclude_status", "products_fields"),
    *("products_include", "products_include_over_per_page", "products_include_status_any_trash"),
    *("products_include_trash", "products_last_page_id_asc", "products_page1_id_asc", "products_page2_id_asc"),
    *("products_page_0", "products_per_page_0", "products_per_page_100", "products_per_page_101"),
    *("products_status_any", "products_status_bogus", "products_status_draft", "products_status_future"),
    *("products_status_pending", "products_status_private", "products_status_publish", "products_status_trash"),
    "products_trash_modified_after",
}
"""Recorded before anything changed in the shop."""

EDITED = {
    *("modified_after_equal_gmt", "modified_after_minus_1s_Z_and_gmt_flag", "modified_after_minus_1s_Z_no_flag"),
    *("modified_after_minus_1s_gmt", "modified_after_minus_1s_naive_no_flag"),
}
"""Recorded after product 105 was edited."""

LATER = {
    *("product_admin_draft_null_dates", "products_head_counts", "products_orderby_modified_asc"),
    *("products_orderby_modified_desc", "products_query_auth_link_leak"),
}
"""Recorded when two products more were there, and most had been edited."""

FAULTY: dict[str, Fault] = {
    "body_bom_before_json": faults.byte_order_mark(),
    "body_php_notice_before_json": faults.php_notice(),
    "err_404_woocommerce_inactive": faults.inactive_woocommerce(),
    "err_500_html_db_down": faults.database_down(),
    "err_500_json_encode": faults.poison(105),
    "err_500_php_fatal": faults.fatal_error(),
    "err_503_maintenance": faults.maintenance(),
    "plain_permalinks_index_php": faults.plain_permalinks(),
    "plain_permalinks_rest_route_basic": faults.plain_permalinks(),
    "plain_permalinks_rest_route_query_keys": faults.plain_permalinks(),
    "plain_permalinks_wp_json": faults.plain_permalinks(),
}
"""Recorded while something was wrong."""

IN_PART = {
    *("index", "settings_general", "settings_general_currency", "settings_readonly_key", "system_status"),
    "wc_v3_products_args",
}
"""The model has what a reader needs of them: see ``test_rest``."""

ELSEWHERE = {
    *("variation_single", "variation_via_products", "variations_all_endpoint", "variations_all_modified_after"),
    *("variations_modified_after", "variations_of_missing_parent", "variations_page1"),
    *("webhook_pings", "webhook_product_created", "webhook_product_deleted_trash", "webhook_product_force_deleted"),
    *("webhook_product_published", "webhook_product_restored", "webhook_product_unpublished"),
    *("webhook_product_updated", "webhook_product_updated_coalesced", "webhook_three_updates"),
    "webhook_variation_updated",
}
"""See ``test_variations`` and ``test_webhooks``."""

UNUSED = {"categories"}
"""Of a route that the model has not, for nobody here asks it."""

NOT_OF_THE_SHOP = {"date", "content-length"}
"""Headers that the recordings do not have."""


def test_every_recording_is_held_against_the_model() -> None:
    """No recording that lies in the repository is left out in silence."""
    there = {path.stem for folder in FOLDERS for path in folder.glob("*.json")}
    assert AT_REST | EDITED | LATER | FAULTY.keys() | IN_PART | ELSEWHERE | UNUSED == there


@pytest.mark.parametrize("name", sorted(AT_REST))
async def test_a_shop_at_rest(name: str) -> None:
    """Status, every header, and every field in its order are those recorded."""
    await assert_answers_as_recorded(name, whole_shop())


@pytest.mark.parametrize("name", sorted(EDITED))
async def test_dates_in_a_query(name: str) -> None:
    """modified_after excludes its own second, is local without the flag, and misleads with flag and suffix, as recorded."""
    shop = whole_shop()
    shop.products[105].modified = moment("2026-11-20T16:03:37")
    await assert_answers_as_recorded(name, shop)


@pytest.mark.parametrize("name", sorted(LATER))
async def test_a_shop_that_was_edited(name: str) -> None:
    """Order by date, ties by id, dates in the future and the leaking Link are those recorded."""
    await assert_answers_as_recorded(name, later_shop())


@pytest.mark.parametrize("name", sorted(FAULTY))
async def test_a_shop_where_something_is_wrong(name: str) -> None:
    """A fault answers as the recorded shop did that had it; of an HTML page, title and message."""
    shop = later_shop()
    shop.fault = FAULTY[name]
    await assert_answers_as_recorded(name, shop)


def later_shop() -> ModelShop:
    """Return the shop as it was for the recordings in ``LATER``."""
    shop = whole_shop()
    type_in(shop, recorded("product_admin_draft_null_dates")["response"]["body"])
    imported = type_in(shop, recorded("product_webp")["response"]["body"] | {"id": 189, "name": "Imported From Future"})
    shop.products[82].created = moment("2027-03-01T10:00:00")
    for number, product in enumerate(shop.products.values()):
        product.modified = datetime(2026, 11, 20, 16, 5, tzinfo=UTC) + timedelta(seconds=number)
    for name in ("products_orderby_modified_asc", "products_orderby_modified_desc"):
        for row in recorded(name)["response"]["body"]:
            shop.products[row["id"]].modified = moment(row["date_modified_gmt"])
    shop.products[188].modified = moment("2026-11-20T16:01:12")
    imported.created = moment("2026-11-20T16:01:00")
    shop.keys = [*KEYS, Key("ck_" + "a" * 40, "cs_" + "a" * 40)]
    return shop


async def assert_answers_as_recorded(name: str, shop: ModelShop) -> None:
    """Ask what was asked, and compare everything that was recorded."""
    request, expected = recorded(name)["request"], recorded(name)["response"]
    url = below_x(request["url"])
    by_keys = request.get("auth") == "basic" and ASKED_BY.get(name, READER)
    answer = await ask(shop, url, method=request["method"], key=by_keys or None, json=request.get("json"))
    headers = {header: below_x(value) for header, value in expected["headers"]}
    if url.startswith("http://") and "link" in headers:
        headers["link"] = headers["link"].replace("http://", "https://")  # the model believes to live under https
    assert answer.status_code == expected["status"]
    assert {header: value for header, value in answer.headers.items() if header not in NOT_OF_THE_SHOP} == headers
    assert _body(answer) == _recorded_body(expected)


def _body(answer: httpx.Response) -> str:
    if answer.headers["content-type"].startswith("text/html"):
        return _of_a_page(answer.text)
    return answer.text if not answer.text.startswith(("[", "{")) else _spelled(answer.json())


def _recorded_body(expected: dict[str, Any]) -> str:
    if "body" in expected:
        return _spelled(below_x(expected["body"]))
    text: str = expected["body_text"]
    return _of_a_page(text) if "<html" in text else text


def _of_a_page(text: str) -> str:
    """Return a page's title and message: its style sheet was not written anew, nor where its links lead."""
    found = [re.search(pattern, text, re.DOTALL) for pattern in (r"<title>(.*?)</title>", r"<body.*?>(.*)</body>")]
    words = " | ".join(" ".join(re.sub(r"<p><a .*?</p>|<[^>]*>", "", part[1]).split()) for part in found if part)
    return words or text


def _spelled(value: Any) -> str:
    """Return JSON with the fields in their order, without what WooCommerce draws anew for each answer."""
    if isinstance(value, dict):
        value.pop("related_ids", None)
    for row in value if isinstance(value, list) else ():
        row.pop("related_ids", None)
    return json.dumps(value, indent=0, ensure_ascii=False)
