"""From one model to the next: which one readers see, which one is wanted, and how far that has come.

Each model has a collection of its own. The alias names the one that readers see; PostgreSQL
remembers that too, for the stages that do not open Qdrant, with what each model was called. The
wanted model is that of the run which began last: a run keeps the model it began with, and one that
began before another model was wanted does not turn readers back to its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fashion_pipeline.errors import SettingsError, VectorStoreError
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.schema import pipeline_state, sink_state
from fashion_pipeline.sinks.postgres.state import remember
from fashion_pipeline.sinks.qdrant.alias import lacking
from fashion_pipeline.sinks.qdrant.collections import PREFIX, alias_target, collection_name, collections, move_alias
from fashion_pipeline.sinks.reconcile import Sinks
from fashion_pipeline.storage.home import Home

log = logging.getLogger(__name__)

_SHOWN, _WANTED, _NAME = "shown_model", "wanted_model", "model "
_KEPT = "kept_models"


# --- what PostgreSQL remembers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its fingerprint, and what ``FASHION_MODEL`` said when it was first used; ``""`` for not known."""

    fingerprint: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.name})" if self.name else self.fingerprint


async def shown_model(engine: AsyncEngine) -> Model | None:
    """Return the model whose collection readers see, as the last run knew it."""
    with translate(engine.url):
        async with engine.connect() as connection:
            fingerprint = await _get(connection, _SHOWN)
            return None if fingerprint is None else await _model(connection, fingerprint)


async def claim_rollout(engine: AsyncEngine, model: Model, chosen_at: datetime | None) -> bool:
    """Say that a run brings a model; return whether it is still the wanted one.

    Args:
        chosen_at: when the run chose its model; None: it took what was there, and chose none.
    """
    with translate(engine.url):
        async with engine.begin() as connection:
            if model.name:
                await _set(connection, _NAME + model.fingerprint, model.name)
            known = await _get(connection, _WANTED, lock=True)
            wanted, since = json.loads(known) if known else (model.fingerprint, None)
            if chosen_at is None:
                return bool(wanted == model.fingerprint)
            if since is not None and datetime.fromisoformat(since) > chosen_at:
                return bool(wanted == model.fingerprint)
            if wanted != model.fingerprint:
                log.warning("the model is %s from now on; it was %s", model, await _model(connection, wanted))
            await _set(connection, _WANTED, json.dumps([model.fingerprint, chosen_at.astimezone(UTC).isoformat()]))
            return True


async def remember_shown(engine: AsyncEngine, fingerprint: str) -> None:
    """Remember whose collection readers see."""
    with translate(engine.url):
        async with engine.begin() as connection:
            await _set(connection, _SHOWN, fingerprint)


async def remember_kept(engine: AsyncEngine, store_id: str, fingerprints: Collection[str]) -> None:
    """Remember into which models' collections a store's last run wrote: all others are behind."""
    with translate(engine.url):
        async with engine.begin() as connection:
            await remember(connection, store_id, _KEPT, json.dumps(sorted(fingerprints)))


async def stores_behind(engine: AsyncEngine, fingerprint: str) -> frozenset[str]:
    """Return the stores whose last run did not write into a model's collection."""
    statement = select(sink_state.c.store_id, sink_state.c.value).where(sink_state.c.key == _KEPT)
    with translate(engine.url):
        async with engine.connect() as connection:
            kept = await connection.execute(statement)
            return frozenset(row.store_id for row in kept if fingerprint not in json.loads(row.value))


async def _model(connection: AsyncConnection, fingerprint: str) -> Model:
    return Model(fingerprint, await _get(connection, _NAME + fingerprint) or "")


async def _get(connection: AsyncConnection, key: str, *, lock: bool = False) -> str | None:
    statement = select(pipeline_state.c.value).where(pipeline_state.c.key == key)
    return await connection.scalar(statement.with_for_update() if lock else statement)


async def _set(connection: AsyncConnection, key: str, value: str) -> None:
    statement = insert(pipeline_state).values(key=key, value=value)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={"value": statement.excluded.value},
            where=pipeline_state.c.value != statement.excluded.value,
        )
    )


