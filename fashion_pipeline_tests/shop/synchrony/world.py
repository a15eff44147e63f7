"""A model shop, served in this process, and the reader under test, which reads it while it changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Key, ModelShop, ShopClock
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.records import Product, Table
from fashion_pipeline.shop.catalogue import ReadCounts, read_catalogue
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.model_shop.faults import stale_cache
from fashion_pipeline_tests.shop.synchrony.changes import Change, Floor
from fashion_pipeline_tests.shop.synchrony.oracle import DELETED, Shown, published, state

Meanwhile = Mapping[int, Sequence[Change]]
"""Changes by the number of the request, from 1, that they come just before."""

KEY, SECRET = "ck_of_the_world", "cs_of_the_world"
REFUSED = (
    b'{"code":"woocommerce_rest_cannot_view","message":"Sorry, you cannot view this resource.","data":{"status":403}}'
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a world begins.

    Attributes:
        per_page: products on a page of a listing.
        products: how many the shop begins with.
        spread_s: seconds between their dates of modification.
        bulk: how many products a bulk edit touches, at least.
        began_at: the shop's clock.
        zone: the shop's time zone.
        skew_s: how far the reader's clock is ahead of the shop's.
        total: whether X-WP-Total passes the proxy before the shop; without it no absence is believed.
        prelude: changes between the first read and whatever follows.
        delays: turns of the event loop that a request waits for; of requests under way together a
            later one may so be answered first.
        ties_by_id: whether rows of equal dates come by id, as since WooCommerce 11.
        page_cap: the most products on a page, whatever is asked for.
        honest_cap: whether X-WP-TotalPages counts the capped pages.
        cached: whether a cache keeps what the shop answers, knows requests by WooCommerce's
            parameters, and answers every other one from the past.
    """

    per_page: int
    products: int
    spread_s: int
    bulk: int
    began_at: datetime
    zone: str = "Europe/Paris"
    skew_s: int = 0
    total: bool = True
    prelude: tuple[Change, ...] = ()
    delays: tuple[int, ...] = (0,)
    ties_by_id: bool = True
    page_cap: int | None = None
    honest_cap: bool = True
    cached: bool = False

    def floor(self) -> Floor:
        """Return a shop of its own that begins so."""
        shop = ModelShop(
            id="world",
            origin="https://shop.example",
            keys=[Key(KEY, SECRET)],
            zone=ZoneInfo(self.zone),
            clock=ShopClock(self.began_at),
            ties_by_id=self.ties_by_id,
            page_cap=self.page_cap,
            honest_cap=self.honest_cap,
        )
        floor = Floor(shop, self.bulk, may_hide=self.total)
        floor.fill(self.products, spread_s=self.spread_s)
        return floor


class CutOff(Exception):
    """The reader was killed before it sent a request."""


@dataclass(slots=True)
class ReadersClock:
    """The reader's clock: the shop's, and some seconds."""

    shop: ShopClock
    skew: timedelta

    def now(self) -> datetime:
        """Return the reader's present time."""
        return self.shop.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        """Let the shop's time pass."""
        self.shop.advance(seconds)


