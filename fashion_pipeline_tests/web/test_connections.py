from __future__ import annotations

import contextlib

import httpx

from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.connections import MOST_ORIGINS, Connections
from fashion_pipeline.web.guard import Guard, parse
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.web.server import Answer, Site

LIMITS = Limits(max_bytes=1000, deadline_s=10.0)


class Counted(httpx.AsyncBaseTransport):
    """Sends nothing, and counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_the_connections_of_a_thousand_hosts_do_not_stay_open() -> None:
    """A shop may list images on more hosts than a process may have open files; the least recently used connections are closed."""
    names = [f"{number}.test" for number in range(MOST_ORIGINS + 20)]

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    guard = Guard(allow_private_hosts=names, resolver=resolve)
    async with Site({"/a": Answer(b"a")}) as site:
        async with Web(guard=guard, clock=HandClock(), user_agent="t") as web:
            for name in names:
                await web.get(site.url("/a", host=name), limits=LIMITS)
            await site.closed(20)
            assert (site.connections, site.open) == (len(names), MOST_ORIGINS)
            await web.get(site.url("/a", host=names[-1]), limits=LIMITS)
            assert site.connections == len(names)
        await site.closed(len(names))


async def test_connections_in_use_are_not_closed() -> None:
    """However many hosts are used at once, each request keeps its connection until it ends."""
    async with Site() as site:
        connections = Connections(limit=1, ca_file=None, transport=None)
        async with contextlib.AsyncExitStack() as held:
            targets = [parse(f"http://{number}.test:{site.port}/") for number in range(MOST_ORIGINS + 2)]
            first = [await held.enter_async_context(connections.to(target)) for target in targets]
            for target, known in zip(targets, first, strict=True):
                async with connections.to(target) as again:
                    assert again is known
        await connections.aclose()


async def test_the_callers_own_transport_is_closed_once_at_the_end() -> None:
    """It serves all hosts, so closing the connections of one must not close it."""
    transport = Counted()
    connections = Connections(limit=1, ca_file=None, transport=transport)
    for number in range(MOST_ORIGINS + 2):
        async with connections.to(parse(f"http://{number}.test/")):
            assert transport.closed == 0
    await connections.aclose()
    assert transport.closed == 1
