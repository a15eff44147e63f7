from __future__ import annotations

import gzip
import json
from pathlib import Path

import httpx
import pytest

from fashion_pipeline.errors import ShopAuthError, ShopError, ShopProtocolError, ShopUnavailable
from fashion_pipeline.shop.answers import error_code, not_json, read_date, read_json, refusal
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Reply
from fashion_pipeline_tests.shop.conftest import MakeStore
from fashion_pipeline_tests.shop.recordings import recorded, replay

FIXTURES = Path(__file__).parents[1] / "fixtures"


def reply(name: str) -> Reply:
    response = replay(name)
    headers = httpx.Headers(list(response.headers.items()))
    return Reply(response.status_code, headers, bytes(response.body), recorded(name)["request"]["url"])


@pytest.mark.parametrize("name", ["body_bom_before_json", "body_php_notice_before_json"])
def test_dirt_before_json(name: str) -> None:
    """A byte order mark or a PHP warning before the JSON is passed over."""
    assert read_json(reply(name).body) == [{"id": 82}, {"id": 188}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('Notice: Undefined array key [0] in {main} on line [1]<br />\n[{"id": 1}]', [{"id": 1}]),
        ('{"id": 1}\n<br />\n<b>Deprecated</b>: x in y', {"id": 1}),
        ('\ufeff\ufeff {"a": "\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_brackets_in_dirt(text: str, value: object) -> None:
    """Brackets inside a notice are not taken for the JSON, and a notice may follow it."""
    assert read_json(text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><script>[1]</script></html>",
        "<!DOCTYPE html>\n<script>{}</script>",
        "[" * 100_000,
        "[1] and more",
        '{"a": ' + "1" * 5000 + "}",
    ],
)
def test_no_json(text: str) -> None:
    """A page, a torn or a monstrous body is refused, whatever JSON is inside."""
    with pytest.raises(ValueError, match="no JSON"):
        read_json(text.encode())


@pytest.mark.parametrize(
    ("name", "error", "advice"),
    [
        ("err_401_no_auth", ShopAuthError, "drops the Authorization header"),
        ("err_401_unknown_key", ShopAuthError, "the key is unknown"),
        ("err_401_wrong_secret", ShopAuthError, "check consumer_key and consumer_secret"),
        ("err_401_read_with_write_only_key", ShopAuthError, "Read permission"),
        ("err_403_customer_role_key", ShopAuthError, "administrator or a shop manager"),
        ("err_404_woocommerce_inactive", ShopProtocolError, "activate the plugin"),
        ("err_404_route", ShopProtocolError, "activate the plugin"),
        ("err_400_modified_after", ShopProtocolError, "5.8 or newer"),
        ("err_400_orderby", ShopProtocolError, "5.8 or newer"),
        ("err_500_html_db_down", ShopUnavailable, "retried later"),
        ("err_500_php_fatal", ShopUnavailable, "retried later"),
        ("err_503_maintenance", ShopUnavailable, "asks to wait 600 s"),
        ("plain_permalinks_wp_json", ShopProtocolError, "Settings > Permalinks"),
        ("plain_permalinks_rest_route_basic", ShopAuthError, "permalinks are set to Plain"),
    ],
)
def test_recorded_refusal(name: str, error: type[ShopError], advice: str, make_store: MakeStore) -> None:
    """Every recorded refusal has its class, the store, the path and what to do about it."""
    found = refusal(reply(name), store=make_store(url="https://store.example"), path="products")
    assert type(found) is error
    assert str(found).startswith("store atelier: GET https://store.example/wp-json/wc/v3/products answered ")
    assert advice in str(found)


def test_another_address(store: Store) -> None:
    """A redirect to another origin names it, without its query."""
    headers = httpx.Headers({"location": "https://www.shop.example/atelier/wp-json/wc/v3/products?consumer_key=ck_x"})
    found = refusal(Reply(301, headers, b"", store.url), store=store, path="products")
    assert "https://www.shop.example/atelier: set the store's url in stores.yaml to that" in str(found)
    assert "ck_x" not in str(found)


def test_a_firewall(store: Store) -> None:
    """A 403 that is no WordPress error blames what stands before the shop."""
    found = refusal(Reply(403, httpx.Headers(), b"<html>Denied</html>", store.url), store=store, path="products")
    assert isinstance(found, ShopAuthError)
    assert "firewall" in str(found)


def test_keys_are_blanked(store: Store) -> None:
    """A shop that repeats a key in its message does not get it into ours."""
    key = store.consumer_key.get_secret_value()
    body = json.dumps({"code": "rest_odd", "message": f"bad key {key}"}).encode()
    found = refusal(Reply(400, httpx.Headers(), body, store.url), store=store, path="products")
    assert "bad key ***" in str(found)


def test_a_shop_steers_no_terminal(store: Store) -> None:
    """Whatever it puts into a header or a field's name, messages stay printable, and short."""
    hostile = "\x1b]0;x\x07\x1b[2J" + "A" * 50_000
    page = Reply(200, httpx.Headers({"content-type": hostile}), b"{", store.url)
    busy = Reply(429, httpx.Headers({"retry-after": "9" * 5_000}), b"", store.url)
    with pytest.raises(ShopProtocolError, match="without a numeric id") as named:
        product_id({hostile: 1}, store=store)
    for error in (
        not_json(page, ValueError("half an object"), store=store, path="products"),
        refusal(busy, store=store, path="products"),
        named.value,
    ):
        assert str(error).isprintable()
        assert len(str(error)) < 700


def test_only_woocommerce_says_deleted() -> None:
    """The code of a deleted product is told from a 404 of anything else."""
    assert error_code(reply("product_deleted_get_by_id")) == "woocommerce_rest_product_invalid_id"
    assert error_code(reply("err_404_woocommerce_inactive")) == "rest_no_route"
    assert error_code(Reply(404, httpx.Headers(), b"<html></html>", "")) == ""


@pytest.mark.parametrize(
    "date", ["", "soon", "Fri, 31 Dec 9999 23:59:59 -1400", "Fri, 31 Dec 99999999999999999999 23:59:59"]
)
def test_no_date_that_can_be_read(date: str) -> None:
    """A date beyond the calendar, or none at all, counts as no Date header."""
    assert read_date(Reply(200, httpx.Headers({"date": date}), b"[]", "")) is None


@pytest.mark.parametrize(
    ("wish", "wait_s"), [("600", 600), ("Sat, 21 Nov 2026 13:00:00 GMT", 3600), ("soon", None), (None, None)]
)
def test_how_long_a_shop_asks_to_be_left_alone(wish: str | None, wait_s: float | None, store: Store) -> None:
    """Retry-After goes with the error, in seconds by the shop's own clock."""
    headers = {"date": "Sat, 21 Nov 2026 12:00:00 GMT"} | ({} if wish is None else {"retry-after": wish})
    assert refusal(Reply(503, httpx.Headers(headers), b"", ""), store=store, path="products").retry_after_s == wait_s


@pytest.mark.parametrize(
    "text",
    [
        "<!-- cached --><!DOCTYPE html><html><body>[]</body></html>",
        '<?xml version="1.0"?>\n<page>[]</page>',
        "\n<!--\n--> <html><script>[{}]</script></html>",
    ],
)
def test_a_page_that_holds_a_list(text: str) -> None:
    """An HTML or XML page is no empty listing, whatever stands before its first tag."""
    with pytest.raises(ValueError, match="no JSON but an HTML page"):
        read_json(text.encode())


def test_a_bomb(store: Store) -> None:
    """A few KB that inflate to millions of values are refused by their number, as an answer and as an error."""
    text = gzip.decompress(FIXTURES.joinpath("json-cpu-bomb-8k.gz").read_bytes())
    with pytest.raises(ValueError, match=r"about [\d,]+ values; the limit is 1,000,000"):
        read_json(text)
    with pytest.raises(ValueError, match="values; the limit"):
        read_json(b"[" + b"{}," * 1_000_000 + b"{}]")
    found = refusal(Reply(401, httpx.Headers(), text, store.url), store=store, path="products")
    assert isinstance(found, ShopAuthError)
    assert error_code(Reply(401, httpx.Headers(), b'{"code": "x", "message": "' + b"y" * 70_000 + b'"}', "")) == ""


def test_a_body_of_an_old_database_is_decoded_as_browsers_do() -> None:
    """A Latin-1 body is windows-1252 to a browser; a UTF-8 body that was cut off stays UTF-8."""
    assert read_json('[{"name": "Stra\u00dfe 5\u20ac"}]'.encode("windows-1252")) == [{"name": "Stra\u00dfe 5\u20ac"}]
