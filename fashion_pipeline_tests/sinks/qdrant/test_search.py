"""Looking for what looks alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fashion_pipeline.errors import CollectionMismatch, NoSuchPoint, VectorStoreError
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.qdrant.collections import ensure_collection, move_alias
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.sinks.qdrant.search import more_like, search
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, product, sha, shop, store, vector_of

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[QdrantClient]:
    """Yield a client of a Qdrant with two stores, one of them with every image."""
    with local_qdrant(home) as opened:
        collection = ensure_collection(opened, FINGERPRINT, home_id="h")
        north = shop(tmp_path / "north", store=store(images="all")).add(product("1", pictures=3), product("2"))
        south = shop(tmp_path / "south", store=store("maison-sud")).add(product("7"))
        for made in (north, south):
            desired = made.desired()
            apply_points(
                opened,
                collection=collection.name,
                store_id=made.store.id,
                desired=desired.points,
                digest=desired.points_digest,
                vectors=made.vectors,
                live=(),
            )
        move_alias(opened, collection)
        yield opened


def test_the_nearest_product_comes_first_and_each_comes_once(client: QdrantClient) -> None:
    """A product with three images is found by its nearest one."""
    found = search(client, list(vector_of(sha("1-2"))), fingerprint=FINGERPRINT)
    assert found[0].payload["external_id"] == "1"
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    assert sorted(str(match.payload["external_id"]) for match in found) == ["1", "2", "7"]


def test_a_vector_of_another_model_is_not_searched_with(client: QdrantClient) -> None:
    """Vectors of two models cannot be compared: the search is refused, and both models are named."""
    with pytest.raises(CollectionMismatch, match=f"{FINGERPRINT}.*0123456789abcdef.*model status"):
        search(client, list(vector_of(sha("7-0"))), fingerprint="0123456789abcdef")


def test_a_search_stays_inside_its_store_and_limit(client: QdrantClient) -> None:
    """Filtered by store, and no longer than asked for."""
    vector = list(vector_of(sha("7-0")))
    assert {
        match.payload["store_id"] for match in search(client, vector, fingerprint=FINGERPRINT, store_id="atelier-nord")
    } == {"atelier-nord"}
    assert len(search(client, vector, fingerprint=FINGERPRINT, limit=1)) == 1


def test_more_like_a_product_leaves_it_out(client: QdrantClient) -> None:
    """None of its own images is a result."""
    found = more_like(client, product_id("atelier-nord", "1"))
    assert sorted(str(match.payload["external_id"]) for match in found) == ["2", "7"]
    with pytest.raises(NoSuchPoint):
        more_like(client, uuid4())


def test_nothing_ingested_is_a_sentence(tmp_path: Path) -> None:
    """An empty Qdrant says what to run."""
    with local_qdrant(Home(tmp_path / "empty")) as client, pytest.raises(VectorStoreError, match="ingest"):
        search(client, list(vector_of(sha("x"))), fingerprint=FINGERPRINT)


def test_a_sold_out_product_is_found_only_when_asked_for(client: QdrantClient, tmp_path: Path) -> None:
    """It keeps its row and its point; whoever searches sees what can be bought."""
    made = shop(tmp_path / "west", store=store("boutique-ouest")).add(product("8", in_stock=False), product("9"))
    desired = made.desired()
    apply_points(
        client,
        collection=ensure_collection(client, FINGERPRINT, home_id="h").name,
        store_id=made.store.id,
        desired=desired.points,
        digest=desired.points_digest,
        vectors=made.vectors,
        live=(),
    )
    vector = vector_of(sha("8-0")).tolist()
    for sold_out, found in ((False, ["9"]), (True, ["8", "9"])):
        hits = search(client, vector, fingerprint=FINGERPRINT, store_id="boutique-ouest", sold_out=sold_out)
        assert [hit.payload["external_id"] for hit in hits] == found
