"""One Qdrant collection for each model, and the alias that names the live one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fashion_pipeline.errors import CollectionMismatch
from fashion_pipeline.local.qdrant import is_local, relax_sqlite_sync
from fashion_pipeline.records import VECTOR_SIZE

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm

log = logging.getLogger(__name__)

ALIAS = "products"
"""The alias, and the prefix of the collections, where ``FASHION_QDRANT_COLLECTION`` sets no other."""

_ALIASES: WeakKeyDictionary[QdrantClient, str] = WeakKeyDictionary()
"""The configured alias of each open client, so that whoever is given a client needs no settings."""


def use_alias(client: QdrantClient, alias: str) -> None:
    """Make an alias the one that all functions use with this client."""
    _ALIASES[client] = alias


def alias_name(client: QdrantClient) -> str:
    """Return the alias that search uses; the names of our collections begin with it."""
    return _ALIASES.get(client, ALIAS)


@dataclass(frozen=True, slots=True, order=True)
class ModelCollection:
    """A model's collection, for instance ``products__0123456789abcdef``."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, alias: str, fingerprint: str) -> ModelCollection:
        """Return the collection of a model, whether it exists or not."""
        return cls(f"{alias}__{fingerprint}", fingerprint)

    @classmethod
    def named(cls, alias: str, name: str) -> ModelCollection:
        """Return the collection of a name; a foreign one's name stands for its fingerprint."""
        return cls(name, name.removeprefix(f"{alias}__"))


def health(client: QdrantClient) -> dict[str, Any]:
    """Return the version, where the alias points, and the exact number of points of each collection of ours."""
    return {
        "version": client.info().version,
        "alias": None if (live := alias_target(client)) is None else live.name,
        "collections": {each.name: client.count(each.name, exact=True).count for each in collections(client)},
    }


def collection_of(client: QdrantClient, fingerprint: str) -> ModelCollection:
    """Return the collection of a model, whether it exists or not."""
    return ModelCollection.of(alias_name(client), fingerprint)


def collections(client: QdrantClient) -> tuple[ModelCollection, ...]:
    """Return our collections, one for each model, by name."""
    alias = alias_name(client)
    names = (item.name for item in client.get_collections().collections)
    return tuple(sorted(ModelCollection.named(alias, name) for name in names if name.startswith(f"{alias}__")))


def ensure_collection(client: QdrantClient, fingerprint: str, *, home_id: str) -> ModelCollection:
    """Make a model's collection with its payload indexes where it is missing, and return it.

    Raises:
        CollectionMismatch: it has another shape, or this Qdrant is another home's.
    """
    from qdrant_client import models as qm

    check_owner(client, home_id)  # of every model: the alias is one for all
    collection = collection_of(client, fingerprint)
    name = collection.name
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
    return collection


def check_owner(client: QdrantClient, home_id: str) -> None:
    """Check that no collection of ours belongs to another home, before its points are compared or removed.

    Raises:
        CollectionMismatch: one does.
    """
    for each in collections(client):
        _owner(each.name, client.get_collection(each.name), home_id)


def _owner(name: str, info: qm.CollectionInfo, home_id: str) -> str | None:
    """Return the id of this home if the collection belongs to it; None if it belongs to none yet."""
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
        "in_stock": kind.BOOL,
    }


def alias_target(client: QdrantClient) -> ModelCollection | None:
    """Return the live collection: the one that the alias names."""
    name = alias_name(client)
    for alias in client.get_aliases().aliases:
        if alias.alias_name == name:
            return ModelCollection.named(name, alias.collection_name)
    return None


def move_alias(client: QdrantClient, collection: ModelCollection) -> None:
    """Make a collection the live one, in one step.

    Raises:
        CollectionMismatch: a collection has taken the alias' name.
    """
    from qdrant_client import models as qm

    name = alias_name(client)
    target = alias_target(client)
    if target is None and any(item.name == name for item in client.get_collections().collections):
        msg = (
            f"Qdrant has a collection named {name}, which this pipeline needs as an alias: rename or delete it, "
            "or set FASHION_QDRANT_COLLECTION to another name"
        )
        raise CollectionMismatch(msg)
    steps: list[Any] = []
    if target is not None:
        steps.append(qm.DeleteAliasOperation(delete_alias=qm.DeleteAlias(alias_name=name)))
    steps.append(qm.CreateAliasOperation(create_alias=qm.CreateAlias(collection_name=collection.name, alias_name=name)))
    client.update_collection_aliases(change_aliases_operations=steps)
    log.info("Qdrant: the alias %s now names %s", name, collection.name)
