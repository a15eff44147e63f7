"""What the assets are given: the run's store, and the ways to shop, pictures, model and sinks.

None of them holds a secret in its configuration, which the UI shows: keys and addresses are read
from the environment when a run opens what it needs.
"""

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, cast

import dagster as dg
from pydantic import Field, PrivateAttr

from fashion_pipeline.errors import FashionError, LockTimeout, SettingsError, WeightsUnavailable, WrongModel
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.outcomes import Clock, SystemClock
from fashion_pipeline.records import TABLES, Table
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.pixels import Pixels
from fashion_pipeline.storage.tables import read_table
from fashion_pipeline.storage.vectors import Vectors
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from sqlalchemy.ext.asyncio import AsyncEngine

    from fashion_pipeline.embedding.encode import Encoder
    from fashion_pipeline.embedding.load import Checkpoint
    from fashion_pipeline.shop.rest import Shop
    from fashion_pipeline.web.client import Web

PARTITION_TAG = "dagster/partition"

logger = logging.getLogger(__name__)
progress_log = logging.getLogger("fashion_pipeline.progress")


def home() -> Home:
    """Return the configured home."""
    return Home(Settings.read().home_path)


@contextlib.contextmanager
def postgres_url() -> Iterator[str]:
    """Yield the URL of PostgreSQL: the configured one, or the embedded server while it is needed."""
    settings = Settings.read()
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with embedded_postgres(Home(settings.home_path)) as url:
        _migrate_once(url)
        yield url


@functools.cache
def _migrate_once(url: str) -> None:
    """Bring the embedded database to this version; a configured one is migrated by its owner."""
    from fashion_pipeline.sinks.postgres.migrate import migrate

    migrate(url)


class StoreRun(dg.ConfigurableResource["StoreRun"]):
    """The store this run is about, held by its lock from the first step to the last."""

    sweep: bool = Field(default=False, description="Compare the whole shop, not only what changed.")
    allow_removals: bool = Field(
        default=False,
        description="Consent to removals beyond a fifth of the store within seven days, and to an empty listing.",
    )

    _store: Store | None = PrivateAttr(default=None)
    _clock: Clock = PrivateAttr(default_factory=SystemClock)
    _outcomes_published: bool = PrivateAttr(default=False)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["StoreRun"]:
        """Take the store's lock for as long as the run lasts; a second run of the store waits here."""
        from fashion_pipeline.sinks.postgres.lock import store_lock

        store_id = context.run.tags.get(PARTITION_TAG) if context.run else None
        if store_id is None:
            yield self
            return
        self._store = Settings.read().store_list().require(store_id)
        self._outcomes_published = False
        with postgres_url() as url, store_lock(url, store_id):
            yield self
            if not self._outcomes_published:
                asyncio.run(self._publish_partial_outcomes(url))

    async def _publish_partial_outcomes(self, url: str) -> None:
        """Publish every product's outcome from the tables there are: a run that fails half-way tells too."""
        from fashion_pipeline.sinks.desired import desired_state
        from fashion_pipeline.sinks.outcomes import publish_outcomes
        from fashion_pipeline.sinks.postgres.engine import database
        from fashion_pipeline.sinks.postgres.health import remember_run
        from fashion_pipeline.sinks.postgres.rows import apply_rows
        from fashion_pipeline.sinks.postgres.tombstones import without_purged

        try:
            tables = {
                asset: read_table(home().table(asset, self.store.id), row) or Table(()) for asset, row in TABLES.items()
            }
            if not tables["raw_products"].rows:
                return
            async with database(url, home_id=home().id) as engine:
                desired = desired_state(
                    store=self.store,
                    products=await without_purged(engine, self.store.id, tables["raw_products"]),
                    images=tables["fetched_images"],
                    judged=tables["quality_passed"],
                    embedded=tables["embeddings"],
                    fingerprint=tables["embeddings"].metadata.get("fingerprint", ""),
                )
                now = self.clock.now()
                would = await apply_rows(engine, store_id=self.store.id, desired=desired, now=now, dry_run=True)
                await publish_outcomes(
                    engine, store_id=self.store.id, outcomes=desired.outcomes, withheld=would.withheld, now=now
                )
                read = tables["raw_products"].metadata
                await remember_run(engine, store_id=self.store.id, read=read, outcomes=desired.outcomes, now=now)
        except FashionError as error:  # the run has its own error, and the next run publishes
            logger.warning("%s: its products' outcomes were not published: %s", self.store.id, error)

    def outcomes_are_published(self) -> None:
        """Say that an asset of this run has published them."""
        self._outcomes_published = True

    @property
    def store(self) -> Store:
        """The store of this run's partition."""
        if self._store is None:
            msg = "this run has no partition: choose a store (a partition of 'stores') to materialize"
            raise SettingsError(msg)
        return self._store

    @property
    def clock(self) -> Clock:
        """The one clock of the run."""
        return self._clock

    def progress(self, asset: str) -> Callable[[int, int | None], None]:
        """Return a function that tells whoever listens how far an asset has come: (done, all if known)."""
        store_id = self.store.id

        def tell(done: int, total: int | None) -> None:
            told = {"asset": asset, "store": store_id, "done": done, "total": total, "refused": None}
            progress_log.info("%s %s: %d of %s", store_id, asset, done, total or "?", extra=told)

        tell(0, None)
        return tell

    def finished(self, asset: str, *, items: int, refused: int) -> None:
        """Tell whoever listens that an asset is done with this store."""
        told = {"asset": asset, "store": self.store.id, "done": items, "total": items, "refused": refused}
        progress_log.info("%s %s: %d done, %d refused", self.store.id, asset, items, refused, extra=told)


