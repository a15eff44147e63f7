"""Reads a model shop again and again, as runs do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.records import Product, Table
from fashion_pipeline.shop.catalogue import ReadCounts, read_catalogue
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web

if TYPE_CHECKING:
    from fashion_pipeline_tests.shop.conftest import StoppedClock


class Reader:
    """Reads the model shop as runs do; every read starts a minute after the one before."""

    def __init__(self, store: Store, web: Web, clock: StoppedClock, model: ModelShop) -> None:
        self.store = store
        self.web = web
        self.clock = clock
        self.model = model
        self.table: Table[Product] | None = None
        self.counts: ReadCounts | None = None

    async def read(
        self,
        *,
        sweep: bool = False,
        allow_removals: bool = False,
        known_first_seen: Mapping[str, datetime] | None = None,
        known_live: Collection[str] = (),
        purged: Collection[str] = (),
    ) -> ReadCounts:
        self.clock.at += timedelta(minutes=1)
        self.model.clock.advance(60)
        self.model.asked.clear()
        self.table, self.counts = await read_catalogue(
            store=self.store,
            shop=Shop(self.store, self.web),
            previous=self.table,
            clock=self.clock,
            sweep=sweep,
            allow_removals=allow_removals,
            known_first_seen=known_first_seen,
            known_live=known_live,
            purged=purged,
        )
        return self.counts

    def row(self, product_id: int) -> Product:
        assert self.table is not None
        return next(row for row in self.table.rows if row.external_id == str(product_id))

    @property
    def metadata(self) -> Mapping[str, str]:
        assert self.table is not None
        return self.table.metadata

    @property
    def requests(self) -> list[str]:
        return [asked.path.partition("/wp-json/wc/v3/")[2] for asked in self.model.asked]
