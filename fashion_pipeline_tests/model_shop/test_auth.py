from __future__ import annotations

import time

import pytest
from oauthlib.oauth1 import Client

from fashion_pipeline.model_shop.shop import Key, ModelShop
from fashion_pipeline_tests.model_shop.recordings import READER, ask, products_url, recorded_shop

URL = products_url("?per_page=2&_fields=id%2Cname&include=12%2C14&orderby=id", scheme="http")


async def signed(shop: ModelShop, url: str = URL, key: Key = READER, **options: str) -> tuple[int, str]:
    """Ask over http with a signature made by oauthlib; return status and error message."""
    uri, headers, _ = Client(key.consumer_key, key.consumer_secret, **options).sign(url)
    answer = await ask(shop, uri, headers=headers)
    return answer.status_code, answer.json()["message"] if answer.status_code != 200 else ""


@pytest.mark.parametrize("method", ["HMAC-SHA1", "HMAC-SHA256"])
@pytest.mark.parametrize("place", ["AUTH_HEADER", "QUERY"])
async def test_oauth_opens_http(method: str, place: str) -> None:
    """Over http a request signed with OAuth 1.0a is answered, signature in the header or in the query."""
    assert await signed(recorded_shop(), signature_method=method, signature_type=place) == (200, "")


async def test_oauth_with_a_wrong_secret_is_refused() -> None:
    """A signature by another secret does not match."""
    status, message = await signed(recorded_shop(), key=Key("ck_reader", "cs_other"))
    assert (status, message) == (401, "Invalid signature - provided signature does not match.")


async def test_oauth_with_an_unknown_key_is_refused() -> None:
    """A signature by an unknown key is refused as such, unlike Basic with one."""
    assert await signed(recorded_shop(), key=Key("ck_nobody", "cs")) == (401, "Consumer key is invalid.")


async def test_oauth_covers_the_query() -> None:
    """A query changed after signing breaks the signature."""
    _, headers, _ = Client("ck_reader", "cs_reader", signature_method="HMAC-SHA256").sign(URL)
    assert (await ask(recorded_shop(), f"{URL}&page=2", headers=headers)).status_code == 401


async def test_a_signature_counts_once() -> None:
    """The same signed request sent again is refused: a retry must sign anew."""
    shop = recorded_shop()
    uri, headers, _ = Client("ck_reader", "cs_reader", signature_method="HMAC-SHA256").sign(URL)
    assert (await ask(shop, uri, headers=headers)).status_code == 200
    again = await ask(shop, uri, headers=headers)
    assert (again.status_code, again.json()["message"]) == (401, "Invalid nonce - nonce has already been used.")


async def test_an_old_signature_is_refused() -> None:
    """A signature of 16 minutes ago is refused."""
    stamp = str(int(time.time()) - 960)
    assert await signed(recorded_shop(), signature_method="HMAC-SHA256", timestamp=stamp) == (401, "Invalid timestamp.")


async def test_half_an_oauth_request_is_refused() -> None:
    """Missing OAuth parameters are named."""
    answer = await ask(recorded_shop(), products_url("?oauth_consumer_key=ck_reader&oauth_nonce=1", scheme="http"))
    assert (
        answer.json()["message"] == "Missing OAuth parameters oauth_timestamp, oauth_signature, oauth_signature_method"
    )


async def test_keys_in_the_open_do_not_open_http() -> None:
    """Over http neither Basic nor keys in the query count."""
    shop = recorded_shop()
    for url in (URL, f"{URL}&consumer_key=ck_reader&consumer_secret=cs_reader"):
        answer = await ask(shop, url, key=READER)
        assert (answer.status_code, answer.json()["code"]) == (401, "woocommerce_rest_cannot_view")


async def test_a_broken_basic_header_is_anonymous() -> None:
    """A header that is not Basic's form is no key at all."""
    answer = await ask(recorded_shop(), products_url(), headers={"authorization": "Basic !!!"})
    assert answer.json()["code"] == "woocommerce_rest_cannot_view"