# --- how far a model has come -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """One model's collection.

    Attributes:
        points: in it, of whatever store; None where it has no collection, only stored vectors.
        lacks: by store, points that are missing, or were not kept up to date, until it may be shown.
        vectors: stored ones.
    """

    model: Model
    points: int | None
    shown: bool
    wanted: bool
    lacks: Mapping[str, int]
    vectors: int


async def models(sinks: Sinks) -> tuple[Progress, ...]:
    """Return every model that has a collection or stored vectors, and how far it has come."""
    live = await live_counts(sinks.engine)
    stored = {vectors.root.name: len(vectors.index()) for vectors in sinks.home.all_vectors()}
    found: list[Progress] = []
    with translate(sinks.engine.url):
        async with sinks.engine.connect() as connection:
            known = await _get(connection, _WANTED)
            wanted = json.loads(known)[0] if known else None
            with sinks.qdrant() as client:
                names = collections(client)
                shown = alias_target(client)
                for fingerprint in sorted({*stored, *(name.removeprefix(PREFIX) for name in names)}):
                    name = collection_name(fingerprint)
                    there = name in names
                    behind = await stores_behind(sinks.engine, fingerprint)
                    found.append(
                        Progress(
                            model=await _model(connection, fingerprint),
                            points=client.count(name, exact=True).count if there else None,
                            shown=name == shown,
                            wanted=fingerprint == wanted,
                            lacks=dict(lacking(client, name, live=live, behind=behind)) if there else live,
                            vectors=stored.get(fingerprint, 0),
                        )
                    )
    return tuple(found)


async def promote(sinks: Sinks, fingerprint: str | None, *, force: bool, now: datetime) -> Model:
    """Show readers a model's collection now, and return the model.

    Args:
        fingerprint: None: the wanted model.
        force: although it lacks points.

    Raises:
        SettingsError: there is no such model, or none is being built.
        VectorStoreError: it is not complete.
    """
    known = await models(sinks)
    chosen = _chosen(known, fingerprint)
    if chosen.points is None or (chosen.lacks and not force):
        missing = ", ".join(
            f"{store_id} lacks {number:,} up-to-date points" for store_id, number in chosen.lacks.items()
        )
        msg = (
            f"model {chosen.model} is not complete: {missing}; run these stores, paused ones too (a store that stays "
            "out of stores.yaml: purge it), or --force it: until they have run what is missing is not found, and what has "
            "left the shop still is"
        )
        raise VectorStoreError(msg)
    with sinks.qdrant() as client:
        move_alias(client, collection_name(chosen.model.fingerprint))
    await claim_rollout(sinks.engine, chosen.model, now)
    await remember_shown(sinks.engine, chosen.model.fingerprint)
    return chosen.model


def _chosen(known: tuple[Progress, ...], fingerprint: str | None) -> Progress:
    for progress in known:
        if progress.model.fingerprint == fingerprint or (fingerprint is None and progress.wanted):
            return progress
    there = ", ".join(str(progress.model) for progress in known) or "none"
    msg = f"no model {fingerprint or 'is being built'}; there are: {there}"
    raise SettingsError(msg)


async def drop(sinks: Sinks, fingerprint: str) -> Progress:
    """Remove a model's collection and its stored vectors, and return what there was.

    Raises:
        SettingsError: there is no such model, or readers see it.
    """
    chosen = _chosen(await models(sinks), fingerprint)
    with sinks.qdrant() as client:
        if alias_target(client) == collection_name(fingerprint):
            msg = f"readers see model {chosen.model}: fashion-pipeline model promote another one first"
            raise SettingsError(msg)
        if chosen.points is not None:
            client.delete_collection(collection_name(fingerprint))
    _remove_vectors(sinks.home, fingerprint)
    with translate(sinks.engine.url):
        async with sinks.engine.begin() as connection:
            await connection.execute(delete(pipeline_state).where(pipeline_state.c.key == _NAME + fingerprint))
    return chosen


def _remove_vectors(home: Home, fingerprint: str) -> None:
    folder = home.vectors(fingerprint).root
    if folder.exists():
        for path in list(folder.iterdir()):
            path.unlink()
        folder.rmdir()
