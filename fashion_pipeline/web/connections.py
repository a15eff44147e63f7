"""The open connections of a run: a few to each host, none through a proxy, and never too many hosts at once."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.web.guard import Target
from fashion_pipeline.web.pinned import PinnedTransport

KEEP_ALIVE_S = 30.0
MOST_ORIGINS = 32
"""Origins whose connections stay open for further requests; a shop may show pictures of a thousand hosts."""


@dataclass(slots=True)
class _Pool:
    """The connections to one origin, and how many requests use them now."""

    transport: httpx.AsyncBaseTransport
    pinned: PinnedTransport
    in_use: int = 0


class Connections:
    """One connection pool for each origin, for in httpx 0.28 a large pool is several times slower than many small ones.

    Args:
        at_once: connections to one origin.
        ca_file: PEM file of a private authority, trusted beside the public ones.
        transport: what sends requests instead of sockets.
    """

    def __init__(self, *, at_once: int, ca_file: Path | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self._at_once = at_once
        self._ca_file = ca_file
        self._transport = transport
        self._lines: dict[tuple[str, str, int], _Pool] = {}  # the longest unused first

    @contextlib.asynccontextmanager
    async def of(self, target: Target) -> AsyncIterator[PinnedTransport]:
        """Give the connections of a target's origin for one exchange; then close those that were unused longest.

        Raises:
            SettingsError: ``ca_file`` holds no certificate.
        """
        line = self._lines.pop(target.origin, None) or self._opened()
        self._lines[target.origin] = line
        line.in_use += 1
        try:
            yield line.pinned
        finally:
            line.in_use -= 1
            idle = [origin for origin, other in self._lines.items() if not other.in_use]
            surplus = max(0, len(self._lines) - MOST_ORIGINS)
            for unused in [self._lines.pop(origin) for origin in idle[:surplus]]:
                await self._close(unused)

    async def aclose(self) -> None:
        """Close all."""
        while self._lines:
            await self._close(self._lines.popitem()[1])
        if self._transport is not None:
            await self._transport.aclose()

    def _opened(self) -> _Pool:
        transport = self._transport or httpx.AsyncHTTPTransport(
            verify=ssl_context(self._ca_file),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=self._at_once,
                max_keepalive_connections=self._at_once,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
        )
        return _Pool(transport, PinnedTransport(transport))

    async def _close(self, line: _Pool) -> None:
        if line.transport is not self._transport:
            await line.transport.aclose()


@cache
def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the process's one context per authority file; building one takes about 25 ms.

    Raises:
        SettingsError: the file holds no certificate.
    """
    context = httpx.create_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            msg = f"ca_file {ca_file} cannot be used ({error}); it must hold the authority's certificate in PEM form"
            raise SettingsError(msg) from error
    return context
