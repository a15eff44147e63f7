"""The end of a run: rows, outcomes, points and the alias, in this order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.outcomes import read_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.health import store_health
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.tombstones import set_tombstone
from fashion_pipeline.sinks.publish import PublishedPoints, publish_points, publish_rows, read_stage_tables
from fashion_pipeline.sinks.qdrant.collections import alias_target, collections
from fashion_pipeline.sinks.rollout import Model, shown_model
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, NOW, Shop, product, store

OLD = "0" * 16


@pytest.fixture
async def sinks(database_url: str, home: Home) -> AsyncIterator[Sinks]:
    """Yield empty sinks."""
    async with database(database_url, home_id=home.id) as engine:
        yield Sinks(home, engine, partial(local_qdrant, home))


def made(home: Home, fingerprint: str = FINGERPRINT) -> Shop:
    """Return a store of two products."""
    return Shop(home.vectors(fingerprint), store=store(), fingerprint=fingerprint).add(product("1"), product("2"))


async def publish(sinks: Sinks, shop: Shop) -> PublishedPoints:
    """Publish a store's rows and points, as a run does."""
    desired = shop.desired()
    await publish_rows(sinks.engine, store_id=shop.store.id, desired=desired, now=NOW, read={})
    model = Model(shop.fingerprint, f"local-dir:/{shop.fingerprint}")
    return await publish_points(sinks, store_id=shop.store.id, desired=desired, model=model, chosen_at=NOW)


async def test_both_sinks_agree_after_publishing(sinks: Sinks) -> None:
    """Every live row has its point, the outcomes say so, and the first collection is live."""
    shop = made(sinks.home)
    published = await publish(sinks, shop)
    assert published.counts.points_written == published.agreement.rows == published.agreement.points == 2
    outcomes = await read_outcomes(sinks.engine, store_id=shop.store.id)
    assert [(each.in_postgres, each.in_qdrant) for each in outcomes] == [(True, True)] * 2
    assert await shown_model(sinks.engine) == Model(FINGERPRINT, f"local-dir:/{FINGERPRINT}")


async def test_the_live_collection_follows_while_another_models_is_filled(sinks: Sinks) -> None:
    """A product that is gone leaves both collections, and the alias moves once the new one lacks nothing."""
    await publish(sinks, made(sinks.home, OLD))
    await publish(sinks, made(sinks.home).trash("2"))
    with sinks.qdrant() as client:
        assert {each.fingerprint: client.count(each.name).count for each in collections(client)} == {
            OLD: 1,
            FINGERPRINT: 1,
        }
        live = alias_target(client)
    assert live is not None
    assert live.fingerprint == FINGERPRINT


async def test_outcomes_alone_leave_the_rows_as_they_are(sinks: Sinks) -> None:
    """A run that failed publishes what became of its products; it writes no row, and counts as the last read."""
    shop = made(sinks.home)
    read = {"read_at": NOW.isoformat()}
    counts = await publish_rows(
        sinks.engine, store_id=shop.store.id, desired=shop.desired(), now=NOW, read=read, outcomes_only=True
    )
    assert counts.written == 2  # would be
    assert await live_counts(sinks.engine) == {}
    outcomes = await read_outcomes(sinks.engine, store_id=shop.store.id)
    assert [each.in_postgres for each in outcomes] == [False, False]
    assert shop.store.id in await store_health(sinks.engine, now=NOW)


async def test_what_was_purged_is_not_published_again(sinks: Sinks) -> None:
    """A sink that runs alone reads the tables there are; content of a purged product in them is not used."""
    shop = made(sinks.home)
    shop.save(sinks.home)
    await set_tombstone(sinks.engine, shop.store.id, "1", now=NOW)
    tables = await read_stage_tables(sinks.engine, sinks.home, shop.store.id)
    assert {row.external_id: row.title for row in tables.products.rows} == {"1": "", "2": "Dress 2"}
    assert tables.fingerprint == FINGERPRINT
