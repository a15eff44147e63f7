"""Faults of real shops, by name, for ``ModelShop.fault``.

They combine: ``together(slow(2), first(3, busy()), only(poison(17), query={"status": "any"}))``.
Where a real WooCommerce was recorded in that state, the response is the recorded one without the
style sheet of its pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline_tests.model_shop.exchanges import (
    NO_CACHE,
    answering,
    as_json,
    asked_as,
    changed_request,
    changing_api_responses,
    html_answer,
    page,
    query_with,
    rows_of,
    with_body,
    without_headers,
)
from fashion_pipeline_tests.model_shop.wire import Wire

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

DEFAULT_AGENTS = r"^$|python|curl|wget|go-http-client|java|libwww|httpx|aiohttp|axios|woocommerce"
"""User-Agents that firewalls refuse for being those of libraries; a regular expression."""

_SINCE_5_8 = ("modified_after", "modified_before", "dates_are_gmt")


def together(*faults: Fault) -> Fault:
    """Combine faults: each sees the request as changed by those before it; the first one that answers wins."""

    def fault(request: Request) -> Change | None:
        changes: list[Change] = []
        for each in faults:
            result = each(request)
            if result is not None:
                changes.append(result if isinstance(result, Change) else Change(instead=result))
                request = changes[-1].request or request
        if not changes:
            return None

        def apply(response: Response) -> Response:
            for change in changes:
                response = change.apply(response)
            return response

        instead = next((change.instead for change in changes if change.instead is not None), None)
        return Change(request, instead, apply)

    return fault


def first(times: int, fault: Fault) -> Fault:
    """Limit how often a fault acts."""
    acted = 0

    def limited(request: Request) -> Response | Change | None:
        nonlocal acted
        result = fault(request) if acted < times else None
        acted += result is not None
        return result

    return limited


def only(fault: Fault, *, path: str = "", query: Mapping[str, str] | None = None) -> Fault:
    """Let a fault act only on requests whose path matches and whose query has these parameters.

    Args:
        fault: which one.
        path: a regular expression, searched in the path: ``/products$`` is the listing.
        query: parameters as they are sent: ``{"page": "2"}``.
    """

    def limited(request: Request) -> Response | Change | None:
        asked = request.query_params
        meant = all(asked.get(name) == value for name, value in (query or {}).items())
        return fault(request) if meant and re.search(path, request.url.path) else None

    return limited


def busy(status: int = 429, retry_after: str | None = "120") -> Fault:
    """Answer 429 or 503 without a WordPress error, as hosts do; ``retry_after`` is seconds or a date."""
    text = page("Too Many Requests" if status == 429 else "Service Unavailable", "Come back later.")
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return answering(partial(Response, text, status, headers, "text/html"))


def database_down() -> Fault:
    """Answer everything as WordPress does without its database: 500 and a page."""
    text = page("Database Error", "<h1>Error establishing a database connection</h1>")
    return answering(partial(html_answer, 500, text))


def fatal_error() -> Fault:
    """Answer as WordPress does when PHP ends in a fatal error while the API writes its answer: 500 and a page."""
    text = page("WordPress &rsaquo; Error", "<p>There has been a critical error on this website.</p>")

    def fault(request: Request) -> Response:
        shop = f"{request.url.scheme}://{request.url.netloc}/{request.url.path.split('/')[1]}"
        begun = {
            "x-robots-tag": "noindex",
            "link": f'<{shop}/wp-json/>; rel="https://api.w.org/"',
            "access-control-expose-headers": "X-WP-Total, X-WP-TotalPages, Link",
        }
        return html_answer(500, text, begun)

    return fault


def maintenance(retry_after: str = "600") -> Fault:
    """Answer everything as WordPress does while it is updated: 503, Retry-After and a page."""
    text = page("Maintenance", "Briefly unavailable for scheduled maintenance. Check back in a minute.")
    return answering(partial(html_answer, 503, text, {"retry-after": retry_after}))


def inactive_woocommerce() -> Fault:
    """Be a WordPress whose WooCommerce is switched off: nothing answers below ``wc/v3``."""

    def fault(request: Request) -> Change | None:
        before, found, _ = request.url.path.partition("/wp-json/wc/")
        return Change(changed_request(request, path=f"{before}/wp-json/nothing")) if found else None

    return fault


def byte_order_mark() -> Fault:
    """Send a byte order mark before every body of the API, as a file of PHP saved with one does."""
    return changing_api_responses(lambda response: with_body(response, b"\xef\xbb\xbf" + bytes(response.body)))


def php_notice() -> Fault:
    """Print a warning of PHP before every body of the API."""
    notice = (
        b"<br />\n<b>Warning</b>:  Undefined variable $undefined_var in "
        b"<b>/var/www/html/wp-content/mu-plugins/zz_odd.php</b> on line <b>1</b><br />\n"
    )
    return changing_api_responses(lambda response: with_body(response, notice + bytes(response.body)))


def poison(*ids: int, field: str = "price") -> Fault:
    """Give products a value that JSON cannot encode: every response with their ``field`` is a 500."""
    body = {"code": "rest_encode_error", "message": "Inf and NaN cannot be JSON encoded", "data": {"status": 500}}

    def apply(response: Response) -> Response:
        if not any(row.get("id") in ids and field in row for row in rows_of(response)):
            return response
        response.status_code = 500
        return with_body(response, as_json(body))

    return changing_api_responses(apply)


def same_page() -> Fault:
    """Ignore the parameter ``page``: the first page for ever."""

    def fault(request: Request) -> Change | None:
        if "page" not in request.query_params:
            return None
        return Change(changed_request(request, query=query_with(request, page="1")))

    return fault


def shrinking(by: int = 1) -> Fault:
    """Lower X-WP-Total by ``by`` from each page of a listing to the next."""

    def fault(request: Request) -> Change | None:
        number = request.query_params.get("page", "1")

        def apply(response: Response) -> Response:
            if "x-wp-total" in response.headers and number.isdecimal():
                total = int(response.headers["x-wp-total"]) - (int(number) - 1) * by
                response.headers["x-wp-total"] = str(max(0, total))
            return response

        return Change(apply=apply)

    return fault


def loses_rows(*ids: int) -> Fault:
    """Omit products from every listing and its total, although they can be requested by id."""

    def fault(request: Request) -> Change | None:
        if not request.url.path.endswith("/products"):
            return None
        exclude = ",".join([*filter(None, [request.query_params.get("exclude")]), *map(str, ids)])
        return Change(changed_request(request, query=query_with(request, exclude=exclude)))

    return fault


def stale_cache(*, ignores: tuple[str, ...] = ("_",), age: bool = False, every: int = 1) -> Fault:
    """Be a cache that keeps what the API answered for ever, and now and then answers from it.

    Args:
        ignores: parameters that are no part of what the cache knows a request by; ``*``: all of them.
        age: say how old an answer is, an hour, as an honest cache does.
        every: of the requests that were made before, each which one is answered from the past.
    """
    kept: dict[tuple[str, ...], tuple[bytes, dict[str, str]]] = {}
    hits = 0

    def fault(request: Request) -> Response | Change | None:
        nonlocal hits
        if "/wp-json/" not in request.url.path:
            return None
        query = parse_qsl(request.url.query, keep_blank_values=True)
        known = (f"{name}={value}" for name, value in query if name not in ignores and "*" not in ignores)
        key = (request.url.path, *sorted(known))
        if key in kept:
            hits += 1
            if hits % every == 0:
                body, headers = kept[key]
                return Response(body, headers=headers | ({"age": "3600"} if age else {}))

        def keep(response: Response) -> Response:
            if response.status_code == 200:
                unkept = {"content-length", "date"}
                headers = {name: value for name, value in response.headers.items() if name not in unkept}
                kept.setdefault(key, (bytes(response.body), headers))
            return response

        return Change(apply=keep)

    return fault


def slow(seconds: float) -> Fault:
    """Answer late."""

    def apply(response: Response) -> Response:
        wire = Wire.of(response)
        wire.late_s += seconds
        return wire

    return lambda _: Change(apply=apply)


def drops(after_bytes: int | None = None) -> Fault:
    """Close the connection instead of answering, or in the middle of the body after so many bytes."""

    def apply(response: Response) -> Response:
        wire = Wire.of(response)
        wire.begins, wire.arrives = after_bytes is not None, after_bytes
        return wire

    return lambda _: Change(apply=apply)


def redirects(origin: str, status: int = 301) -> Fault:
    """Redirect everything, path and query kept, to another origin: ``https://``, ``www.``."""

    def fault(request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return Response(status_code=status, headers={"location": f"{origin}{request.url.path}{query}"})

    return fault


def firewall(agents: str = DEFAULT_AGENTS) -> Fault:
    """Refuse, with 403 and a page, every User-Agent that a regular expression is found in, in any case."""
    text = page("Attention Required!", "<h1>Sorry, you have been blocked</h1>")

    def fault(request: Request) -> Response | None:
        agent = request.headers.get("user-agent", "")
        return Response(text, 403, media_type="text/html") if re.search(agents, agent, re.IGNORECASE) else None

    return fault


def plain_permalinks(status: int = 301) -> Fault:
    """Be a site whose permalinks are Plain: ``wp-json`` leads nowhere, only ``?rest_route=`` does.

    ``status`` is 301 where every path reaches WordPress, which adds a slash to it, or 404 where the
    web server knows no such file.
    """
    prefix = re.compile(r"(?:/index\.php)?(/wp-json/.*?)/?")

    def apply(response: Response) -> Response:
        if "link" in response.headers:
            response.headers["link"] = response.headers["link"].replace("/wp-json/>", "/index.php?rest_route=/>")
        return response

    def fault(request: Request) -> Response | Change | None:
        _, shop, rest = request.url.path.split("/", 2)
        found = prefix.fullmatch(f"/{rest}")
        if found is None:
            return Change(apply=apply) if "rest_route" in request.query_params else None
        if status != 301:
            return Response(page("404 Not Found", "404 Not Found"), status, media_type="text/html")
        query = f"?{request.url.query}" if request.url.query else ""
        location = f"{request.url.scheme}://{request.url.netloc}/{shop}{found[1]}/{query}"
        headers = {"cache-control": NO_CACHE, "x-redirect-by": "WordPress", "location": location}
        return Response("", 301, headers, "text/html; charset=UTF-8")

    return fault


def strips_authorization() -> Fault:
    """Keep the Authorization header from PHP, as Apache does to CGI; keys in the query get through."""
    return asked_as(lambda request: changed_request(request, drop_header="authorization"))


def unaware_of_https() -> Fault:
    """Let WordPress take https for http, as behind a proxy that does not tell it."""
    return asked_as(lambda request: changed_request(request, scheme="http"))


def no_date() -> Fault:
    """Send no Date header."""
    return without_headers("date")


def no_totals() -> Fault:
    """Send no X-WP-Total and no X-WP-TotalPages, as a proxy with a list of headers to let through does."""
    return without_headers("x-wp-total", "x-wp-totalpages")


def old_woocommerce() -> Fault:
    """Be older than WooCommerce 5.8: what asks for dates of modification is ignored in silence."""

    def apply(response: Response) -> Response:
        body = json.loads(bytes(response.body))
        for endpoint in body.get("routes", {}).get("/wc/v3/products", {}).get("endpoints", []):
            endpoint["args"] = {name: arg for name, arg in endpoint["args"].items() if name not in _SINCE_5_8}
        return with_body(response, as_json(body))

    def fault(request: Request) -> Change | None:
        if request.url.path.endswith("/wp-json/wc/v3"):
            return Change(apply=apply)
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        kept = [(name, value) for name, value in pairs if name not in _SINCE_5_8]
        return Change(changed_request(request, query=urlencode(kept))) if kept != pairs else None

    return fault
