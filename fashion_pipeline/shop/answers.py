"""Reads a shop's responses: JSON despite stray output, and errors with advice for the shop's owner."""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

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
from fashion_pipeline.redaction import blank, printable
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Reply
from fashion_pipeline.web.guard import redact
from fashion_pipeline.web.replies import retry_after_s

INVALID_ID = "woocommerce_rest_product_invalid_id"
"""WooCommerce's error code for an unknown product id; any other 404 proves nothing."""

_INTERFERENCE = "a cache, a firewall or a plugin answers in place of WooCommerce: exempt /wp-json/ from it"

_START = re.compile(r"""\[\s*[{\]]|\{\s*["}]""")
"""How an object, a list of objects or an empty list begins. Brackets in a notice look different: "array key [0]"."""
_END = re.compile(r"\s*(?:<|\Z)")
_DOCUMENT = re.compile(r"<!doctype|<html|<\?xml", re.IGNORECASE)
_MOST_STARTS = 4
_MOST_VALUES = 1_000_000
"""The most values in a body: a page of a hundred products has about 20,000. An empty object takes 64 bytes of memory."""
_LONGEST_ERROR = 64 * 1024
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)
_HEAD_BYTES = 4096
_JSON_HEAD = 8192
"""How far from the beginning of a body, in characters, JSON is looked for."""
_LONGEST_TITLE = 80

_WHAT_TO_CHECK = {
    Reason.UNREACHABLE: "check that the shop is up",
    Reason.TOO_SLOW: "ask whoever hosts the shop why it is slow",
    Reason.TRUNCATED: "if that lasts, ask whoever hosts the shop what cuts its responses off",
    Reason.UNRESOLVABLE: "check the store's url in stores.yaml",
}


def read_json(body: bytes) -> Any:
    """Parse a body as JSON, ignoring a byte order mark and what PHP printed before or after it.

    Raises:
        ValueError: it contains no JSON.
    """
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > _MOST_VALUES:
        msg = f"about {values:,} values; the limit is {_MOST_VALUES:,}"
        raise ValueError(msg)
    text = _decode(body).lstrip("\ufeff").strip()
    starts = [start.start() for start in _START.finditer(text[:_JSON_HEAD])][:_MOST_STARTS]
    # A page may contain JSON, in its scripts or as its only text.
    if _DOCUMENT.search(text[: starts[0] if starts else _JSON_HEAD]):
        msg = f"no JSON but an HTML page of {len(body):,} bytes"
        raise ValueError(msg)
    if not starts or starts[0]:
        problem = "none begins in the first 8 KB"
    else:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            problem = str(error)
    found = max(_candidates(text, starts), key=lambda candidate: candidate[0], default=None)
    if found is not None:
        return found[1]
    msg = f"no JSON in {len(body):,} bytes ({problem})"
    raise ValueError(msg)


def _decode(body: bytes) -> str:
    """Decode a body that should be UTF-8; of an old site's database it may be windows-1252 (as browsers read Latin-1)."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        cut_off = error.end >= len(body)
        return body.decode("utf-8", "replace") if cut_off else body.decode("windows-1252", "replace")


def _candidates(text: str, starts: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value that begins at one of these places, with its length.

    A notice may contain brackets itself. So a value counts only at the end of the text, or before
    another notice, which begins with a tag.
    """
    decoder, end = json.JSONDecoder(), 0
    for start in starts:
        if start < end:
            continue
        with contextlib.suppress(ValueError, RecursionError):
            value, value_end = decoder.raw_decode(text, start)
            if _END.match(text, value_end):
                end = value_end
                yield end - start, value


def read_date(reply: Reply) -> datetime | None:
    """Return the shop's clock, in UTC; None without a valid Date header."""
    try:
        date = parsedate_to_datetime(reply.headers.get("date", ""))
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def error_code(reply: Reply) -> str:
    """Return the code of a WordPress error body; ``""`` for any other body."""
    return _error(reply)[0]


def describe(reply: Reply) -> str:
    """Describe a response other than 200, for a message: its status, and WordPress's error or the page's title."""
    code, words = _error(reply)
    if not code:
        title = printable(in_one_line(_title(reply)))
        return f"{reply.status} with the page {title!r}" if title else f"{reply.status} without a WordPress error"
    return f"{reply.status} ({printable(in_one_line(code))}: {printable(in_one_line(words))})"


def refusal(reply: Reply, *, store: Store, path: str) -> ShopError:
    """Return the error for a response other than 200, with advice.

    Args:
        reply: its status is not 200.
        store: named in the message.
        path: below ``/wp-json/wc/v3/``, without a query.
    """
    kind, advice = _classify(reply, store)
    error = kind(f"{asked(store, path)} answered {describe(reply)}", store_id=store.id, advice=advice)
    error.retry_after_s = _retry_after_s(reply)
    return error


def advice_on(reply: Reply, *, store: Store) -> str:
    """Return the advice for an unexpected response, whatever its status."""
    return _INTERFERENCE if reply.status == 200 else _classify(reply, store)[1]


