# ruff: noqa: ARG002, PLR0917 - oauthlib says which arguments its validator takes
from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from oauthlib import oauth1

from fashion_pipeline.errors import ShopAuthError
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.shop.auth import authentication
from fashion_pipeline.shop.rest import Params, Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.model_shop.faults import strips_authorization, unaware_of_https
from fashion_pipeline_tests.shop.conftest import MakeStore, StoppedClock

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-WP-Total: 0\r\nContent-Length: 2\r\n\r\n[]"


class Keys(oauth1.RequestValidator):  # type: ignore[misc]  # oauthlib has no types
    """oauthlib's server side: it knows one key, and every nonce once."""

    enforce_ssl = False
    dummy_client = "unknown"

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._nonces: set[str] = set()

    def check_client_key(self, client_key: str) -> bool:
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        return bool(nonce)

    def validate_client_key(self, client_key: str, request: object) -> bool:
        return client_key == self._store.consumer_key.get_secret_value()

    def validate_timestamp_and_nonce(
        self,
        client_key: str,
        timestamp: str,
        nonce: str,
        request: object,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        fresh = nonce not in self._nonces
        self._nonces.add(nonce)
        return fresh

    def get_client_secret(self, client_key: str, request: object) -> str:
        return self._store.consumer_secret.get_secret_value()


class Loopback:
    """A server that keeps the head of every request and answers with an empty list."""

    def __init__(self) -> None:
        self.heads: list[list[str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n"))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()


def header(head: list[str], name: str) -> str:
    return next(line.partition(": ")[2] for line in head if line.lower().startswith(f"{name}: "))


async def test_plain_http_is_signed(make_store: MakeStore, clock: StoppedClock) -> None:
    """Over http each request carries a signature that oauthlib's server side accepts, and no key in its URL."""
    loopback = Loopback()
    server = await asyncio.start_server(loopback.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = make_store(url=f"http://127.0.0.1:{port}/sub/shop")
    guard = Guard(allow_private_hosts=("127.0.0.1",))
    async with server, Web(guard=guard, clock=clock, user_agent="tests") as web:
        params: Params = {
            "include": "12,14",
            "modified_after": "2026-11-20T16:00:00",
            "search": "a b&c=d/é~",
            "per_page": 1,
        }
        for _ in range(2):
            await Shop(store, web).page(params)
    endpoint = oauth1.SignatureOnlyEndpoint(Keys(store))
    for head in loopback.heads:
        method, target, _ = head[0].split(" ")
        assert target.startswith("/sub/shop/wp-json/wc/v3/products?include=12%2C14&")
        signed = {"Authorization": header(head, "authorization")}
        valid, _ = endpoint.validate_request(f"http://127.0.0.1:{port}{target}", method, None, signed)
        assert valid
        forged, _ = endpoint.validate_request(f"http://127.0.0.1:{port}{target}&x=1", method, None, signed)
        assert not forged
        assert "consumer" not in target
        assert store.consumer_secret.get_secret_value() not in "\n".join(head)
        assert 'oauth_signature_method="HMAC-SHA256"' in signed["Authorization"]
    assert len(loopback.heads) == 2


def test_https_is_basic(store: Store) -> None:
    """Over https the keys travel as HTTP Basic, in the header."""
    request = httpx.Request("GET", f"{store.url}/wp-json/wc/v3/products")
    signed = next(authentication(store).auth_flow(request))
    keys = f"{store.consumer_key.get_secret_value()}:{store.consumer_secret.get_secret_value()}"
    assert signed.headers["Authorization"] == "Basic " + base64.b64encode(keys.encode()).decode()
    assert signed.url == f"{store.url}/wp-json/wc/v3/products"


@pytest.mark.parametrize("url", ["http://shop.example/atelier", "https://shop.example/atelier"])
@pytest.mark.parametrize("auth", ["auto", "query", "oauth1"])
async def test_every_way_is_accepted_where_it_is_meant_for(
    auth: str, url: str, web: Web, model: ModelShop, make_store: MakeStore
) -> None:
    """Over http and https, each value of ``auth`` opens the kind of shop that it is for, query and all."""
    model.origin = "https://shop.example"
    model.fault = {"auto": None, "query": strips_authorization(), "oauth1": unaware_of_https()}[auth]
    product = model.add(name="A")
    store = make_store(url=url, auth=auth)
    page = await Shop(store, web).page({"include": f"{product},99", "search": "", "per_page": 1})
    assert [row["id"] for row in page.rows] == [product]
    asked = model.asked[-1].query
    in_url = {name: name in asked for name in ("consumer_key=", "consumer_secret=", "oauth_signature=")}
    is_https = url.startswith("https")
    assert in_url == {
        "consumer_key=": auth == "query",  # of oauth_consumer_key= over http
        "consumer_secret=": auth == "query" and is_https,
        "oauth_signature=": auth == "query" and not is_https,
    }


@pytest.mark.parametrize("fault", [strips_authorization, unaware_of_https])
async def test_what_needs_a_setting_fails_without(
    fault: Callable[[], Fault], web: Web, model: ModelShop, make_store: MakeStore
) -> None:
    """The two kinds of shop that ``auth`` is for refuse what is sent by default, and the keys stay out of the URL."""
    model.fault = fault()
    with pytest.raises(ShopAuthError):
        await Shop(make_store(), web).page({"per_page": 1})
    assert "consumer" not in model.asked[-1].query