@contextlib.asynccontextmanager
async def open_web(store: Store, clock: Clock, *, settings: Settings | None = None) -> AsyncIterator["Web"]:
    """Open connections to a store's hosts; ``settings`` spares reading them again."""
    from fashion_pipeline.web.client import Web, user_agent
    from fashion_pipeline.web.guard import Guard

    settings = settings or Settings.read()
    async with Web(
        guard=Guard.of(store),
        clock=clock,
        user_agent=user_agent(settings.contact),
        connections_per_host=settings.connections_per_host,
        ca_file=store.ca_file,
    ) as web:
        yield web


@contextlib.asynccontextmanager
async def open_shop(store: Store, clock: Clock) -> AsyncIterator["Shop"]:
    """Open a store's REST API; its keys come from the environment at this moment."""
    from fashion_pipeline.shop.rest import Shop

    async with open_web(store, clock) as web:
        yield Shop(store, web)


class ShopResource(dg.ConfigurableResource["ShopResource"]):
    """The WooCommerce shop of the run's store."""

    @contextlib.asynccontextmanager
    async def open(self, run: StoreRun) -> AsyncIterator["Shop"]:
        """Open the shop's REST API."""
        async with open_shop(run.store, run.clock) as shop:
            yield shop


class ImagesResource(dg.ConfigurableResource["ImagesResource"]):
    """Pictures: the guarded way to fetch them, and where their bytes and pixels lie."""

    @contextlib.asynccontextmanager
    async def open(self, run: StoreRun) -> AsyncIterator["Web"]:
        """Open connections to the hosts of a store's pictures."""
        async with open_web(run.store, run.clock) as web:
            yield web

    @property
    def blobs(self) -> Blobs:
        """The bytes of pictures, by digest."""
        return home().blobs

    @property
    def pixels(self) -> Pixels:
        """The model-ready pixels that the quality stage leaves for the embeddings stage."""
        from fashion_pipeline.images.decode import PIXEL_SPEC

        return home().pixels(PIXEL_SPEC)


