"""Which model's collection readers see: another one takes its place when it lacks nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from fashion_pipeline.sinks.qdrant.collections import alias_target, move_alias
from fashion_pipeline.sinks.qdrant.points import primary_counts, store_points

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def lacking(
    client: QdrantClient, collection: str, *, live: Mapping[str, int], behind: Collection[str] = ()
) -> Iterator[tuple[str, int]]:
    """Yield the stores for which a collection may not be shown yet, and how many points they lack.

    A store needs a first point for each of its live rows, and as many points as readers see now.

    Args:
        live: how many live rows each store has.
        behind: stores that were run since without it; whatever it has of them is old.
    """
    shown = alias_target(client)
    for store_id, rows in sorted(live.items()):
        if store_id in behind:
            yield store_id, rows
            continue
        lacks = rows - primary_counts(client, collection, [store_id])[store_id]
        if shown is not None and shown != collection:
            seen = store_points(client, store_id, shown)
            lacks = max(lacks, seen - store_points(client, store_id, collection))
        if lacks > 0:
            yield store_id, lacks


def show_when_complete(
    client: QdrantClient,
    collection: str,
    *,
    live: Mapping[str, int],
    behind: Collection[str] = (),
    wanted: bool = True,
) -> bool:
    """Let readers see a collection, in one step; return whether they do now.

    The first collection is shown at once. A later one takes its place when it lacks nothing, and
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
