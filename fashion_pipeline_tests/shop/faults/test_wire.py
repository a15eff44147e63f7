from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import trustme

from fashion_pipeline.errors import ShopError, ShopUnavailable
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.model_shop.control import TOKEN
from fashion_pipeline_tests.shop.faults.conftest import loopback
from fashion_pipeline_tests.shop.faults.served import served
from fashion_pipeline_tests.shop.faults.stage import AGENT, Stage, assert_no_keys, shop_and_store

FIRST_PAGE = "status=any&orderby=id&order=desc&per_page=3&page=1&"
IMPATIENT = Limits(max_bytes=1024 * 1024, deadline_s=0.05)


@pytest.fixture
async def plain(clock: HandClock) -> AsyncIterator[Stage]:
    """A store whose shop is served over plain http, on a real socket."""
    shops: dict[str, ModelShop] = {}
    async with served(shops, control=True) as port:
        model, store = shop_and_store("plain", origin=f"http://shop.example:{port}")
        shops[model.id] = model
        guard = Guard(allow_private_hosts=("shop.example",), resolver=loopback)
        async with Web(guard=guard, clock=clock, user_agent=AGENT) as web:
            yield Stage(model, store, clock, web)


async def fails(plain: Stage, *, sweep: bool, limits: Limits = IMPATIENT) -> str:
    """Read a shop that cannot be read; return what the error says behind the store and its address."""
    before = plain.table
    with pytest.raises(ShopUnavailable) as error:
        await plain.read(sweep=sweep, limits=limits)
    assert plain.table is before
    beginning = f"store plain: {plain.store.url}/wp-json/wc/v3/products"
    assert str(error.value).startswith(beginning)
    return str(error.value).removeprefix(beginning)


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
async def test_a_dropped_connection(sweep: bool, plain: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A shop that hangs up without an answer is tried four times; the error says so."""
    await plain.read(sweep=True)
    plain.model.fault = faults.drops()
    assert await fails(plain, sweep=sweep) == (
        ": the host did not answer as a web server does (Server disconnected without sending a response.); it is "
        "retried later; check that the shop is up"
    )
    assert len(plain.model.asked) == 4
    assert_no_keys([plain], caplog)
    plain.model.fault = None
    await plain.read()
    assert plain.shown == plain.there


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
async def test_an_answer_cut_off(sweep: bool, plain: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A body of which only the first bytes arrive is not read as a short listing."""
    await plain.read(sweep=True)
    plain.model.edit(plain.ids[0], price="99")
    plain.model.fault = faults.drops(after_bytes=40)
    said = await fails(plain, sweep=sweep)
    assert re.fullmatch(
        r" broke off after 40 bytes \(peer closed connection .*\); it is retried later; if that lasts, ask whoever "
        r"hosts the shop what cuts its responses off",
        said,
    )
    assert_no_keys([plain], caplog)
    plain.model.fault = faults.first(1, faults.drops(after_bytes=40))
    await plain.read(sweep=sweep)
    assert plain.shown == plain.there


async def test_a_shop_that_hangs(plain: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A shop that does not answer within the deadline is given up, and left to whoever hosts it."""
    await plain.read(sweep=True)
    plain.model.fault = faults.slow(600)
    assert await fails(plain, sweep=False) == (
        " took longer than 0.05 s; it is retried later; ask whoever hosts the shop why it is slow"
    )
    assert_no_keys([plain], caplog)
    plain.model.fault = faults.slow(0.001)
    await plain.read(sweep=True)
    assert plain.shown == plain.there


async def test_a_server_that_is_not_there(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    """A port where nobody listens is a shop that is down."""
    async with served({}) as port:
        pass
    model, store = shop_and_store("plain", origin=f"http://shop.example:{port}")
    guard = Guard(allow_private_hosts=("shop.example",), resolver=loopback)
    async with Web(guard=guard, clock=clock, user_agent=AGENT) as web:
        said = await fails(Stage(model, store, clock, web), sweep=True)
    assert said == (
        ": the host did not answer (All connection attempts failed); it is retried later; check that the shop is up"
    )


async def test_a_shop_in_a_private_network(plain: Stage) -> None:
    """A shop of one's own at a private address is told where to allow it; nothing is asked of it."""
    async with Web(
        guard=Guard(allow_ports=[plain.port], resolver=loopback), clock=plain.clock, user_agent=AGENT
    ) as web:
        plain.web = web
        with pytest.raises(ShopError) as error:
            await plain.read(sweep=True)
    assert str(error.value) == (
        f"store plain: {plain.store.url}/wp-json/wc/v3/products leads to an address that is not public; correct the "
        "store's url in stores.yaml, or, for a test shop, list 'shop.example' under its allow_private_hosts there"
    )
    assert not plain.model.asked


async def test_faults_may_be_ordered_over_http(plain: Stage) -> None:
    """Another process orders faults by name, with their options and limits, and ends them."""

    async def order(*wanted: Mapping[str, object]) -> httpx.Response:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as client:
            url = plain.store.url.replace("shop.example", "127.0.0.1")
            return await client.post(f"{url}/_control", json={"do": "faults", "faults": list(wanted)})

    poisoned = {"name": "poison", "ids": [plain.ids[2]]}
    dropped = {"name": "drops", "after_bytes": 5, "first": 2, "path": "/products$", "query": {"status": "any"}}
    assert (await order(poisoned, dropped)).status_code == 200
    counts = await plain.read(sweep=True)
    assert (counts.unreadable, len(plain.shown)) == (1, 6)
    first_pages = [asked for asked in plain.model.asked if asked.query.startswith(FIRST_PAGE)]
    assert len(first_pages) == 3
    assert (await order()).status_code == 200
    await plain.read(sweep=True)
    assert plain.shown == plain.there
    wrongs: list[tuple[dict[str, object], str]] = [
        ({"name": "flood"}, "'name' must be one of busy, "),
        ({"name": "slow", "minutes": 3}, "slow takes (seconds: "),
    ]
    for wrong, sentence in wrongs:
        answer = await order(wrong)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(sentence)


async def test_keys_in_the_query(clock: HandClock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a shop needs its keys in the URL, they are in no message and no log, though Link repeats them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("shop.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    shops: dict[str, ModelShop] = {}
    async with served(shops, tls=tmp_path / "server.pem") as port:
        model, store = shop_and_store("plain", origin=f"https://shop.example:{port}", auth="query")
        shops[model.id] = model
        guard = Guard(allow_private_hosts=("shop.example",), resolver=loopback)
        async with Web(guard=guard, clock=clock, user_agent=AGENT, ca_file=tmp_path / "ca.pem") as web:
            plain = Stage(model, store, clock, web)
            model.fault = faults.strips_authorization()
            await plain.read(sweep=True)
            assert plain.shown == plain.there
            assert all("consumer_secret=" in asked.query for asked in model.asked)
            for fault in (
                faults.drops(40),
                faults.busy(),
                faults.php_notice(),
                faults.redirects("https://www.shop.example"),
            ):
                model.fault = faults.together(faults.strips_authorization(), fault)
                with contextlib.suppress(ShopError):
                    await plain.read(sweep=True)
            assert len(plain.said) == 3
    model.asked.clear()
    assert_no_keys([plain], caplog, but_urls=True)
