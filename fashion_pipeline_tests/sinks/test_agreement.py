from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.sinks.agreement import Agreement, sample_sinks
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.postgres.rows import apply_rows
from fashion_pipeline.sinks.qdrant.collections import ensure_collection
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, NOW, shop

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

STORE = "atelier-nord"
COUNT = 6


@pytest.fixture
def client(home: Home) -> Iterator[QdrantClient]:
    with local_qdrant(home) as opened:
        yield opened


@pytest.fixture
async def collection(engine: AsyncEngine, client: QdrantClient, tmp_path: Path) -> str:
    """Fill both sinks without drift, and return the collection."""
    made = shop(tmp_path, COUNT)
    desired = made.desired()
    await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)
    name = ensure_collection(client, FINGERPRINT, home_id="home-1").name
    apply_points(
        client,
        collection=name,
        store_id=STORE,
        desired=desired.points,
        digest=desired.points_digest,
        vectors=made.vectors,
        live=(),
    )
    return name


async def look(engine: AsyncEngine, client: QdrantClient, collection: str, **more: Any) -> Agreement:
    given = {"fingerprint": FINGERPRINT, "store_id": STORE, **more}
    return await sample_sinks(engine, client, collection=collection, **given)


async def test_sinks_in_step_agree(engine: AsyncEngine, client: QdrantClient, collection: str) -> None:
    """All rows and points are counted, and a limited number looked up in both directions; an empty store agrees too."""
    assert await look(engine, client, collection) == Agreement(COUNT, COUNT, 2 * COUNT)
    bounded = await look(engine, client, collection, most=2)
    assert (bounded.rows, bounded.points, bounded.looked_at) == (COUNT, COUNT, 4)
    assert await look(engine, client, collection, store_id="another") == Agreement(0, 0, 0)


async def test_a_row_that_only_waits_for_consent_is_excused(
    engine: AsyncEngine, client: QdrantClient, collection: str
) -> None:
    """While another model's collection is built, a row that is to leave has no point there, and need not; others must."""
    waiting, lost = product_id(STORE, "1"), product_id(STORE, "2")
    client.delete(collection, [str(waiting)])
    assert await look(engine, client, collection, excused={waiting}) == Agreement(COUNT - 1, COUNT - 1, 2 * COUNT - 1)
    client.delete(collection, [str(lost)])
    assert (await look(engine, client, collection, excused={waiting})).rows_without_point == ("2",)


async def test_each_way_of_differing_is_named(engine: AsyncEngine, client: QdrantClient, collection: str) -> None:
    """Equal numbers do not hide a row without its point and a point without its row."""
    client.delete(collection, [str(product_id(STORE, "1"))])
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE products SET archived_at = now() WHERE external_id = '2'"))
    assert await look(engine, client, collection) == Agreement(
        rows=COUNT - 1,
        points=COUNT - 1,
        looked_at=2 * COUNT - 2,
        rows_without_point=("1",),
        points_without_row=("2",),
    )


async def test_another_models_points_and_vectors_are_named(
    engine: AsyncEngine, client: QdrantClient, collection: str
) -> None:
    """A wrong fingerprint, a vector of nothing, and a point that names no product."""
    from qdrant_client import models as qm

    client.set_payload(collection, {"fingerprint": "another"}, [str(product_id(STORE, "3"))])
    client.update_vectors(collection, [qm.PointVectors(id=str(product_id(STORE, "4")), vector=[0.0] * 768)])
    stray = qm.PointStruct(id=str(uuid4()), vector=[1.0] * 768, payload={"store_id": STORE, "external_id": "9"})
    client.upsert(collection, [stray])
    found = await look(engine, client, collection)
    assert found.wrong_points == ("3", "4")
    assert found.points_without_row == ("9",)
