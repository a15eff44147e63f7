"""The model shops over HTTP: many under one origin, each below ``/<store-id>``.

A shop answers below ``wp-json`` and to ``?rest_route=`` (see ``rest``), and serves its images below
``wp-content/uploads``, with validators and conditional GET.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline.model_shop.rest import RestRequest
from fashion_pipeline.model_shop.shop import Asked, ModelShop

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Handler

_NOT_FOUND_PAGE = "<!DOCTYPE html>\n<html><head><title>Page not found</title></head><body>404</body></html>\n"


def app(shops: Mapping[str, ModelShop], *, handler: Handler | None = None) -> Starlette:
    """Serve the shops by id; ``handler`` sees each request first."""

    async def endpoint(request: Request) -> Response:
        shop = shops.get(request.path_params["store"])
        if shop is None:
            return _page_not_found()
        handled = await handler(shop, request) if handler else None
        if handled is not None:
            return handled
        if shop.latency_s:
            await anyio.sleep(shop.latency_s)
        result = shop.fault(request) if shop.fault else None
        change = result if isinstance(result, Change) else Change(instead=result)
        response = change.instead or await _answer(shop, change.request or request)
        response.headers.setdefault("date", format_datetime(shop.clock.now(), usegmt=True))
        response = change.apply(response)
        shop.asked.append(Asked(request.method, request.url.path, request.url.query, response.status_code))
        return response

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/{store}/{rest:path}", endpoint, methods=methods)])


async def _answer(shop: ModelShop, request: Request) -> Response:
    uploads = f"/{shop.id}/wp-content/uploads/"
    if request.url.path.startswith(uploads):
        return await _file(shop, request.url.path.removeprefix(uploads), request)
    root = f"/{shop.id}/wp-json"
    if request.url.path == root or request.url.path.startswith(f"{root}/"):
        return await RestRequest(shop, request).answer(request.url.path.removeprefix(root).strip("/"))
    if request.url.path in {f"/{shop.id}/", f"/{shop.id}/index.php"} and "rest_route" in request.query_params:
        return await RestRequest(shop, request).answer(request.query_params["rest_route"].strip("/"))
    return _page_not_found()


async def _file(shop: ModelShop, path: str, request: Request) -> Response:
    """Serve an upload as nginx does: ETag from second and length, conditional GET, no range."""
    upload = shop.uploads.get(path)
    if upload is None or request.method not in {"GET", "HEAD"}:
        return _page_not_found() if upload is None else Response(status_code=405)
    content = await run_in_threadpool(upload.read)
    headers = {
        "last-modified": format_datetime(upload.modified, usegmt=True),
        "etag": f'"{int(upload.modified.timestamp()):x}-{len(content):x}"',
    }
    if _unchanged(request, headers):
        return Response(status_code=304, headers=headers)
    headers["content-type"] = upload.content_type
    return Response(content, headers=headers)


def _unchanged(request: Request, headers: Mapping[str, str]) -> bool:
    """Decide a conditional GET: If-None-Match wins over If-Modified-Since (RFC 9110, 13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or headers["etag"] in known
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(headers["last-modified"]) <= parsedate_to_datetime(since)
    except (TypeError, ValueError):
        return False


def _page_not_found() -> Response:
    return Response(_NOT_FOUND_PAGE, status_code=404, media_type="text/html; charset=UTF-8")
