"""A transport that connects only to addresses that were judged."""

from __future__ import annotations

import httpx

ADDRESSES = "fashion_addresses"
"""Request extension: the judged addresses, in the order to try them."""


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
        addresses: tuple[str, ...] = request.extensions[ADDRESSES]
        name = request.url.raw_host.decode("ascii").removesuffix(".")  # no certificate is for "shop.test."
        extensions = {**request.extensions, "sni_hostname": name}
        for remaining, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not remaining:
                    raise
        msg = f"no judged address for {request.url.host}"
        raise httpx.ConnectError(msg, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
