from __future__ import annotations

import httpx
import pytest

from fashion_pipeline.web.pinned import ADDRESSES, CONNECT_TIMEOUT_S, PinnedTransport, in_order

ROUND_S = 7.0
"""How long the sensor waits for a shop."""


class Partly(httpx.AsyncBaseTransport):
    """A network on which some addresses accept no connection; remembers who was tried, and for how long."""

    def __init__(self, *dead: str) -> None:
        self.dead = dead
        self.tried: list[str] = []
        self.waits_s: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.tried.append(request.url.host)
        self.waits_s.append(request.extensions["timeout"]["connect"])
        if request.url.host in self.dead:
            msg = "no answer"
            raise httpx.ConnectTimeout(msg, request=request)
        return httpx.Response(200)


def request(*addresses: str, port: int) -> httpx.Request:
    return httpx.Request("GET", f"https://shop.test:{port}/", extensions={ADDRESSES: addresses})


async def test_a_dead_address_goes_last_for_a_while() -> None:
    """What accepted no connection is tried last by later requests, of other clients too; the first wait fits a round."""
    network = Partly("2001:db8::1")
    asked = request("2001:db8::1", "2001:db8::2", "203.0.113.1", port=4431)
    assert (await PinnedTransport(network).handle_async_request(asked)).status_code == 200
    assert network.tried == ["2001:db8::1", "203.0.113.1"]
    assert sum(network.waits_s) + CONNECT_TIMEOUT_S <= ROUND_S + network.waits_s[-1]
    network.tried.clear()
    await PinnedTransport(network).handle_async_request(asked)
    assert network.tried == ["203.0.113.1"]


async def test_an_address_that_recovers() -> None:
    """Where no other address accepts a connection, the avoided one is tried too, and once it accepts it is first again."""
    asked = request("2001:db8::1", "203.0.113.1", port=4432)
    with pytest.raises(httpx.ConnectTimeout):
        await PinnedTransport(Partly("2001:db8::1", "203.0.113.1")).handle_async_request(asked)
    network = Partly("203.0.113.1")
    await PinnedTransport(network).handle_async_request(asked)
    assert in_order(["203.0.113.1", "2001:db8::1"], 4432) == ["2001:db8::1", "203.0.113.1"]


def test_families_alternate() -> None:
    """IPv6 and IPv4 addresses alternate, so that a dead family costs one wait, beginning with the resolver's choice."""
    assert in_order(["::1", "::2", "10.0.0.1", "10.0.0.2"], 4433) == ["::1", "10.0.0.1", "::2", "10.0.0.2"]
    assert in_order(["10.0.0.1", "10.0.0.2", "::1"], 4433) == ["10.0.0.1", "::1", "10.0.0.2"]
    assert in_order([], 4433) == []
