"""What the assets, sensors and jobs are given: thin adapters over ``services``.

None of them holds a secret in its configuration, which the UI shows: keys and addresses are read
from the environment when a run begins.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.outcomes import Clock, SystemClock
from fashion_pipeline.services import ModelService, Services
from fashion_pipeline.stages import StageRun, publish_partial_outcomes
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from sqlalchemy.ext.asyncio import AsyncEngine

PARTITION_TAG = "dagster/partition"

progress_log = logging.getLogger("fashion_pipeline.progress")


class StoreRun(dg.ConfigurableResource["StoreRun"]):
    """The store of this run, locked from the first step to the last."""

    sweep: bool = Field(default=False, description="Compare the whole shop, not only what changed.")
    allow_removals: bool = Field(
        default=False,
        description="Consent to removals beyond a fifth of the store within seven days, and to an empty listing.",
    )

    _stage_run: StageRun | None = PrivateAttr(default=None)
    _outcomes_published: bool = PrivateAttr(default=False)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["StoreRun"]:
        """Hold the store's lock for as long as the run lasts; a second run of the store waits here."""
        from fashion_pipeline.sinks.postgres.lock import store_lock

        store_id = context.run.tags.get(PARTITION_TAG) if context.run else None
        if store_id is None:
            yield self
            return
        services = Services.read()
        store = services.settings.store_list().require(store_id)
        self._outcomes_published = False
        with services.postgres_url() as url, store_lock(url, store_id) as lock:
            self._stage_run = StageRun(services, store, SystemClock(), self.sweep, self.allow_removals, lock)
            yield self
            if not self._outcomes_published:
                asyncio.run(publish_partial_outcomes(self._stage_run))

    def outcomes_are_published(self) -> None:
        """Record that an asset of this run has published the outcomes."""
        self._outcomes_published = True

    @property
    def stage_run(self) -> StageRun:
        """What the stages of this run share."""
        if self._stage_run is None:
            msg = "this run has no partition: choose a store (a partition of 'stores') to materialize"
            raise SettingsError(msg)
        return self._stage_run

    @property
    def services(self) -> Services:
        """The services of this run."""
        return self.stage_run.services

    @property
    def store(self) -> Store:
        """The store of this run's partition."""
        return self.stage_run.store

    @property
    def clock(self) -> Clock:
        """The one clock of the run."""
        return self.stage_run.clock

    def progress(self, asset: str) -> Callable[[int, int | None], None]:
        """Return a function that logs an asset's progress: (done, all if known)."""
        store_id = self.store.id

        def log(done: int, total: int | None) -> None:
            figures = {"asset": asset, "store": store_id, "done": done, "total": total, "refused": None}
            progress_log.info("%s %s: %d of %s", store_id, asset, done, total or "?", extra=figures)

        log(0, None)
        return log

    def finished(self, asset: str, *, items: int, refused: int) -> None:
        """Log that an asset is done with this store."""
        figures = {"asset": asset, "store": self.store.id, "done": items, "total": items, "refused": refused}
        progress_log.info("%s %s: %d done, %d refused", self.store.id, asset, items, refused, extra=figures)


class ModelResource(dg.ConfigurableResource["ModelResource"]):
    """The embedding model: on the GPU where there is one, loaded once in a run, when first needed."""

    model: str | None = Field(default=None, description="Overrides FASHION_MODEL for this run.")
    device: str | None = Field(default=None, description="Overrides FASHION_DEVICE: auto, cpu, cuda, cuda:N.")
    precision: str | None = Field(default=None, description="Overrides FASHION_PRECISION: auto, fp32, bf16.")
    batch_size: int | None = Field(default=None, description="Overrides FASHION_BATCH_SIZE.")

    _service: ModelService | None = PrivateAttr(default=None)

    @property
    def service(self) -> ModelService:
        """The model of this run."""
        if self._service is None:
            self._service = Services.read().model(
                model=self.model, device=self.device, precision=self.precision, batch_size=self.batch_size
            )
        return self._service


class PostgresResource(dg.ConfigurableResource["PostgresResource"]):
    """PostgreSQL: ``FASHION_DATABASE_URL``, or the embedded server where nothing is configured."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["AsyncEngine"]:
        """Open an engine on a database with this version's tables, checked to be this home's."""
        async with Services.read().postgres() as engine:
            yield engine


class QdrantResource(dg.ConfigurableResource["QdrantResource"]):
    """Qdrant: ``FASHION_QDRANT_URL`` or ``FASHION_QDRANT_HOST``, or local mode where nothing is configured."""

    @contextlib.contextmanager
    def open(self) -> "Iterator[QdrantClient]":
        """Open a client; in local mode it holds the lock, so keep it briefly."""
        with Services.read().qdrant() as client:
            yield client


RESOURCES: dict[str, object] = {
    "run": StoreRun(),
    "model": ModelResource(),
    "postgres": PostgresResource(),
    "qdrant": QdrantResource(),
}
