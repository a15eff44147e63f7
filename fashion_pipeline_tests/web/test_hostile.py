"""The real client against every hostile address and reply in the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.web.hostile import ANSWERS, CAP_BYTES, IMAGE, OF_THIS_MACHINE, SLOW, URLS, Internet
from fashion_pipeline_tests.web.server import Site

LIMITS = Limits(max_bytes=CAP_BYTES, deadline_s=30.0, max_redirects=3, attempts=1)


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    """Return a simulated internet of names and addresses."""
    async with Internet() as internet:
        yield internet


async def outcome(web: Web, url: str, limits: Limits = LIMITS) -> Reason | None:
    """Return the reason a URL fails with, None if it returns an image."""
    try:
        reply = await web.get(url, limits=limits, accept={200, 203, 304}.__contains__)
    except WebError as caught:
        error = caught
    else:
        return None if reply.body else Reason.EMPTY
    assert len(str(error)) < 1_000
    assert str(error).isprintable()
    assert "secret" not in str(error)
    return error.reason


def on(internet: Internet, **guard: object) -> Web:
    """Return a client on that internet."""
    return Web(
        guard=Guard(resolver=internet.resolve, **guard),  # type: ignore[arg-type]
        clock=HandClock(),
        user_agent="t",
        transport=internet,
    )


async def test_every_hostile_url_has_its_outcome_and_reaches_nothing_private(internet: Internet) -> None:
    """Whatever URL a stranger enters, and wherever it redirects, only public addresses are connected to."""
    async with on(internet) as web:
        found = {url: await outcome(web, url) for url in URLS}
    assert found == URLS
    assert len(URLS) > 120
    assert internet.private.asked == []
    assert len(internet.public.asked) > 60


async def test_without_the_guard_the_urls_reach_the_private_server(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every address counts as public, each blocked URL leads to the private server, now or after rebinding."""
    monkeypatch.setattr("fashion_pipeline.web.guard.is_public", bool)
    for url in (url for url, reason in URLS.items() if reason is Reason.BLOCKED_ADDRESS):
        internet.private.asked.clear()
        internet.asked.clear()
        async with on(internet) as web:
            await outcome(web, url)
        assert internet.private.asked or internet.asked["first.example"]


async def test_no_spelling_of_loopback_opens_a_connection() -> None:
    """With the real resolver and real sockets, a server on loopback gets no connection."""
    async with Site() as site:
        async with Web(guard=Guard(allow_ports={site.port}), clock=HandClock(), user_agent="t") as web:
            for host in (*OF_THIS_MACHINE, "localhost.", "[::1]", "[::ffff:127.0.0.1]"):
                assert await outcome(web, site.url(host=host)) is Reason.BLOCKED_ADDRESS
        assert site.connections == 0
        for host in OF_THIS_MACHINE:
            _, writer = await asyncio.open_connection(host, site.port)
            writer.close()
        assert site.connections == len(OF_THIS_MACHINE)


async def test_a_name_that_rebinds_between_judgement_and_connection_changes_nothing(internet: Internet) -> None:
    """The judged address is the one connected to; after a minute the new one is judged, and blocked."""
    clock = HandClock()
    guard = Guard(resolver=internet.resolve)
    async with Web(guard=guard, clock=clock, user_agent="t", transport=internet) as web:
        for _ in range(3):
            assert await outcome(web, "http://rebinds.example/a.jpg") is None
        assert internet.asked["rebinds.example"] == 1
        clock.advance(seconds=61)
        assert await outcome(web, "http://rebinds.example/a.jpg") is Reason.BLOCKED_ADDRESS
    assert (len(internet.public.asked), internet.private.asked) == (3, [])


async def test_a_name_that_rebinds_between_redirects_is_judged_again(internet: Internet) -> None:
    """Another origin with the same name is looked up again, and its new address is blocked."""
    async with on(internet) as web:
        url = "http://moves.example/to/https:%2F%2Fmoves.example%2Fa.jpg"
        assert await outcome(web, url) is Reason.BLOCKED_ADDRESS
    assert internet.asked["moves.example"] == 2
    assert (len(internet.public.asked), internet.private.asked) == (1, [])


async def test_every_hostile_reply_has_its_outcome() -> None:
    """Whatever a host sends becomes an image or a reason, with a message that is safe to print."""
    site = Site({f"/{number}": answer for number, (answer, _) in enumerate(ANSWERS.values())})
    guard = Guard(allow_private_hosts=["127.0.0.1"])
    async with site, Web(guard=guard, clock=HandClock(), user_agent="t") as web:
        found = {name: await outcome(web, site.url(f"/{number}")) for number, name in enumerate(ANSWERS)}
    assert found == {name: reason for name, (_, reason) in ANSWERS.items()}


@pytest.mark.parametrize("name", SLOW)
async def test_an_endless_slow_reply_runs_into_the_deadline(name: str) -> None:
    """Neither headers, body nor early hints can hold a request beyond its deadline; the next request succeeds."""
    limits = Limits(max_bytes=CAP_BYTES, deadline_s=0.1, max_redirects=3, attempts=1)
    guard = Guard(allow_private_hosts=["127.0.0.1"])
    async with (
        Site({"/a": SLOW[name], "/b": ANSWERS["whole"][0]}) as site,
        Web(guard=guard, clock=HandClock(), user_agent="t", connections_per_host=1) as web,
    ):
        assert await outcome(web, site.url("/a"), limits) is Reason.TOO_SLOW
        assert (await web.get(site.url("/b"), limits=LIMITS)).body == IMAGE
