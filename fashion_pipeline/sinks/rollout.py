"""The rollout of a new model: which model is live, which one is wanted, and how complete that one is.

Each model has its own collection, and the alias names the live one. PostgreSQL keeps that too, for
the stages that do not open Qdrant, with the name of each model. The wanted model is that of the run
which started last: a run keeps its model to the end, but a run that started before another model was
wanted does not turn the alias back to its own.
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
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.schema import pipeline_state, sink_state
from fashion_pipeline.sinks.postgres.state import remember
from fashion_pipeline.sinks.qdrant.alias import lacking
from fashion_pipeline.sinks.qdrant.collections import alias_target, collection_of, collections, move_alias
from fashion_pipeline.storage.home import Home

log = logging.getLogger(__name__)

_LIVE, _WANTED, _NAME = "shown_model", "wanted_model", "model "
_KEPT = "kept_models"


# --- the state in PostgreSQL ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """A model's fingerprint, and the value of ``FASHION_MODEL`` when it was first used; ``""`` if not known."""

    fingerprint: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.name})" if self.name else self.fingerprint


async def shown_model(engine: AsyncEngine) -> Model | None:
    """Return the live model, as the last run recorded it."""
    with translate(engine.url):
        async with engine.connect() as connection:
            fingerprint = await _get(connection, _LIVE)
            return None if fingerprint is None else await _model(connection, fingerprint)


@dataclass(frozen=True, slots=True)
class _Claim:
    """The wanted model, and when the run that claimed it chose it."""

    fingerprint: str
    chosen_at: datetime

    def yields_to(self, chosen_at: datetime) -> bool:
        """Whether a run that chose its model then is as late or later."""
        return self.chosen_at <= chosen_at


async def claim_rollout(engine: AsyncEngine, model: Model, chosen_at: datetime | None) -> bool:
    """Make a run's model the wanted one, unless a later run wants another; return whether it is wanted.

    Args:
        chosen_at: when the run chose its model; None: it uses the vectors that were there, and claims nothing.
    """
    with translate(engine.url):
        async with engine.begin() as connection:
            if model.name:
                await _set(connection, _NAME + model.fingerprint, model.name)
            claim = await _claim(connection, lock=True)
            if chosen_at is None or (claim is not None and not claim.yields_to(chosen_at)):
                return claim is None or claim.fingerprint == model.fingerprint
            if claim is not None and claim.fingerprint != model.fingerprint:
                log.warning("the wanted model is now %s; it was %s", model, await _model(connection, claim.fingerprint))
            await _set(connection, _WANTED, json.dumps([model.fingerprint, chosen_at.astimezone(UTC).isoformat()]))
            return True


async def _claim(connection: AsyncConnection, *, lock: bool = False) -> _Claim | None:
    if (stored := await _get(connection, _WANTED, lock=lock)) is None:
        return None
    fingerprint, chosen_at = json.loads(stored)
    return _Claim(fingerprint, datetime.fromisoformat(chosen_at))


async def remember_shown(engine: AsyncEngine, fingerprint: str) -> None:
    """Record which model is live."""
    with translate(engine.url):
        async with engine.begin() as connection:
            await _set(connection, _LIVE, fingerprint)


async def remember_kept(engine: AsyncEngine, store_id: str, fingerprints: Collection[str]) -> None:
    """Record the models whose collections a store's last run wrote to; every other model's is behind."""
    with translate(engine.url):
        async with engine.begin() as connection:
            await remember(connection, store_id, _KEPT, json.dumps(sorted(fingerprints)))


async def stores_behind(engine: AsyncEngine, fingerprint: str) -> frozenset[str]:
    """Return the stores whose last run did not write to a model's collection."""
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


# --- the progress of each model -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one model.

    Attributes:
        points: in its collection, of all stores; None: it has stored vectors and no collection.
        shown: it is live.
        lacks: by store, points that are missing or out of date; it may go live once there are none.
        vectors: number of stored vectors.
    """

    model: Model
    points: int | None
    shown: bool
    wanted: bool
    lacks: Mapping[str, int]
    vectors: int


async def models(sinks: Sinks) -> tuple[Progress, ...]:
    """Return the progress of every model that has a collection or stored vectors."""
    live = await live_counts(sinks.engine)
    stored = {vectors.root.name: len(vectors.index()) for vectors in sinks.home.all_vectors()}
    found: list[Progress] = []
    with translate(sinks.engine.url):
        async with sinks.engine.connect() as connection:
            claim = await _claim(connection)
            with sinks.qdrant() as client:
                existing = collections(client)
                live_collection = alias_target(client)
                for fingerprint in sorted({*stored, *(each.fingerprint for each in existing)}):
                    collection = collection_of(client, fingerprint)
                    there = collection in existing
                    behind = await stores_behind(sinks.engine, fingerprint)
                    found.append(
                        Progress(
                            model=await _model(connection, fingerprint),
                            points=client.count(collection.name, exact=True).count if there else None,
                            shown=collection == live_collection,
                            wanted=claim is not None and fingerprint == claim.fingerprint,
                            lacks=dict(lacking(client, collection, live=live, behind=behind)) if there else live,
                            vectors=stored.get(fingerprint, 0),
                        )
                    )
    return tuple(found)


async def promote(sinks: Sinks, fingerprint: str | None, *, force: bool, now: datetime) -> Model:
    """Make a model live now, and return it.

    Args:
        fingerprint: None: the wanted model.
        force: even if points are missing or out of date.

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
            f"model {chosen.model} is not complete: {missing}; run these stores, paused ones too (purge a store that is "
            "no longer in stores.yaml), or promote it with --force: until each store has run, search misses products and "
            "still finds some that are gone"
        )
        raise VectorStoreError(msg)
    with sinks.qdrant() as client:
        move_alias(client, collection_of(client, chosen.model.fingerprint))
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
    """Delete a model's collection and stored vectors; return its progress before that.

    Raises:
        SettingsError: there is no such model, or it is live.
    """
    chosen = _chosen(await models(sinks), fingerprint)
    with sinks.qdrant() as client:
        collection = collection_of(client, fingerprint)
        if alias_target(client) == collection:
            msg = f"model {chosen.model} is live: promote another one first, with fashion-pipeline model promote"
            raise SettingsError(msg)
        if chosen.points is not None:
            client.delete_collection(collection.name)
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
