"""How requests authenticate with a store's keys.

The keys are sent in the Authorization header. They are in a URL only if the store's ``auth`` says
that its shop needs that.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from urllib.parse import urlencode

import httpx
from oauthlib import oauth1
from pydantic import SecretStr

from fashion_pipeline.stores import Store

# At DEBUG oauthlib logs the key, and httpcore whole headers; Link repeats both keys where the query had them.
for _library in ("oauthlib", "httpcore"):
    logging.getLogger(_library).setLevel(logging.INFO)


class OAuth1(httpx.Auth):
    """OAuth 1.0a with HMAC-SHA256 and no token (RFC 5849). The secret signs the request and is not sent.

    Every attempt is signed anew: WooCommerce refuses a nonce it has seen, and a timestamp more than
    15 minutes away from its own clock.

    Args:
        key, secret: the store's.
        in_query: put the signature into the query, not into the Authorization header.
        as_http: sign the URL with http in place of https, as it looks to a WordPress that is unaware
            of the https in front of it.
    """

    def __init__(self, key: SecretStr, secret: SecretStr, *, in_query: bool = False, as_http: bool = False) -> None:
        self._in_query = in_query
        self._as_http = as_http
        self._client = oauth1.Client(
            key.get_secret_value(),
            client_secret=secret.get_secret_value(),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256,
            signature_type=oauth1.SIGNATURE_TYPE_QUERY if in_query else oauth1.SIGNATURE_TYPE_AUTH_HEADER,
        )

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request's method, URL and query."""
        url = request.url.copy_with(scheme="http") if self._as_http else request.url
        signed, headers, _ = self._client.sign(str(url), request.method)
        if self._in_query:
            request.url = request.url.copy_with(query=httpx.URL(signed).query)
        else:
            request.headers["Authorization"] = headers["Authorization"]
        yield request


class KeysInQuery(httpx.Auth):
    """Both keys as query parameters, for https only: every log that contains the URL contains them."""

    def __init__(self, key: SecretStr, secret: SecretStr) -> None:
        self._keys = {"consumer_key": key.get_secret_value(), "consumer_secret": secret.get_secret_value()}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Append the keys to the query."""
        query = b"&".join(filter(None, [request.url.query, urlencode(self._keys).encode()]))
        request.url = request.url.copy_with(query=query)
        yield request


def authentication(store: Store) -> httpx.Auth:
    """Return how a store's requests authenticate: Basic over https, OAuth 1.0a over http, or as its ``auth`` says.

    WooCommerce reads a Basic header over https only (``is_ssl()`` in
    ``includes/class-wc-rest-authentication.php``), and a secret must not be sent unencrypted.
    """
    key, secret = store.consumer_key, store.consumer_secret
    is_https = store.url.lower().startswith("https://")
    if store.auth == "query":
        return KeysInQuery(key, secret) if is_https else OAuth1(key, secret, in_query=True)
    if store.auth == "oauth1" or not is_https:
        return OAuth1(key, secret, as_http=is_https)
    return httpx.BasicAuth(key.get_secret_value(), secret.get_secret_value())
