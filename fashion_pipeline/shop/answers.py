"""What a shop's answers say: JSON under dirt, and refusals with advice for the shop's owner."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fashion_pipeline.errors import (
    BadReply,
    HostUnavailable,
    ShopAuthError,
    ShopError,
    ShopProtocolError,
    ShopUnavailable,
    WebError,
)
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.settings import Store
from fashion_pipeline.web.client import Reply

INVALID_ID = "woocommerce_rest_product_invalid_id"
"""WooCommerce's own word that it has no product of an id; any other 404 proves nothing."""

_START = re.compile(r"[\[{]")
_END = re.compile(r"\s*(?:<|\Z)")
_DOCUMENT = re.compile(r"<!doctype|<html", re.IGNORECASE)
_MOST_STARTS = 100


def read_json(body: bytes) -> Any:
    """Read a body as JSON, behind a byte order mark and what PHP printed before or after it.

    Raises:
        ValueError: there is no JSON in it.
    """
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = error
    if _DOCUMENT.match(text):  # a page may carry JSON in its scripts
        msg = f"no JSON but an HTML page of {len(body):,} bytes"
        raise ValueError(msg)
    found = max(_candidates(text), key=lambda candidate: candidate[0], default=None)
    if found is not None:
        return found[1]
    msg = f"no JSON in {len(body):,} bytes ({problem})"
    raise ValueError(msg)


def _candidates(text: str) -> Iterator[tuple[int, Any]]:
    """Yield what can be read as JSON in a text, with its length.

    A notice may hold brackets itself ("Undefined array key [0] in …"): what counts ends the text,
    or a further notice, which begins with a tag, follows it.
    """
    decoder, end = json.JSONDecoder(), 0
    for _, start in zip(range(_MOST_STARTS), _START.finditer(text), strict=False):
        if start.start() < end:
            continue
        with contextlib.suppress(ValueError, RecursionError):
            value, value_end = decoder.raw_decode(text, start.start())
            if _END.match(text, value_end):
                end = value_end
                yield end - start.start(), value


def error_code(reply: Reply) -> str:
    """Return the code of a WordPress error body, ``""`` where the body is none."""
    return _error(reply)[0]


def refusal(reply: Reply, *, store: Store, path: str) -> ShopError:
    """Return the error that an answer other than 200 stands for, with what to do about it.

    Args:
        reply: its status is not 200.
        store: named in the message.
        path: below ``/wp-json/wc/v3/``, without a query.
    """
    status = reply.status
    code, words = _error(reply)
    said = _clean(f"{status} ({code}: {words})" if code else f"{status} without a WordPress error", store)
    where = f"store {store.id}: GET /wp-json/wc/v3/{path} answered {said}"
    if 300 <= status < 400:
        return ShopProtocolError(f"{where}; {_about_redirect(reply, store)}")
    if status in {401, 403}:
        return ShopAuthError(f"{where}; {_about_keys(reply, code, store)}")
    if status == 429 or status >= 500 or status in {408, 425}:
        wait = reply.headers.get("retry-after", "")
        pause = f" (it asks to wait {wait} s)" if wait.isdecimal() else ""
        return ShopUnavailable(f"{where}; the shop is down, busy or in maintenance{pause}: it is tried again later")
    if status == 404:
        advice = (
            "WooCommerce is not active there: activate the plugin"
            if code == "rest_no_route"
            else "there is no WordPress at this address: correct the store's url in stores.yaml"
        )
        return ShopProtocolError(f"{where}; {advice}")
    if code == "rest_invalid_param":
        return ShopProtocolError(f"{where}; its WooCommerce is too old: version 5.8 or newer is needed")
    return ShopProtocolError(f"{where}; open the address in a browser to see what answers there")


def broken(error: WebError, *, store: Store, path: str) -> ShopError:
    """Return the store's error for an exchange that brought no answer."""
    where = f"store {store.id}: GET /wp-json/wc/v3/{path} failed: {_clean(str(error), store)}"
    if isinstance(error, HostUnavailable):
        advice = "" if error.reason is Reason.TLS_ERROR else "; check that the shop is up"
        return ShopUnavailable(f"{where}{advice}")
    if isinstance(error, BadReply):
        return ShopProtocolError(where)
    return ShopError(where)


def not_json(reply: Reply, problem: ValueError, *, store: Store, path: str) -> ShopProtocolError:
    """Return the error for a 200 that holds no JSON."""
    kind = reply.headers.get("content-type", "unknown type").split(";")[0]
    return ShopProtocolError(
        f"store {store.id}: GET /wp-json/wc/v3/{path} answered 200 with {kind} and {problem}; "
        "a cache, a firewall or a plugin answers in WooCommerce's place: exempt /wp-json/ from it"
    )


def _error(reply: Reply) -> tuple[str, str]:
    try:
        body = read_json(reply.body)
    except ValueError:
        return "", ""
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return "", ""
    return body["code"], str(body.get("message", ""))[:200]


def _about_keys(reply: Reply, code: str, store: Store) -> str:
    if not code:
        return (
            "a firewall in front of the shop refuses us: let the User-Agent beginning with fashion-pipeline "
            "reach /wp-json/wc/v3/"
        )
    if reply.status == 403:
        return "the key's user may not see products: make a key for an administrator or shop manager"
    if code != "woocommerce_rest_cannot_view":
        return "check consumer_key and consumer_secret; the key needs the permission Read"
    if store.url.lower().startswith("https://"):
        return (
            "either the key is unknown to the shop, or the server drops the Authorization header, or WordPress "
            "does not know that it is behind https, or its permalinks are set to Plain"
        )
    return "the shop did not accept the signature of a plain http request: use its https address if it has one"


def _about_redirect(reply: Reply, store: Store) -> str:
    """Name where a redirect leads, without its query."""
    location = urlsplit(reply.headers.get("location", ""))
    here = urlsplit(store.url)
    if location.netloc and (location.scheme, location.netloc) != (here.scheme, here.netloc):
        base = location.path.partition("/wp-json")[0]
        return f"it redirects to {location.scheme}://{location.netloc}{base}: set the store's url to that"
    return "its permalinks are set to Plain: choose another structure under Settings > Permalinks"


def _clean(text: str, store: Store) -> str:
    """Blank the keys, should a shop ever repeat them in a message."""
    for secret in (store.consumer_key, store.consumer_secret):
        if secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), "***")
    return " ".join(text.split())
