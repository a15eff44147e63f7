"""The parts of faults: changed requests, changed responses, and pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.auth import SIGNED_QUERY
from fashion_pipeline.model_shop.middleware import Change

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

NO_CACHE = "no-cache, must-revalidate, max-age=0, no-store, private"


def answering(answer: Callable[[], Response]) -> Fault:
    """Answer everything in the shop's place."""
    return lambda _: answer()


def asked_as(other: Callable[[Request], Request]) -> Fault:
    """Let the shop see every request as another one."""
    return lambda request: Change(other(request))


def changing_api_responses(apply: Callable[[Response], Response]) -> Fault:
    """Change every answer of the API."""
    return lambda request: Change(apply=apply) if "/wp-json" in request.url.path else None


def without_headers(*names: str) -> Fault:
    """Send none of these headers."""

    def apply(response: Response) -> Response:
        for name in names:
            if name in response.headers:
                del response.headers[name]
        return response

    return lambda _: Change(apply=apply)


def changed_request(
    request: Request,
    *,
    path: str | None = None,
    query: str | None = None,
    scheme: str | None = None,
    drop_header: str = "",
) -> Request:
    """Return the request with something else in it."""
    scope = dict(request.scope)
    if path is not None:
        scope |= {"path": path, "raw_path": path.encode()}
    if query is not None:
        scope.setdefault(SIGNED_QUERY, scope["query_string"])
        scope["query_string"] = query.encode()
    if scheme is not None:
        scope["scheme"] = scheme
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name.decode() != drop_header]
    return Request(scope, request.receive)


def query_with(request: Request, **changed: str) -> str:
    """Return the query with some parameters changed."""
    return urlencode(dict(parse_qsl(request.url.query, keep_blank_values=True)) | changed)


def rows_of(response: Response) -> list[dict[str, Any]]:
    """Return the products in an answer, where it is one of the API with some."""
    try:
        body = json.loads(bytes(response.body))
    except ValueError:
        return []
    return [row for row in (body if isinstance(body, list) else [body]) if isinstance(row, dict)]


def with_body(response: Response, body: bytes) -> Response:
    """Put another body into an answer."""
    response.body = body
    response.headers["content-length"] = str(len(body))
    return response


def as_json(body: Any) -> bytes:
    """Spell a value as JSON."""
    return json.dumps(body, separators=(",", ":")).encode()


def html_answer(status: int, page: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer of WordPress's with a page."""
    sent = {"cache-control": NO_CACHE, **(headers or {})}
    return Response(page, status, sent, "text/html; charset=UTF-8")


def page(title: str, message: str) -> str:
    """Return a page as WordPress ends with, without its style sheet."""
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f'<body id="error-page"><div class="wp-die-message">{message}</div></body></html>\n'
    )
