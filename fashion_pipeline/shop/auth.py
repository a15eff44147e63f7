"""How a request proves that it holds a store's keys; they travel in the Authorization header only."""

from __future__ import annotations

from collections.abc import Generator

import httpx
from oauthlib import oauth1
from pydantic import SecretStr

from fashion_pipeline.settings import Store


class OAuth1(httpx.Auth):
    """OAuth 1.0a with HMAC-SHA256 and no token (RFC 5849), in the Authorization header.

    Every try is signed anew: WooCommerce refuses a nonce it has seen, and a timestamp 15 minutes
    away from its own clock.
    """

    def __init__(self, key: SecretStr, secret: SecretStr) -> None:
        self._client = oauth1.Client(
            key.get_secret_value(),
            client_secret=secret.get_secret_value(),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256,
        )

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request's method, address and query."""
        _, headers, _ = self._client.sign(str(request.url), request.method)
        request.headers["Authorization"] = headers["Authorization"]
        yield request


def authentication(store: Store) -> httpx.Auth:
    """Return what signs a store's requests: Basic over https, OAuth 1.0a over http.

    WooCommerce looks at a Basic header over https only (``is_ssl()`` in
    ``includes/class-wc-rest-authentication.php``), and a secret must not cross the net in clear.
    """
    if store.url.lower().startswith("https://"):
        return httpx.BasicAuth(store.consumer_key.get_secret_value(), store.consumer_secret.get_secret_value())
    return OAuth1(store.consumer_key, store.consumer_secret)
