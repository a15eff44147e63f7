"""Responses that are late, truncated, or never begin.

A connection can only be closed by the server that holds it. ``serve`` speaks HTTP by ``protocol()``,
which hands each request its own connection; any other server (``httpx.ASGITransport``, where there
is no connection) sees ``Dropped`` raised, an error of the kind that a client meets.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

import anyio
import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CLOSE = "close_connection"


class Dropped(httpx.ReadError):
    """The connection of an answer was closed."""


class Wire(Response):
    """A response as the network delivers it.

    Attributes:
        late_s: delay in seconds; it ends early when the client disconnects.
        arrives: bytes of the body that are sent before the connection is closed; None: all, and it stays open.
        begins: False where the connection is closed before the status.
    """

    late_s: float = 0.0
    arrives: int | None = None
    begins: bool = True

    @classmethod
    def of(cls, answer: Response) -> Self:
        """Return a response as a ``Wire``."""
        if isinstance(answer, cls):
            return answer
        made = cls(bytes(answer.body), status_code=answer.status_code)
        made.raw_headers = answer.raw_headers
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what arrives, when it does.

        Raises:
            Dropped: the connection is to be closed, and this server has no means to.
        """
        if self.late_s:
            with anyio.move_on_after(self.late_s):
                await _client_disconnected(receive)
                return
        if self.begins and self.arrives is None:
            await super().__call__(scope, receive, send)
            return
        close = scope.get("state", {}).get(_CLOSE)
        if close is None:
            msg = "Server disconnected."
            raise Dropped(msg)
        if self.begins:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            part = bytes(self.body)[: self.arrives]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        close()
        await _client_disconnected(receive)


async def _client_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's own protocol, with the means to close a connection among a request's state."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class Closing(base):  # type: ignore[misc]
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.app_state = {**self.app_state, _CLOSE: transport.close}

    return Closing
