"""Who asks: the keys of a request, judged as ``class-wc-rest-authentication.php`` does.

Over https the Authorization header (Basic) or the query holds the keys. Over http those are not
looked at: a key counts only if it signed the request with OAuth 1.0a. A request that brings no
known key is anonymous, and is refused later, where something needs a permission. So is one whose
address does not spell ``wp-json/wc/``: WooCommerce looks at the keys of its own requests only, and
recognises them by that, also where plain permalinks make it ``?rest_route=``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

from oauthlib.oauth1.rfc5849 import signature
from starlette.requests import Request

from fashion_pipeline.model_shop.shop import Key, ModelShop

_OAUTH = (
    "oauth_consumer_key",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_signature",
    "oauth_signature_method",
)
_WINDOW_S = 15 * 60

SIGNED_QUERY = "signed_query"
"""In a request's scope: the query as it was sent, where what answers it sees another."""


@dataclass(frozen=True, slots=True)
class NotAuthenticated(Exception):
    """The request claims a key it cannot prove: 401 before anything else is looked at."""

    message: str
    code: str = "woocommerce_rest_authentication_error"
    logged_in: bool = False


def authenticate(shop: ModelShop, request: Request) -> Key | None:
    """Return the key a request proved to hold, or None if it is anonymous.

    Raises:
        NotAuthenticated: a known key with a wrong secret, signature or permission.
    """
    if b"wp-json/wc/" not in request.scope["raw_path"] + b"?" + request.scope["query_string"]:
        return None
    key = _keys_in_the_open(shop, request) if request.url.scheme == "https" else None
    key = key or _signed(shop, request)
    if key is None:
        return None
    needed = "read" if request.method in {"GET", "HEAD", "OPTIONS"} else "write"
    if key.permissions not in {needed, "read_write"}:
        msg = f"The API key provided does not have {needed} permissions."
        raise NotAuthenticated(msg, logged_in=True)
    return key


def _keys_in_the_open(shop: ModelShop, request: Request) -> Key | None:
    name, secret = request.query_params.get("consumer_key"), request.query_params.get("consumer_secret")
    if not (name and secret):
        name, secret = _basic(request.headers.get("authorization", ""))
    key = _known(shop, name)
    if key is not None and not hmac.compare_digest(key.consumer_secret.encode(), secret.encode()):
        msg = "Consumer secret is invalid."
        raise NotAuthenticated(msg)
    return key


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _known(shop: ModelShop, name: str) -> Key | None:
    return next((key for key in shop.keys if name and key.consumer_key == name), None)


def _signed(shop: ModelShop, request: Request) -> Key | None:
    header = request.headers.get("authorization", "")
    headers = {"Authorization": header} if header.lower().startswith("oauth ") else {}
    query = request.scope.get(SIGNED_QUERY, request.scope["query_string"]).decode()
    pairs = signature.collect_parameters(uri_query=query, headers=headers, exclude_oauth_signature=False)
    values = dict(pairs)
    missing = [name for name in _OAUTH if not values.get(name)]
    if len(missing) == len(_OAUTH):
        return None
    if missing:
        plural = "s" if len(missing) > 1 else ""
        msg = f"Missing OAuth parameter{plural} {', '.join(missing)}"
        raise NotAuthenticated(msg, "woocommerce_rest_authentication_missing_parameter")
    key = _known(shop, values["oauth_consumer_key"])
    if key is None:
        msg = "Consumer key is invalid."
        raise NotAuthenticated(msg)
    _check_signature(request, key, pairs, values)
    _check_freshness(shop, values)
    return key


@dataclass(frozen=True, slots=True)
class _Signed:
    """What oauthlib verifies: RFC 5849, section 3.4."""

    uri: str
    http_method: str
    params: list[tuple[str, str]]
    signature: str


def _check_signature(request: Request, key: Key, pairs: list[tuple[str, str]], values: Mapping[str, str]) -> None:
    verify = {"HMAC-SHA256": signature.verify_hmac_sha256, "HMAC-SHA1": signature.verify_hmac_sha1}.get(
        values["oauth_signature_method"]
    )
    if verify is None:
        msg = "Invalid signature - signature method is invalid."
        raise NotAuthenticated(msg)
    params = [(name, value) for name, value in pairs if name != "oauth_signature"]
    signed = _Signed(str(request.url.replace(query="")), request.method, params, values["oauth_signature"])
    if not verify(signed, key.consumer_secret, ""):
        msg = "Invalid signature - provided signature does not match."
        raise NotAuthenticated(msg)


def _check_freshness(shop: ModelShop, values: Mapping[str, str]) -> None:
    """Refuse an old or a repeated signature; by the machine's clock, as the signer has no other."""
    stamp = values["oauth_timestamp"]
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > _WINDOW_S:
        msg = "Invalid timestamp."
        raise NotAuthenticated(msg)
    nonce = (values["oauth_consumer_key"], stamp, values["oauth_nonce"])
    if nonce in shop.nonces:
        msg = "Invalid nonce - nonce has already been used."
        raise NotAuthenticated(msg)
    shop.nonces.add(nonce)