def _classify(reply: Reply, store: Store) -> tuple[type[ShopError], str]:
    """Return the error class for a response other than 200, and the advice."""
    status, code = reply.status, error_code(reply)
    if 300 <= status < 400:
        return ShopProtocolError, about_redirect(reply, store=store)
    if status in {401, 403}:
        return ShopAuthError, _about_keys(reply, code, store)
    if status == 429 or status >= 500 or status in {408, 425}:
        return ShopUnavailable, f"{_about_outage(reply)}; it is retried later"
    if status == 404:
        advice = (
            "WooCommerce is not active there: activate the plugin"
            if code == "rest_no_route"
            else "there is no WordPress at this address, or its permalinks are set to Plain: correct the store's url in "
            "stores.yaml, or choose another structure under Settings > Permalinks"
        )
        return ShopProtocolError, advice
    if code == "rest_invalid_param":
        return ShopProtocolError, "its WooCommerce is too old: version 5.8 or newer is needed"
    return ShopProtocolError, "open this URL in a browser to see what answers there"


def broken(error: WebError, *, store: Store) -> ShopError:
    """Return the shop's error for a request without a response; ``error`` names the URL."""
    if error.reason is Reason.BLOCKED_ADDRESS:
        host = httpx.URL(store.url).host
        return ShopError(
            f"{error.url} leads to an address that is not public",
            store_id=store.id,
            advice="correct the store's url in stores.yaml, or, for a test shop, "
            f"list {host!r} under its allow_private_hosts there",
        )
    kind: type[ShopError] = ShopError
    advice = error.advice
    if isinstance(error, HostUnavailable):
        kind = ShopUnavailable
        advice = "; ".join(filter(None, [advice, _WHAT_TO_CHECK.get(error.reason)]))
    elif isinstance(error, BadReply):
        kind = ShopProtocolError
    return kind(in_one_line(error.message), store_id=store.id, advice=in_one_line(advice))


def not_json(reply: Reply, problem: ValueError, *, store: Store, path: str) -> ShopProtocolError:
    """Return the error for a 200 without JSON."""
    kind = printable(reply.headers.get("content-type", "unknown type").split(";")[0])
    msg = f"{asked(store, path)} answered 200 with {kind} and {problem}"
    return ShopProtocolError(msg, store_id=store.id, advice=_INTERFERENCE)


def asked(store: Store, path: str) -> str:
    """Return the beginning of a message: the request; ``path`` is below ``/wp-json/wc/v3/``."""
    return f"GET {store.url}/wp-json/wc/v3/{path}"


def _retry_after_s(reply: Reply) -> float | None:
    """Return Retry-After in seconds, by the shop's own clock; None without Retry-After or Date."""
    date = read_date(reply)
    return None if date is None else retry_after_s(reply.headers.get("retry-after"), now=date)


def _error(reply: Reply) -> tuple[str, str]:
    try:
        body = read_json(reply.body) if len(reply.body) <= _LONGEST_ERROR else None
    except ValueError:
        return "", ""
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return "", ""
    return body["code"], str(body.get("message", ""))


def _title(reply: Reply) -> str:
    """Return the title of an HTML page; ``""`` for any other body."""
    found = _TITLE.search(reply.body[:_HEAD_BYTES].decode("utf-8", "replace"))
    return blank(html.unescape(found[1]).strip())[:_LONGEST_TITLE] if found else ""


def _about_outage(reply: Reply) -> str:
    """Explain why an existing shop cannot be read now, and what may help."""
    wait = reply.headers.get("retry-after", "")[:20]
    pause = f" (it asks to wait {wait} s)" if wait.isdecimal() else ""
    if reply.status == 429:
        return f"its host limits the rate of requests{pause}; a lower FASHION_CONNECTIONS_PER_HOST may help"
    if reply.status == 500:
        return "the shop's own software fails: its owner finds the cause in the logs of PHP and of the database"
    if reply.status == 503 or reply.status < 500:
        return f"the shop is busy or in maintenance{pause}"
    return "the server in front of the shop got no response from it: if that lasts, inform the shop's owner"


def _about_keys(reply: Reply, code: str, store: Store) -> str:
    if not code:
        return (
            "a firewall in front of the shop blocks us: allow the User-Agent that begins with fashion-pipeline "
            "on /wp-json/wc/v3/"
        )
    if reply.status == 403:
        return "the key's user may not see products: create a key for an administrator or a shop manager"
    if code != "woocommerce_rest_cannot_view":
        return "check consumer_key and consumer_secret; the key needs Read permission"
    if store.url.lower().startswith("https://"):
        return (
            "the key is unknown to the shop, or its server drops the Authorization header, or WordPress does not "
            "know that it is served over https, or its permalinks are set to Plain: "
            f"run fashion-pipeline doctor {store.id} to find out which"
        )
    return "the shop did not accept the signed http request: use its https address if it has one"


def about_redirect(reply: Reply, *, store: Store) -> str:
    """Name the target of a redirect, without its query, and what to do about it."""
    target = in_one_line(redact(reply.headers.get("location", "")))
    base, below, _ = target.partition("/wp-json")
    if "://" in base and below and base.rstrip("/") != store.url:
        return f"it redirects to {base.rstrip('/')}: set the store's url in stores.yaml to that"
    if below:
        return "its permalinks are set to Plain: choose another structure under Settings > Permalinks"
    return f"it redirects to {target or 'nowhere'}, which is not a shop's API: exempt /wp-json/ from that redirect"


def in_one_line(text: str) -> str:
    """Return a shop's text without line breaks, and without a secret that the shop repeats."""
    return " ".join(blank(text).split())
