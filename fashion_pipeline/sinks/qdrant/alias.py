"""Which model's collection is live: another one takes its place once it lacks nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from fashion_pipeline.sinks.qdrant.collections import ModelCollection, alias_target, move_alias
from fashion_pipeline.sinks.qdrant.points import primary_counts, store_points

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def lacking(
    client: QdrantClient, collection: ModelCollection, *, live: Mapping[str, int], behind: Collection[str] = ()
) -> Iterator[tuple[str, int]]:
    """Yield the stores for which a collection may not go live yet, and how many points they lack.

    A store needs a primary point for each of its live rows, and as many points as the live collection has.

    Args:
        live: number of live rows, by store.
        behind: stores whose last run did not write to it; whatever it has of them is out of date.
    """
    target = alias_target(client)
    for store_id, rows in sorted(live.items()):
        if store_id in behind:
            yield store_id, rows
            continue
        lacks = rows - primary_counts(client, collection.name, [store_id])[store_id]
        if target is not None and target != collection:
            points = store_points(client, store_id, target.name)
            lacks = max(lacks, points - store_points(client, store_id, collection.name))
        if lacks > 0:
            yield store_id, lacks


def show_when_complete(
    client: QdrantClient,
    collection: ModelCollection,
    *,
    live: Mapping[str, int],
    behind: Collection[str] = (),
    wanted: bool = True,
) -> bool:
    """Make a collection the live one if it may be; return whether it is live now.

    The first collection goes live at once. A later one takes its place when it lacks nothing and
    its model is the wanted one.

    Raises:
        CollectionMismatch: a collection has taken the alias' name.
    """
    target = alias_target(client)
    if target == collection:
        return True
    if target is not None and (
        not wanted or next(lacking(client, collection, live=live, behind=behind), None) is not None
    ):
        return False
    move_alias(client, collection)
    return True
