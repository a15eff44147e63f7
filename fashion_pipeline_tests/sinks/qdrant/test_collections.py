"""Collections, their alias, and servers that answer wrongly or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from fashion_pipeline.errors import CollectionMismatch, SettingsError, VectorStoreError, VectorStoreUnavailable
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS, ModelCollection, ensure_collection, health, move_alias
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import product, shop

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


@pytest.fixture
def client(home: Home) -> Iterator[QdrantClient]:
    """Yield a client of an empty local Qdrant."""
    with local_qdrant(home) as opened:
        yield opened


def settings(url: str | None, key: str | None = None) -> Settings:
    """Return settings that name a Qdrant."""
    return Settings.model_validate({"qdrant_url": url, "qdrant_api_key": None if key is None else SecretStr(key)})


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Run a server on loopback that says one thing, and yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_collection_is_made_once_with_its_shape(client: QdrantClient) -> None:
    """768 dimensions, cosine, the home's id; asking again changes nothing."""
    made = ensure_collection(client, "abc", home_id="home-1")
    assert made == ensure_collection(client, "abc", home_id="home-1") == ModelCollection("products__abc", "abc")
    info = client.get_collection(made.name)
    vectors = info.config.params.vectors
    assert (getattr(vectors, "size", None), str(getattr(vectors, "distance", None))) == (768, "Cosine")
    assert info.config.metadata == {"home_id": "home-1", "fingerprint": "abc"}


def test_a_collection_of_another_shape_or_home_is_refused(client: QdrantClient) -> None:
    """Vectors of other lengths or metrics, and other people's collections, are left alone."""
    from qdrant_client import models as qm

    client.create_collection("products__a", vectors_config=qm.VectorParams(size=512, distance=qm.Distance.COSINE))
    client.create_collection("products__b", vectors_config=qm.VectorParams(size=768, distance=qm.Distance.DOT))
    for fingerprint in ("a", "b"):
        with pytest.raises(CollectionMismatch, match="768 dimensions"):
            ensure_collection(client, fingerprint, home_id="home-1")
    ensure_collection(client, "c", home_id="home-1")
    with pytest.raises(CollectionMismatch, match="another home, home-1"):
        ensure_collection(client, "c", home_id="home-2")
    with pytest.raises(CollectionMismatch, match="another home, home-1"):  # whose readers' alias it would take
        ensure_collection(client, "d", home_id="home-2")


def test_a_collection_without_an_owner_takes_one(client: QdrantClient) -> None:
    """A collection made before homes had ids belongs to the first that comes."""
    from qdrant_client import models as qm

    client.create_collection("products__a", vectors_config=qm.VectorParams(size=768, distance=qm.Distance.COSINE))
    ensure_collection(client, "a", home_id="home-1")
    with pytest.raises(CollectionMismatch):
        ensure_collection(client, "a", home_id="home-2")


def test_a_collection_by_the_name_of_the_alias_is_a_sentence(client: QdrantClient) -> None:
    """Somebody's own collection called products is not overwritten."""
    from qdrant_client import models as qm

    client.create_collection(ALIAS, vectors_config=qm.VectorParams(size=4, distance=qm.Distance.DOT))
    collection = ensure_collection(client, "abc", home_id="h")
    with pytest.raises(CollectionMismatch, match="rename or delete it"):
        move_alias(client, collection)


def test_without_a_url_the_local_one_is_opened(home: Home) -> None:
    """Two openings in a row find the same collections."""
    with vector_store(settings(None), home) as client:
        ensure_collection(client, "abc", home_id="h")
    with vector_store(settings(None), home) as client:
        assert health(client)["collections"] == {"products__abc": 0}


def test_a_server_that_does_not_answer_is_unavailable(home: Home) -> None:
    """The sentence names the URL and the variable, not the key."""
    with (
        pytest.raises(VectorStoreUnavailable, match="FASHION_QDRANT_URL") as error,
        vector_store(settings("http://127.0.0.1:1", "s3cret"), home),
    ):
        pass
    assert "s3cret" not in str(error.value)


def test_a_local_collection_does_not_wait_for_the_disk_at_every_point(home: Home, tmp_path: Path) -> None:
    """A new collection, and one that was there, write through SQLite's log: a flush for every point is ten times slower."""
    made = shop(tmp_path, 1)
    for _ in range(2):
        with local_qdrant(home) as client:
            collection = ensure_collection(client, made.fingerprint, home_id="home-1")
            desired = made.add(product(f"{len(made.products) + 1}")).desired()
            apply_points(
                client,
                collection=collection.name,
                store_id="atelier-nord",
                desired=desired.points,
                digest=desired.points_digest,
                vectors=made.vectors,
                live=(),
            )
            assert [path.name for path in home.local("qdrant").rglob("*-wal")] == ["storage.sqlite-wal"]


def test_an_address_that_is_none_is_a_sentence(home: Home) -> None:
    """A mistyped FASHION_QDRANT_URL is wrong configuration."""
    with pytest.raises(SettingsError, match="FASHION_QDRANT_URL"), vector_store(settings("not a url"), home):
        pass


def test_a_server_that_is_too_old_is_refused(home: Home) -> None:
    """1.7.4 has neither tenants nor metadata."""
    with (
        answering(200, {"title": "qdrant", "version": "1.7.4", "commit": "x"}) as url,
        pytest.raises(CollectionMismatch, match=r"1\.7\.4.*needs 1\.16"),
        vector_store(settings(url), home),
    ):
        pass


@pytest.mark.parametrize(
    ("status", "kind"), [(401, VectorStoreError), (403, VectorStoreError), (503, VectorStoreUnavailable)]
)
def test_a_refusal_is_a_sentence(home: Home, status: int, kind: type[VectorStoreError]) -> None:
    """A wrong key is not retryable, a server in trouble is."""
    with (
        answering(status, {"status": {"error": "no"}}) as url,
        pytest.raises(VectorStoreError) as error,
        vector_store(settings(url, "s3cret"), home),
    ):
        pass
    assert type(error.value) is kind
    assert "s3cret" not in str(error.value)