class Between(httpx.AsyncBaseTransport):
    """Carries requests to the model shop; before each of them the shop may change."""

    def __init__(self, floor: Floor, setting: Setting) -> None:
        self._floor = floor
        self._delays = setting.delays
        self._dropped = {"content-length"} if setting.total else {"content-length", "x-wp-total"}
        self._inner = httpx.ASGITransport(app({floor.shop.id: floor.shop}))
        self.meanwhile: Meanwhile = {}
        self.cut_before: int | None = None
        self.number = 0
        self.made = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Change the shop, let it answer, and leave out what is hidden.

        Raises:
            CutOff: the reader is to be killed now.
        """
        self.number += 1
        number = self.number
        if number == self.cut_before:
            raise CutOff
        for _ in range(self._delays[number % len(self._delays)]):
            await asyncio.sleep(0)
        for change in self.meanwhile.get(number, ()):
            self._floor.make(change)
            self.made += 1
        hidden = self._floor.hidden
        if hidden and request.url.path.rpartition("/")[2] in map(str, hidden):
            return httpx.Response(403, content=REFUSED, headers={"content-type": "application/json"})
        response = await self._inner.handle_async_request(request)
        if not (hidden or len(self._dropped) > 1) or not request.url.path.endswith("/products"):
            return response
        rows = [row for row in json.loads(await response.aread()) if row["id"] not in hidden]
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in self._dropped]
        return httpx.Response(200, content=json.dumps(rows).encode(), headers=headers)


async def _loopback(host: str, port: int) -> Sequence[str]:
    return ("127.0.0.1",)


@dataclass(slots=True)
class Tally:
    """What became of the worlds of one test or benchmark.

    Attributes:
        changes: made between two requests of a read.
        ways: of leaving, and how many products left so.
        lost: products that the reader did not have, had outdated, or let go without evidence; one sentence each.
        invented: products it had that were not there; one sentence each.
        backwards: products that returned to an older state; one sentence each.
        with_cap, with_cache, with_bulk_edit, with_ties: whether the shop capped its pages, a cache was in
            front of it, it edited many products in one second, or it had no order for equal dates.
    """

    changes: int = 0
    reads: int = 0
    requests: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    with_cap: bool = False
    with_cache: bool = False
    with_bulk_edit: bool = False
    with_ties: bool = False


class World:
    """One shop and one table that follows it; every read is judged by what the shop was meanwhile."""

    def __init__(self, setting: Setting, tally: Tally) -> None:
        self.floor = setting.floor()
        self.tally = tally
        self.shop = self.floor.shop
        self.floor.watch = self._touch
        self.table: Table[Product] | None = None
        self._store = Store.model_validate(
            {"id": "world", "url": self.shop.url, "consumer_key": SecretStr(KEY), "consumer_secret": SecretStr(SECRET)}
        )
        self._clock = ReadersClock(self.shop.clock, timedelta(seconds=setting.skew_s))
        self._between = Between(self.floor, setting)
        guard = Guard(allow_private_hosts=("shop.example",), resolver=_loopback)
        self._web = Web(guard=guard, clock=self._clock, user_agent="world", transport=self._between)
        self._reader = Shop(self._store, self._web, per_page=setting.per_page)
        self._runner = asyncio.Runner()
        self._total = setting.total
        self._right: set[str] = set()
        self._never_swept = True
        self._seen: dict[str, list[Shown | str]] = {}
        self._touched: set[str] = set()
        self._states: dict[str, list[Shown | str]] = {str(key): [state(self.shop, key)] for key in self.shop.products}
        if setting.cached:
            self.shop.fault = stale_cache(every=2)
        tally.with_cap |= setting.page_cap is not None
        tally.with_cache |= setting.cached
        tally.with_ties |= not setting.ties_by_id

    def close(self) -> None:
        """End the event loop."""
        self._runner.run(self._web.__aexit__(None, None, None))
        self._runner.close()

    def read(
        self, meanwhile: Meanwhile, *, sweep: bool = False, cut_before: int | None = None, agree: bool = False
    ) -> None:
        """Read the shop as a run does, and judge what the table has become.

        Args:
            meanwhile: changes to make between requests; those that are left come after the read.
            sweep: read everything.
            cut_before: kill the reader before this request; the table stays as it was.
            agree: consent to removals.
        """
        between = self._between
        between.meanwhile, between.cut_before, between.number, between.made = meanwhile, cut_before, 0, 0
        before = self.rows
        self._touched, self.floor.peak = set(), self.shop.clock.now()
        known = before.keys() | {str(key) for key in self.shop.products}
        self._seen = {key: [state(self.shop, int(key))] for key in known}
        reading = read_catalogue(
            store=self._store,
            shop=self._reader,
            previous=self.table,
            clock=self._clock,
            sweep=sweep,
            allow_removals=agree,
        )
        try:
            self.table, counts = self._runner.run(reading)
        except CutOff:
            pass
        except ShopProtocolError:
            if self.shop.fault is None:
                raise
        else:
            self._judge_direction(before)
            if self.shop.fault is None:
                self._judge(before, counts)
        self.tally.reads += 1
        self.tally.requests += between.number
        self.tally.changes += between.made
        for number in sorted(meanwhile):
            if number > between.number:
                for change in meanwhile[number]:
                    self.floor.make(change)

    @property
    def rows(self) -> dict[str, Product]:
        """The table's rows, by id."""
        return {row.external_id: row for row in self.table.rows} if self.table else {}

    def settle(self) -> None:
        """Read a last time now that nothing changes any more, sweep, and compare everything."""
        if self.shop.fault is not None:
            self.read({})
            self.read({}, sweep=True)
            return
        self.read({})
        undated = {str(key) for key in self.floor.undated | self.floor.hidden}
        if not self._never_swept:
            self._compare("a last read", but=undated)
        self.floor.hidden.clear()
        self.read({}, sweep=True)
        if self.table is not None and self.table.metadata["held"]:
            self.read({}, sweep=True, agree=True)
        self._compare("a last sweep", but=self._unproven)
        for key, row in self.rows.items():
            if row.outcome.ok and row.currency != self.shop.currency and key not in self._unproven:
                self.tally.lost.append(f"a last sweep: product {key} has the price of {row.currency}")

    def _touch(self, ids: Iterable[int]) -> None:
        for product_id in ids:
            key = str(product_id)
            self._right.discard(key)
            self._touched.add(key)
            now = state(self.shop, product_id)
            self._seen.setdefault(key, [DELETED]).append(now)
            self._states.setdefault(key, []).append(now)

    def _judge_direction(self, before: Mapping[str, Product]) -> None:
        """Hold each row against all states that its product ever had: none may return to an older one."""
        for key, row in self.rows.items():
            old, states = before.get(key), self._states.get(key, [])
            if old is None or _known_as(old) == _known_as(row):
                continue
            was = [place for place, each in enumerate(states) if each == _known_as(old)]
            became = [place for place, each in enumerate(states) if each == _known_as(row)]
            if was and became and became[-1] < was[0]:
                self.tally.backwards.append(f"product {key} was {_known_as(old)}, and became {_known_as(row)}")

    def _judge(self, before: Mapping[str, Product], counts: ReadCounts) -> None:
        """Hold the read against what the shop was while it lasted."""
        after = self.rows
        what = f"read {self.tally.reads} ({counts.read})"
        for key, row in after.items():
            old, seen = before.get(key), self._seen.get(key, [DELETED])
            if (
                row.outcome.ok
                and shown(row) not in seen
                and (old is None or not old.outcome.ok or shown(old) != shown(row))
            ):
                self.tally.invented.append(f"{what}: product {key} became {shown(row)}, it was {seen}")
            if old is not None and old.outcome.ok and not row.outcome.ok:
                ways = [reason.value for reason in row.outcome.reasons if reason is not Reason.UNREADABLE]
                self.tally.ways[ways[0]] += 1
                if ways[0] not in seen:
                    self.tally.lost.append(f"{what}: product {key} left as {ways}, it was {seen}")
        for key in sorted(self._right):
            if shown(after[key]) != state(self.shop, int(key)):
                self.tally.lost.append(f"{what}: product {key}, untouched, became {after[key]}")
        if counts.read == "sweep" and not counts.held and (counts.complete or not (self._total or self._between.made)):
            unseen = self._touched | {str(key) for key in self.floor.hidden} | self._unproven
            self._compare(what, but=unseen)
            self.floor.undated &= set(map(int, unseen))
            self.floor.latest = self.floor.peak
            self._never_swept = False
        self._right = {key for key, row in after.items() if shown(row) and shown(row) == state(self.shop, int(key))}

    @property
    def _unproven(self) -> set[str]:
        """The ids whose departure the shop does not let anyone prove."""
        return set() if self._total else set(map(str, self.floor.deleted))

    def _compare(self, what: str, *, but: Collection[str]) -> None:
        """Compare the table with the shop, except for some ids."""
        there, rows = published(self.shop), self.rows
        for key in sorted(rows.keys() - there.keys() - set(but)):
            if rows[key].outcome.ok:
                self.tally.invented.append(
                    f"{what}: product {key} is {state(self.shop, int(key))}, known as {rows[key]}"
                )
        for key in sorted(there.keys() - set(but)):
            if key not in rows or shown(rows[key]) != there[key]:
                self.tally.lost.append(f"{what}: product {key} is {there[key]}, known as {rows.get(key)}")


def _known_as(row: Product) -> Shown | str:
    """Return what a row says of its product: what customers see, or why they do not see it."""
    reasons = [reason.value for reason in row.outcome.reasons if reason is not Reason.UNREADABLE]
    return shown(row) or (reasons[0] if reasons else "")


def shown(row: Product) -> Shown | None:
    """Return what a row says that customers see; None where the row is not to be shown."""
    if not row.outcome.ok or row.price is None:
        return None
    return Shown(
        title=row.title,
        price=row.price,
        in_stock=row.in_stock,
        link=row.product_url,
        picture=row.images[0].url,
        categories=row.categories,
    )
