"""Qdrant itself: opening it, a collection for each model, and the alias that readers use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import CollectionMismatch
from fashion_pipeline.local.qdrant import relax_sqlite_sync
from fashion_pipeline.records import VECTOR_SIZE

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm
from fashion_pipeline.sinks.qdrant.client import is_local

log = logging.getLogger(__name__)


ALIAS = "products"


PREFIX = "products__"


def health(client: QdrantClient) -> dict[str, Any]:
    """Return the version, where the alias points, and the exact number of points of each collection of ours."""
    return {
        "version": client.info().version,
        "alias": alias_target(client),
        "collections": {name: client.count(name, exact=True).count for name in collections(client)},
    }


def collection_name(fingerprint: str) -> str:
    """Return the name of a model's collection."""
    return f"{PREFIX}{fingerprint}"


def collections(client: QdrantClient) -> tuple[str, ...]:
    """Return the names of our collections, one for each model."""
    return tuple(sorted(item.name for item in client.get_collections().collections if item.name.startswith(PREFIX)))


def ensure_collection(client: QdrantClient, fingerprint: str, *, home_id: str) -> str:
    """Make a model's collection with its payload indexes where it is missing, and return its name.

    Raises:
        CollectionMismatch: it has another shape, or this Qdrant is another home's.
    """
    from qdrant_client import models as qm

    check_owner(client, home_id)  # of every model: the alias is one for all
    name = collection_name(fingerprint)
    if not client.collection_exists(name):
        client.create_collection(
            name,
            vectors_config=qm.VectorParams(size=VECTOR_SIZE, distance=qm.Distance.COSINE),
            on_disk_payload=True,
            metadata={"home_id": home_id, "fingerprint": fingerprint},
        )
        if is_local(client):
            relax_sqlite_sync(client)
    info = client.get_collection(name)
    vectors = info.config.params.vectors
    if not isinstance(vectors, qm.VectorParams) or (vectors.size, vectors.distance) != (
        VECTOR_SIZE,
        qm.Distance.COSINE,
    ):
        msg = (
            f"Qdrant's collection {name} is not one of {VECTOR_SIZE} dimensions compared by cosine: "
            "delete it (the next run fills a new one from the stored vectors) or use another Qdrant"
        )
        raise CollectionMismatch(msg)
    if _owner(name, info, home_id) is None:
        client.update_collection(name, metadata={"home_id": home_id})
    if not is_local(client):  # local mode has no payload indexes
        for field, schema in _indexes().items():
            if field not in info.payload_schema:
                client.create_payload_index(name, field, field_schema=schema, wait=True)
    return name


def check_owner(client: QdrantClient, home_id: str) -> None:
    """See that no collection of ours belongs to another home, before anything is concluded from what they hold.

    Raises:
        CollectionMismatch: one does.
    """
    for name in collections(client):
        _owner(name, client.get_collection(name), home_id)


def _owner(name: str, info: qm.CollectionInfo, home_id: str) -> str | None:
    """Return the id of the home that a collection belongs to, which is this one; None for nobody's."""
    owner = (info.config.metadata or {}).get("home_id")
    if owner not in {None, home_id}:
        msg = (
            f"Qdrant's collection {name} belongs to another home, {owner} (this one is {home_id}): set FASHION_HOME "
            "to that home, or FASHION_QDRANT_URL to another Qdrant; if that home is lost and this one replaces it, "
            f'write {{"id": "{owner}"}} into home.json under FASHION_HOME'
        )
        raise CollectionMismatch(msg)
    return None if owner is None else str(owner)


def _indexes() -> dict[str, qm.PayloadSchemaType | qm.KeywordIndexParams]:
    from qdrant_client import models as qm

    kind = qm.PayloadSchemaType
    return {
        "store_id": qm.KeywordIndexParams(type=qm.KeywordIndexType.KEYWORD, is_tenant=True),
        "price": kind.FLOAT,
        "created_at": kind.DATETIME,
        "product_id": kind.KEYWORD,
        "image_sha256": kind.KEYWORD,
        "is_primary": kind.BOOL,
    }


def alias_target(client: QdrantClient) -> str | None:
    """Return the collection that readers get by the name ``products``."""
    for alias in client.get_aliases().aliases:
        if alias.alias_name == ALIAS:
            return alias.collection_name
    return None


def move_alias(client: QdrantClient, collection: str) -> None:
    """Let readers see a collection instead of the one they saw, in one step.

    Raises:
        CollectionMismatch: a collection has taken the alias' name.
    """
    from qdrant_client import models as qm

    target = alias_target(client)
    if target is None and any(item.name == ALIAS for item in client.get_collections().collections):
        msg = f"Qdrant has a collection named {ALIAS}, which this pipeline needs as an alias: rename or delete it"
        raise CollectionMismatch(msg)
    steps: list[Any] = []
    if target is not None:
        steps.append(qm.DeleteAliasOperation(delete_alias=qm.DeleteAlias(alias_name=ALIAS)))
    steps.append(qm.CreateAliasOperation(create_alias=qm.CreateAlias(collection_name=collection, alias_name=ALIAS)))
    client.update_collection_aliases(change_aliases_operations=steps)
    log.info("Qdrant: %s now stands for %s", ALIAS, collection)
