from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fashion_pipeline.errors import ShopError
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.shop.catalogue import ReadCounts
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.model_shop.control import FAULTS
from fashion_pipeline_tests.shop.faults.conftest import loopback
from fashion_pipeline_tests.shop.faults.served import served
from fashion_pipeline_tests.shop.faults.stage import AGENT, LIMITS, Stage, assert_no_keys, shop_and_store

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

HANGING = Limits(max_bytes=1024 * 1024, deadline_s=0.05)
HEALTHY = [f"healthy-{number}" for number in range(3)]
FAULTY: dict[str, Callable[[Stage], Fault]] = {
    "busy": lambda _: faults.busy(retry_after="45"),
    "database_down": lambda _: faults.database_down(),
    "fatal_error": lambda _: faults.fatal_error(),
    "maintenance": lambda _: faults.maintenance(),
    "inactive_woocommerce": lambda _: faults.inactive_woocommerce(),
    "byte_order_mark": lambda _: faults.byte_order_mark(),
    "php_notice": lambda _: faults.php_notice(),
    "poison": lambda store: faults.poison(store.ids[3]),
    "same_page": lambda _: faults.same_page(),
    "shrinking": lambda _: faults.shrinking(),
    "loses_rows": lambda store: faults.loses_rows(*store.ids[1:3]),
    "slow": lambda _: faults.slow(600),
    "drops": lambda _: faults.drops(after_bytes=30),
    "redirects": lambda _: faults.redirects("https://www.shop.example"),
    "firewall": lambda _: faults.firewall("."),
    "plain_permalinks": lambda _: faults.plain_permalinks(),
    "strips_authorization": lambda _: faults.strips_authorization(),
    "unaware_of_https": lambda _: faults.unaware_of_https(),
    "no_date": lambda _: faults.no_date(),
    "no_totals": lambda _: faults.no_totals(),
    "old_woocommerce": lambda _: faults.old_woocommerce(),
    "stale_cache": lambda _: faults.stale_cache(),
}
BORNE = {
    *("byte_order_mark", "php_notice", "poison", "shrinking", "loses_rows", "no_date", "no_totals", "old_woocommerce"),
    "stale_cache",
    "unaware_of_https",  # of which there is none
}
HOSTS = [f"{name.replace('_', '-')}.example" for name in (*HEALTHY, *FAULTY)]


class HeldClock(HandClock):
    """A clock that stands still, and on which whoever waits goes on only when ``release`` is called."""

    def __init__(self) -> None:
        super().__init__()
        self._released = asyncio.Event()
        self._waiting = asyncio.Condition()

    def advance(self, **by: float) -> None:
        """Move on, once released."""
        if self._released.is_set():
            super().advance(**by)

    async def sleep(self, seconds: float) -> None:
        """Wait to be released."""
        async with self._waiting:
            self.waits.append(seconds)
            self._waiting.notify_all()
        await self._released.wait()
        self.advance(seconds=seconds)

    async def until(self, waiting: int) -> None:
        """Return when that many wait, or did."""
        async with self._waiting:
            await self._waiting.wait_for(lambda: len(self.waits) >= waiting)

    def release(self) -> None:
        """Let everyone go on, and nobody wait any more."""
        self._released.set()


class Town:
    """Shops on one server, each under a host name of its own, and one client for all of them."""

    def __init__(self, shops: dict[str, ModelShop], port: int, clock: HandClock, web: Web) -> None:
        self._shops = shops
        self._port = port
        self._clock = clock
        self._web = web

    def open(self, name: str, *, host: str = "") -> Stage:
        """Open a shop; by default it is its host's only one."""
        origin = f"http://{host or name}.example:{self._port}"
        model, store = shop_and_store(name, origin=origin)
        self._shops[name] = model
        return Stage(model, store, self._clock, self._web)


@asynccontextmanager
async def town(clock: HandClock) -> AsyncIterator[Town]:
    """Serve a town."""
    shops: dict[str, ModelShop] = {}
    async with served(shops) as port:
        guard = Guard(allow_private_hosts=HOSTS, resolver=loopback)
        async with Web(guard=guard, clock=clock, user_agent=AGENT) as web:
            yield Town(shops, port, clock, web)


async def test_every_fault_at_once(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    """With a fault of each kind next door, every healthy store is read in full, at no more than it costs alone."""
    assert FAULTY.keys() == FAULTS.keys()
    async with town(clock) as shops:
        healthy = [shops.open(name) for name in HEALTHY]
        faulty = {name: shops.open(name.replace("_", "-")) for name in FAULTY}
        for store in (*healthy, *faulty.values()):
            await store.read(sweep=True)
        alone = len(healthy[0].model.asked)
        before = {name: store.shown for name, store in faulty.items()}
        for name, store in faulty.items():
            store.model.fault = FAULTY[name](store)
        for store in healthy:
            store.model.edit(store.ids[0], price="99")
        limits = {"slow": HANGING}
        reading = [asyncio.create_task(store.read(sweep=True)) for store in healthy]
        ended = await asyncio.gather(
            *(store.read(sweep=True, limits=limits.get(name, LIMITS)) for name, store in faulty.items()),
            return_exceptions=True,
        )
        await asyncio.gather(*reading)
    for store in healthy:
        assert store.shown == store.there
        assert len(store.model.asked) == alone + 1  # the edited product is asked for again
        assert not store.said
    for (name, store), end in zip(faulty.items(), ended, strict=True):
        assert isinstance(end, ReadCounts if name in BORNE else ShopError), (name, end)
        assert store.shown == before[name], name
        assert all(said.count(f"store {store.store.id}: ") == 1 for said in store.said), store.said
    assert_no_keys([*healthy, *faulty.values()], caplog)


async def test_a_pause_is_one_hosts_own() -> None:
    """While one shop wants to be left alone, a shop of another host is read, and one of the same host waits with it."""
    clock = HeldClock()
    async with town(clock) as shops, asyncio.timeout(20):  # else a pause shared too widely hangs here for ever
        busy, neighbour = shops.open("busy"), shops.open("healthy-0", host="busy")
        elsewhere = shops.open("healthy-1")
        busy.model.fault = faults.first(1, faults.busy(503, retry_after="30"))
        reading = asyncio.create_task(busy.read(sweep=True))
        await clock.until(waiting=1)
        reading_next_door = asyncio.create_task(neighbour.read(sweep=True))
        await clock.until(waiting=2)
        await elsewhere.read(sweep=True)
        assert elsewhere.shown == elsewhere.there
        assert (len(busy.model.asked), len(neighbour.model.asked)) == (1, 0)
        assert [task.done() for task in (reading, reading_next_door)] == [False, False]
        clock.release()
        await asyncio.gather(reading, reading_next_door)
        assert busy.shown == busy.there
        assert neighbour.shown == neighbour.there
