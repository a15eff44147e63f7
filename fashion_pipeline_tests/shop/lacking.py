"""Shops that lack a header or do not know a parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.shop.rest import Page, Params, Shop


class Silent(Shop):
    """A shop behind a proxy that drops X-WP-Total and Date."""

    async def page(self, params: Params) -> Page:
        return replace(await super().page(params), total=None, date=None)


def without(name: str, value: str) -> Callable[[Request], Response | None]:
    """Make a shop that does not know a parameter: it is dropped, or always the same."""

    def fault(request: Request) -> None:
        query = [part for part in request.url.query.split("&") if not part.startswith(f"{name}=")]
        request.scope["query_string"] = "&".join([*query, value]).encode()
        del request._url  # Starlette keeps the parsed URL there

    return fault
