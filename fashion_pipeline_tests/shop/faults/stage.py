"""A store whose shop can go wrong: the model, the reader of it, and what the table must then say."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from pydantic import SecretStr

from fashion_pipeline.model_shop.shop import Key, ModelShop, ShopClock
from fashion_pipeline.records import Product, Table
from fashion_pipeline.shop.catalogue import ReadCounts, read_catalogue
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline_tests.clock import MONDAY, HandClock

AGENT = "fashion-pipeline/1.2 (+https://reader.example)"
PRODUCTS = 7
PER_PAGE = 3
LIMITS = Limits(max_bytes=1024 * 1024, deadline_s=30)
LONG_AGO = MONDAY - timedelta(days=30)


@dataclass
class Stage:
    """One store: its model shop, what reaches it, and its table, which grows from read to read."""

    model: ModelShop
    store: Store
    clock: HandClock
    web: Web
    table: Table[Product] | None = None
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where the shop is served, if its address says it."""
        return urlsplit(self.store.url).port or 443

    async def read(self, *, sweep: bool = False, limits: Limits = LIMITS) -> ReadCounts:
        """Read the shop once, as a run does, a minute after the last time."""
        self.clock.advance(minutes=1)
        self.model.clock.set(self.clock.now())
        self.model.asked.clear()
        try:
            self.table, counts = await read_catalogue(
                store=self.store,
                shop=Shop(self.store, self.web, per_page=PER_PAGE, limits=limits),
                previous=self.table,
                clock=self.clock,
                sweep=sweep,
                allow_removals=False,
            )
        except Exception as error:
            self.said.append(f"{error!r} {error}")
            raise
        return counts

    @property
    def shown(self) -> dict[str, Decimal | None]:
        """What the table would have published: prices by id."""
        return {row.external_id: row.price for row in self.table.rows if row.outcome.ok} if self.table else {}

    @property
    def there(self) -> dict[str, Decimal | None]:
        """What the shop sells: prices by id."""
        return {str(product.id): Decimal(product.fields["price"]) for product in self.model.products.values()}

    @property
    def ids(self) -> list[int]:
        """The shop's product ids, ascending."""
        return sorted(self.model.products)


def shop_and_store(name: str, *, origin: str = "https://shop.example", **settings: Any) -> tuple[ModelShop, Store]:
    """Return a shop of seven products, and its store, with keys of their own."""
    store = Store.model_validate(
        {
            "id": name,
            "url": f"{origin}/{name}",
            "consumer_key": SecretStr(f"ck_of_{name}_which_nobody_may_see"),
            "consumer_secret": SecretStr(f"cs_of_{name}_which_nobody_may_see"),
            "currency": "EUR",  # so that the first request is for products
            **settings,
        }
    )
    key = Key(store.consumer_key.get_secret_value(), store.consumer_secret.get_secret_value())
    model = ModelShop(name, origin=origin, keys=[key], clock=ShopClock(MONDAY))
    for number in range(PRODUCTS):
        moment = LONG_AGO + timedelta(hours=number)
        picture = f"{model.url}/wp-content/uploads/{number}.jpg"
        model.add(name=f"Dress {number}", price=str(10 + number), images=[picture], created=moment)
    return model, store


def assert_no_keys(stages: Sequence[Stage], caplog: pytest.LogCaptureFixture, *, but_urls: bool = False) -> None:
    """Assert that no key of any store is in a URL asked, an error raised, a table or a log."""
    for each in stages:
        key, secret = each.store.consumer_key.get_secret_value(), each.store.consumer_secret.get_secret_value()
        spelled = {key, secret, quote(key), base64.b64encode(f"{key}:{secret}".encode()).decode()}
        urls = [] if but_urls else [f"{asked.path}?{asked.query}" for asked in each.model.asked]
        assert urls or but_urls
        for text in (*urls, *each.said, repr(each.table), caplog.text):
            assert not any(secret in text for secret in spelled), text
