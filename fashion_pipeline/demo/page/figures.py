"""Counts, from one store's outcomes, how many products passed each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fashion_pipeline.demo.page.view import Stage, StoreFigures
from fashion_pipeline.outcomes import GONE, Status
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.stores import Store

STAGES = {
    "raw_products": "Publishable",
    "fetched_images": "Image fetched",
    "quality_passed": "Image passed the quality gate",
    "embeddings": "Vector made",
}
SINKS = {"postgres_products": "Row in PostgreSQL", "qdrant_points": "Point in Qdrant"}


@dataclass(frozen=True, slots=True)
class StoreState:
    """The state of one store after a run.

    Attributes:
        rows: live rows in PostgreSQL.
        points: primary points in Qdrant, behind the alias.
        outcomes: the current outcome of every product.
        run: the store's part of ``ingest --json``; empty without a run.
    """

    store: Store
    rows: int
    points: int
    outcomes: Sequence[ProductOutcome]
    run: Mapping[str, Any] = field(default_factory=dict)


def store_figures(state: StoreState) -> StoreFigures:
    """Count, for one store, how many products passed each asset."""
    present = [outcome for outcome in state.outcomes if not GONE & set(outcome.reasons)]
    seconds: Mapping[str, float] = state.run.get("seconds", {})
    stages, remaining = [], len(present)
    for asset, name in STAGES.items():
        stopped = sum(outcome.stage == asset and outcome.status is not Status.OK for outcome in present)
        remaining -= stopped
        stages.append(Stage(name, asset, remaining, stopped, seconds.get(asset)))
    for (asset, name), number in zip(SINKS.items(), (state.rows, state.points), strict=True):
        stages.append(Stage(name, asset, number, None, seconds.get(asset)))
    return StoreFigures(
        store_id=state.store.id,
        products=len(present),
        published=sum(outcome.status is Status.OK for outcome in present),
        rejected=sum(outcome.status is Status.REJECTED for outcome in present),
        on_hold=sum(outcome.status is Status.FAILED for outcome in present),
        gone=len(state.outcomes) - len(present),
        stages=tuple(stages),
        seconds=sum(seconds.values()) if seconds else None,
        this_run=_this_run(state.run),
    )


def _this_run(run: Mapping[str, Any]) -> str:
    if not run:
        return ""
    words = {
        "fetched": "downloaded",
        "not_modified": "confirmed unchanged",
        "decoded": "decoded",
        "embedded": "embedded",
        "rows_written": "rows written",
        "rows_archived": "rows archived",
        "points_written": "points written",
        "payloads_written": "payloads written",
        "points_deleted": "points deleted",
    }
    work = [f"{run[name]:,} {word}" for name, word in words.items() if run.get(name)]
    if not work:
        return "Nothing changed in this run: no download, no decode, no write."
    return f"This run: {', '.join(work)}."
