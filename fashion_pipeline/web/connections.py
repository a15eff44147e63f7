"""The open connections of a run: a few to each host, none through a proxy, and to a limited number of hosts."""

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
"""Origins whose connections stay open for further requests; a shop may list images on a thousand hosts."""


@dataclass(slots=True)
class _Pool:
    """The connections to one origin, and the number of requests that use them now."""

    transport: httpx.AsyncBaseTransport
    pinned: PinnedTransport
    in_use: int = 0


class Connections:
    """One connection pool per origin: in httpx 0.28 one large pool is several times slower than many small ones.

    Args:
        limit: connections to one origin.
        ca_file: PEM file of a private authority, trusted beside the public ones.
        transport: sends requests instead of sockets.
    """

    def __init__(self, *, limit: int, ca_file: Path | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self._limit = limit
        self._ca_file = ca_file
        self._transport = transport
        self._pools: dict[tuple[str, str, int], _Pool] = {}  # least recently used first

    @contextlib.asynccontextmanager
    async def to(self, target: Target) -> AsyncIterator[PinnedTransport]:
        """Lend the connections to a target's origin for one exchange; then close the least recently used ones.

        Raises:
            SettingsError: ``ca_file`` holds no certificate.
        """
        pool = self._pools.pop(target.origin, None) or self._open()
        self._pools[target.origin] = pool
        pool.in_use += 1
        try:
            yield pool.pinned
        finally:
            pool.in_use -= 1
            idle = [origin for origin, other in self._pools.items() if not other.in_use]
            surplus = max(0, len(self._pools) - MOST_ORIGINS)
            for unused in [self._pools.pop(origin) for origin in idle[:surplus]]:
                await self._close(unused)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._pools:
            await self._close(self._pools.popitem()[1])
        if self._transport is not None:
            await self._transport.aclose()

    def _open(self) -> _Pool:
        transport = self._transport or httpx.AsyncHTTPTransport(
            verify=ssl_context(self._ca_file),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=self._limit,
                max_keepalive_connections=self._limit,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
        )
        return _Pool(transport, PinnedTransport(transport))

    async def _close(self, pool: _Pool) -> None:
        if pool.transport is not self._transport:
            await pool.transport.aclose()


@cache
def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context for an authority file, cached: building one takes about 25 ms.

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