class ModelResource(dg.ConfigurableResource["ModelResource"]):
    """The embedding model: on the GPU where there is one, loaded once in a run, when first needed."""

    model: str | None = Field(default=None, description="Overrides FASHION_MODEL for this run.")
    device: str | None = Field(default=None, description="Overrides FASHION_DEVICE: auto, cpu, cuda, cuda:N.")
    precision: str | None = Field(default=None, description="Overrides FASHION_PRECISION: auto, fp32, bf16.")
    batch_size: int | None = Field(default=None, description="Overrides FASHION_BATCH_SIZE.")

    _checkpoint: object = PrivateAttr(default=None)
    _encoder: object = PrivateAttr(default=None)
    _chosen_at: datetime | None = PrivateAttr(default=None)
    _take_turn: Callable[[], None] | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def in_turn(self, tell: Callable[[str], None]) -> Iterator[None]:
        """While this lasts, no other run on this machine loads a model for the same device.

        The turn begins when a model is loaded: a run without new pictures waits for nobody. It ends with its
        process, however that ends. A limit of Dagster's pool would outlive a killed process, and a run that
        waits for one keeps a processor busy (1.13.27), so the pool is for limits of your own.
        """
        settings = Settings.read()
        device = self.device or settings.device
        lock = functools.partial(file_lock, home().lock(f"model-{device.replace(':', '-')}"), what="the model's turn")
        with contextlib.ExitStack() as held:

            def take() -> None:
                try:
                    held.enter_context(lock(timeout_s=0))
                except LockTimeout:
                    tell(f"another run embeds on this machine (device {device}); this one goes on when that has ended")
                    held.enter_context(lock(timeout_s=math.inf))

            self._take_turn = functools.cache(take)
            try:
                yield
            finally:
                self._take_turn = self._encoder = None

    def checkpoint(self) -> "Checkpoint":
        """Find the weights and their fingerprint; a run keeps the one it began with."""
        if self._checkpoint is None:
            from fashion_pipeline.embedding.load import find_checkpoint
            from fashion_pipeline.images.decode import PIXEL_SPEC

            name = self.model or Settings.read().model
            self._checkpoint = find_checkpoint(name, home=home(), pixel_spec=PIXEL_SPEC)
            self._chosen_at = SystemClock().now()
        return cast("Checkpoint", self._checkpoint)

    @property
    def chosen_at(self) -> datetime | None:
        """When this run chose its model; None while it has not."""
        return self._chosen_at

    def encoder(self) -> "Encoder":
        """Load the model.

        Raises:
            WrongModel: its files have changed since the run began.
        """
        if self._encoder is None:
            checkpoint = self.checkpoint()
            self._encoder = self.encoder_of(checkpoint.fingerprint, checkpoint.name)
        return cast("Encoder", self._encoder)

    def encoder_of(self, fingerprint: str, name: str) -> "Encoder":
        """Load the model of a fingerprint, from where it was found before.

        Raises:
            WeightsUnavailable: it is not there any more.
            WrongModel: another model is in its place.
        """
        from fashion_pipeline.embedding.load import find_checkpoint, load_encoder
        from fashion_pipeline.images.decode import PIXEL_SPEC

        if not name:
            msg = f"nothing says where model {fingerprint} came from; it was first used by an older version of this package"
            raise WeightsUnavailable(msg)

        def found() -> "Checkpoint":
            checkpoint = find_checkpoint(name, home=home(), pixel_spec=PIXEL_SPEC)
            if checkpoint.fingerprint != fingerprint:
                msg = (
                    f"{name} is model {checkpoint.fingerprint} now, and was {fingerprint}: its files, or the code that "
                    "prepares pictures, have been replaced; run again, and keep each model's files in a folder of its own"
                )
                raise WrongModel(msg)
            return checkpoint

        if self._take_turn is not None:
            self._take_turn()
        settings = Settings.read()
        encoder = load_encoder(
            found(),
            device=self.device or settings.device,
            precision=self.precision or settings.precision,
            batch_size=self.batch_size or settings.batch_size,
        )
        found()  # the files may have been replaced while they were read
        return encoder

    def vectors(self, fingerprint: str | None = None) -> Vectors:
        """The stored vectors of this model, or of the one with a fingerprint."""
        return home().vectors(fingerprint or self.checkpoint().fingerprint)


class PostgresResource(dg.ConfigurableResource["PostgresResource"]):
    """PostgreSQL: ``FASHION_DATABASE_URL``, or the embedded server where nothing is configured."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["AsyncEngine"]:
        """Open an engine on a database with this version's tables, checked to be this home's."""
        from fashion_pipeline.sinks.postgres.engine import database

        with postgres_url() as url:
            async with database(url, home_id=home().id) as engine:
                yield engine


class QdrantResource(dg.ConfigurableResource["QdrantResource"]):
    """Qdrant: ``FASHION_QDRANT_URL``, or local mode where nothing is configured."""

    @contextlib.contextmanager
    def open(self) -> "Iterator[QdrantClient]":
        """Open a client; in local mode it holds the lock, so keep it briefly."""
        from fashion_pipeline.sinks.qdrant.client import vector_store

        with vector_store(Settings.read(), home()) as client:
            yield client


RESOURCES: dict[str, object] = {
    "run": StoreRun(),
    "shop": ShopResource(),
    "images": ImagesResource(),
    "model": ModelResource(),
    "postgres": PostgresResource(),
    "qdrant": QdrantResource(),
}
