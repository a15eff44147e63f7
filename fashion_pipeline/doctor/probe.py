"""Sends single requests to a store's shop, and accepts any response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.redaction import printable
from fashion_pipeline.shop.answers import describe, error_code, in_one_line, read_json
from fashion_pipeline.shop.auth import authentication
from fashion_pipeline.shop.rest import read_total
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Limits, Reply, Web

MAX_BYTES = 64 * 1024 * 1024

Params = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of any status.

    Attributes:
        reply: the response itself.
        value: its body as JSON; None where it is not JSON.
        code: WordPress's error code, or ``""``.
        said: status, code and message, for people; contains no key.
        seconds: how long the request took.
        asked_at: this machine's clock half-way between request and response.
    """

    reply: Reply
    value: Any
    code: str
    said: str
    seconds: float
    asked_at: datetime

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.status

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        """The products of a listing; None where the response is not a listing."""
        rows = self.value if self.status == 200 and isinstance(self.value, list) else None
        return rows if rows is not None and all(isinstance(row, dict) for row in rows) else None

    @property
    def total(self) -> int | None:
        """X-WP-Total; None without it."""
        return read_total(self.reply)

    @property
    def kind(self) -> str:
        """The content type."""
        return printable(self.reply.headers.get("content-type", "").split(";")[0]) or "no content type"


class ProbeClient:
    """Sends requests to one store's shop, without retries.

    Args:
        store: whose shop it is.
        web: sends the requests.
        clock: this machine's.
        deadline_s: of each request.

    Every method that sends a request raises:
        WebError: there was no response.
    """

    def __init__(self, store: Store, web: Web, *, clock: Clock, deadline_s: float) -> None:
        self.store = store
        self.web = web
        self.auth = authentication(store)
        self._clock = clock
        self._limits = Limits(max_bytes=MAX_BYTES, deadline_s=deadline_s, attempts=1)

    async def api(self, path: str, params: Params | None = None, *, auth: httpx.Auth | None = None) -> Answer:
        """Request a path below ``/wp-json/wc/v3/``, with the store's keys or with ``auth``."""
        return await self.get(f"{self.store.url}/wp-json/wc/v3/{path}", params, auth=auth or self.auth)

    async def products(self, **params: str | int) -> Answer:
        """Request a listing of products; ``fields`` is ``_fields``."""
        fields = params.pop("fields", "id")
        return await self.api("products", {**params, "_fields": fields})

    async def get(self, url: str, params: Params | None = None, *, auth: httpx.Auth | None = None) -> Answer:
        """Request a URL; without ``auth``, no keys are sent."""
        loop = asyncio.get_running_loop()
        began_at, began = self._clock.now(), loop.time()
        query = f"?{urlencode(params, quote_via=quote)}" if params else ""
        reply = await self.web.get(f"{url}{query}", limits=self._limits, auth=auth, raw=True, encodings=True)
        seconds = loop.time() - began
        try:
            value = read_json(reply.body)
        except ValueError:
            value = None
        return Answer(
            reply=reply,
            value=value,
            code=error_code(reply),
            said=describe(reply),
            seconds=seconds,
            asked_at=began_at + timedelta(seconds=seconds / 2),
        )

    def now(self) -> datetime:
        """Return this machine's clock."""
        return self._clock.now()

    def why(self, error: WebError) -> str:
        """Return why there was no response: the error's message without its URL and advice."""
        host = httpx.URL(self.store.url).host
        return in_one_line(error.message).replace(f"{error.url}: ", "").replace(error.url, host)
