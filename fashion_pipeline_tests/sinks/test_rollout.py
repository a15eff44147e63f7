"""From one model to the next, with two stores."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest

from fashion_pipeline.errors import SettingsError, VectorStoreError
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.qdrant.alias import lacking, show_when_complete
from fashion_pipeline.sinks.qdrant.collections import (
    ALIAS,
    ModelCollection,
    alias_target,
    collections,
    ensure_collection,
)
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.sinks.reconcile import inspect_store, reconcile_store
from fashion_pipeline.sinks.rollout import (
    Model,
    claim_rollout,
    drop,
    models,
    promote,
    remember_kept,
    remember_shown,
    shown_model,
    stores_behind,
)
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import NOW, Shop, product, store

OLD, NEW = "0" * 16, "f" * 16
NORTH, SOUTH = "atelier-nord", "maison-sud"


@pytest.fixture
async def sinks(database_url: str, home: Home) -> AsyncIterator[Sinks]:
    """Yield two stores without drift, with the old model; the first publishes every image."""
    async with database(database_url, home_id=home.id) as engine:
        made = Sinks(home, engine, partial(local_qdrant, home))
        for shop in shops(home, OLD):
            shop.save(home)
            await reconcile_store(made, shop.store, now=NOW, repair=True)
        await claim_rollout(engine, Model(OLD, "local-dir:/old"), NOW)
        await remember_shown(engine, OLD)
        yield made


def collection(fingerprint: str) -> ModelCollection:
    return ModelCollection.of(ALIAS, fingerprint)


def shops(home: Home, fingerprint: str) -> tuple[Shop, Shop]:
    north = Shop(home.vectors(fingerprint), store=store(NORTH, images="all"), fingerprint=fingerprint)
    south = Shop(home.vectors(fingerprint), store=store(SOUTH), fingerprint=fingerprint)
    return north.add(product("1", pictures=3), product("2")), south.add(product("1"))


def build(sinks: Sinks, shop: Shop) -> None:
    """Fill the new model's collection with one store, as a run does."""
    desired = shop.save(sinks.home)
    with sinks.qdrant() as client:
        apply_points(
            client,
            collection=ensure_collection(client, shop.fingerprint, home_id=sinks.home.id).name,
            store_id=shop.store.id,
            desired=desired.points,
            digest=desired.points_digest,
            vectors=shop.vectors,
            live=(),
        )


async def test_the_alias_moves_when_no_store_lacks_anything(sinks: Sinks) -> None:
    """Not with one store done, nor with primary images only, nor for a model that is not wanted; then all at once."""
    north, south = shops(sinks.home, NEW)
    live = await live_counts(sinks.engine)
    new = collection(NEW)
    north.store = store(NORTH)
    build(sinks, north)
    with sinks.qdrant() as client:
        assert dict(lacking(client, new, live=live)) == {NORTH: 2, SOUTH: 1}
        assert not show_when_complete(client, new, live=live)
    north.store = store(NORTH, images="all")
    build(sinks, north)
    with sinks.qdrant() as client:
        assert dict(lacking(client, new, live=live)) == {SOUTH: 1}
        assert not show_when_complete(client, new, live=live)
    build(sinks, south)
    with sinks.qdrant() as client:
        assert not show_when_complete(client, new, live=live, wanted=False)
        assert not show_when_complete(client, new, live={**live, "detached": 1})
        assert alias_target(client) == collection(OLD)
        assert show_when_complete(client, new, live=live)
        assert alias_target(client) == new


async def test_a_collection_that_was_not_kept_up_to_date_is_not_shown(sinks: Sinks) -> None:
    """However many points it has: of stores that ran without it since, it holds gone products and old prices."""
    for shop in shops(sinks.home, NEW):
        build(sinks, shop)
    live = await live_counts(sinks.engine)
    await remember_kept(sinks.engine, NORTH, [NEW, OLD])
    await remember_kept(sinks.engine, SOUTH, [OLD])
    assert await stores_behind(sinks.engine, NEW) == {SOUTH}
    assert await stores_behind(sinks.engine, OLD) == set()
    await claim_rollout(sinks.engine, Model(NEW), NOW)
    by_model = {progress.model.fingerprint: progress for progress in await models(sinks)}
    assert (by_model[OLD].lacks, by_model[NEW].lacks) == ({}, {SOUTH: 1})
    with pytest.raises(VectorStoreError, match=rf"not complete: {SOUTH} lacks 1 up-to-date points"):
        await promote(sinks, NEW, force=False, now=NOW)
    with sinks.qdrant() as client:
        assert not show_when_complete(client, collection(NEW), live=live, behind=[SOUTH])
    await remember_kept(sinks.engine, SOUTH, [NEW])
    assert await stores_behind(sinks.engine, NEW) == set()
    assert await promote(sinks, NEW, force=False, now=NOW) == Model(NEW)


async def test_the_first_collection_is_shown_at_once(home: Home) -> None:
    """Nobody sees anything yet, so nothing can be missed."""
    with local_qdrant(home) as client:
        assert show_when_complete(client, ensure_collection(client, OLD, home_id="h"), live={NORTH: 5}, wanted=False)


