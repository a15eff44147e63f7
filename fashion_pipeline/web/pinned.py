"""A transport that connects only to addresses that were judged."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain, zip_longest

import httpx

ADDRESSES = "fashion_addresses"
"""Request extension: the judged addresses, in the order to try them."""
CONNECT_TIMEOUT_S = 5.0
"""For the last address of a host."""
FIRST_CONNECT_TIMEOUT_S = 1.5
"""For each address before the last one: a host with a dead address must answer within a sensor's round of 7 s."""
AVOIDED_S = 600.0
"""How long an address that accepted no connection is tried last."""

_failed_at: dict[tuple[str, int | None], float] = {}
"""When an address and port last accepted no connection. It outlives a client: a sensor opens one for each tick."""


class PinnedTransport(httpx.AsyncBaseTransport):
    """Sends a request to one of its judged addresses.

    The Host header and the name checked against the certificate stay those of the URL; only the
    address of the connection changes. Requests are signed before they come here, so a signature
    covers the URL itself.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Connect to the first address that accepts a connection.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: no address accepted; the error of the last one.
        """
        port = request.url.port
        addresses = in_order(request.extensions[ADDRESSES], port)
        name = request.url.raw_host.decode("ascii").removesuffix(".")  # no certificate is for "shop.test."
        for remaining, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            connect_s = FIRST_CONNECT_TIMEOUT_S if remaining else CONNECT_TIMEOUT_S
            timeout = {**request.extensions.get("timeout", {}), "connect": connect_s}
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name, "timeout": timeout},
            )
            try:
                response = await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                _remember(address, port)
                if not remaining:
                    raise
            else:
                _failed_at.pop((address, port), None)
                return response
        msg = f"no judged address for {request.url.host}"
        raise httpx.ConnectError(msg, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def in_order(addresses: Iterable[str], port: int | None) -> list[str]:
    """Return addresses in the order to try them.

    IPv6 and IPv4 alternate (RFC 8305, section 4), beginning with the resolver's choice. Those that
    accepted no connection lately come last.
    """
    given = list(addresses)
    families = [[each for each in given if (":" in each) == is_v6] for is_v6 in (True, False)]
    if given and ":" not in given[0]:
        families.reverse()
    mixed = [each for each in chain(*zip_longest(*families)) if each is not None]
    since = time.monotonic() - AVOIDED_S
    return sorted(mixed, key=lambda address: _failed_at.get((address, port), since) > since)


def _remember(address: str, port: int | None) -> None:
    now = time.monotonic()
    for key in [key for key, failed_at in _failed_at.items() if failed_at <= now - AVOIDED_S]:
        del _failed_at[key]
    _failed_at[address, port] = now