async def test_the_wanted_model_is_that_of_the_run_that_began_last(
    sinks: Sinks, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that started before another model was wanted does not claim it back; a later one does, and logs that."""
    hour = timedelta(hours=1)
    with caplog.at_level(logging.WARNING):
        assert await claim_rollout(sinks.engine, Model(NEW, "local-dir:/new"), NOW + 2 * hour)
    assert f"the wanted model is now {NEW} (local-dir:/new); it was {OLD} (local-dir:/old)" in caplog.text
    assert not await claim_rollout(sinks.engine, Model(OLD), NOW + hour)
    assert await claim_rollout(sinks.engine, Model(NEW), NOW + hour)
    assert not await claim_rollout(sinks.engine, Model(OLD), None)
    assert await claim_rollout(sinks.engine, Model(NEW), None)
    assert await claim_rollout(sinks.engine, Model(OLD), NOW + 3 * hour)
    assert await shown_model(sinks.engine) == Model(OLD, "local-dir:/old")


async def test_every_model_is_told_of(sinks: Sinks) -> None:
    """Its name, points, vectors, who sees it, and what each store lacks; vectors without a collection too."""
    build(sinks, shops(sinks.home, NEW)[0])
    await claim_rollout(sinks.engine, Model(NEW, "local-dir:/new"), NOW)
    shops(sinks.home, "a" * 16)[1].desired()
    by_model = {progress.model.fingerprint: progress for progress in await models(sinks)}
    assert (by_model[OLD].model.name, by_model[OLD].points, by_model[OLD].vectors) == ("local-dir:/old", 5, 4)
    assert (by_model[OLD].shown, by_model[OLD].wanted, by_model[OLD].lacks) == (True, False, {})
    assert (by_model[NEW].shown, by_model[NEW].wanted, by_model[NEW].lacks) == (False, True, {SOUTH: 1})
    assert (by_model["a" * 16].points, by_model["a" * 16].vectors, by_model["a" * 16].lacks) == (
        None,
        1,
        {NORTH: 2, SOUTH: 1},
    )


async def test_readers_are_moved_by_hand(sinks: Sinks) -> None:
    """An incomplete model is refused and names what it lacks, unless that is forced; the move is remembered."""
    with pytest.raises(SettingsError, match="no model ffff"):
        await promote(sinks, NEW, force=True, now=NOW)
    build(sinks, shops(sinks.home, NEW)[0])
    await claim_rollout(sinks.engine, Model(NEW, "local-dir:/new"), NOW)
    with pytest.raises(VectorStoreError, match=rf"not complete: {SOUTH} lacks 1 up-to-date points"):
        await promote(sinks, None, force=False, now=NOW)
    assert await promote(sinks, None, force=True, now=NOW) == Model(NEW, "local-dir:/new")
    with sinks.qdrant() as client:
        assert alias_target(client) == collection(NEW)
    assert await shown_model(sinks.engine) == Model(NEW, "local-dir:/new")
    assert await promote(sinks, OLD, force=False, now=NOW + timedelta(hours=1)) == Model(OLD, "local-dir:/old")


async def test_the_live_model_is_not_dropped(sinks: Sinks) -> None:
    """Any other goes with its collection, its vectors and its name, those without a collection too."""
    build(sinks, shops(sinks.home, NEW)[0])
    shops(sinks.home, "a" * 16)[1].desired()
    with pytest.raises(SettingsError, match=r"model 0000.* is live: promote another"):
        await drop(sinks, OLD)
    with pytest.raises(SettingsError, match=f"there are: {OLD}"):
        await drop(sinks, "b" * 16)
    assert (await drop(sinks, NEW)).points == 4
    assert (await drop(sinks, "a" * 16)).vectors == 1
    with sinks.qdrant() as client:
        assert collections(client) == (collection(OLD),)
    assert [vectors.root.name for vectors in sinks.home.all_vectors()] == [OLD]


async def test_what_readers_see_is_repaired_although_the_tables_model_was_dropped(sinks: Sinks) -> None:
    """Only a run can embed again; the dropped collection does not come back empty."""
    new, _ = shops(sinks.home, NEW)
    build(sinks, new)
    await drop(sinks, NEW)
    with sinks.qdrant() as client:
        client.delete(collection(OLD).name, [str(new.desired().products[1].id)])
    look = await reconcile_store(sinks, new.store, now=NOW, repair=True)
    assert look.before.counts == {"point_missing": 1, "vector_lost": 4}
    assert (dict(look.remaining.counts), look.remaining.repairable) == ({"vector_lost": 4}, False)
    with sinks.qdrant() as client:
        assert collections(client) == (collection(OLD),)
        assert client.count(collection(OLD).name).count == 5


async def test_both_collections_are_looked_at_and_repaired(sinks: Sinks) -> None:
    """While a new model is built, drift in the live collection counts too, and is repaired as far as its model has vectors."""
    new, _ = shops(sinks.home, NEW)
    build(sinks, new)
    with sinks.qdrant() as client:
        point = str(new.desired().products[1].id)
        client.delete(collection(OLD).name, [point])
        client.set_payload(collection(NEW).name, payload={"title": "x"}, points=[point])
    look = await reconcile_store(sinks, new.store, now=NOW, repair=True)
    assert look.before.counts == {"point_missing": 1, "point_payload": 1}
    assert not look.remaining
    new.add(product("3"))
    new.save(sinks.home)
    await reconcile_store(sinks, new.store, now=NOW, repair=True)
    assert not await inspect_store(sinks, new.store, now=NOW, vectors=True)
    with sinks.qdrant() as client:
        assert (client.count(collection(OLD).name).count, client.count(collection(NEW).name).count) == (5, 5)
        assert alias_target(client) == collection(OLD)
