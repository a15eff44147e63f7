"""Opens what a run needs: home, PostgreSQL, Qdrant, web, shop and model, as the settings name them.

Below Dagster, the command line and HTTP: the resources in ``defs`` are thin adapters over this module,
and ``doctor`` and ``reconcile`` use it directly. Nothing is opened before it is asked for, and
heavy libraries are imported only then.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from fashion_pipeline.errors import LockTimeout, WeightsUnavailable, WrongModel
from fashion_pipeline.outcomes import Clock, SystemClock
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from sqlalchemy.ext.asyncio import AsyncEngine

    from fashion_pipeline.embedding.encode import Encoder
    from fashion_pipeline.embedding.load import Checkpoint
    from fashion_pipeline.shop.rest import Shop
    from fashion_pipeline.storage.pixels import Pixels
    from fashion_pipeline.storage.vectors import Vectors
    from fashion_pipeline.stores import Store
    from fashion_pipeline.web.client import Web


@dataclass(frozen=True)
class Services:
    """Everything that the settings name, opened on demand.

    Use ``Services.read()`` where a run begins, and keep it for that run only: settings may change between runs.
    """

    settings: Settings

    @classmethod
    def read(cls) -> Services:
        """Read the settings from the environment.

        Raises:
            SettingsError: a setting is misspelt or holds what it may not hold.
        """
        return cls(Settings.read())

    @cached_property
    def home(self) -> Home:
        """The configured home."""
        return Home(self.settings.home_path)

    @property
    def pixels(self) -> Pixels:
        """The model-ready pixels that the quality stage keeps for the embedding stage."""
        from fashion_pipeline.images.decode import PIXEL_SPEC

        return self.home.pixels(PIXEL_SPEC)

    @contextlib.contextmanager
    def postgres_url(self) -> Iterator[str]:
        """Yield the URL of PostgreSQL: the configured one, or that of the embedded server, running while this lasts."""
        if self.settings.database_url is not None:
            yield self.settings.database_url.get_secret_value()
            return
        from fashion_pipeline.local.postgres import embedded_postgres

        with embedded_postgres(self.home) as url:
            _migrate_once(url)
            yield url

    @contextlib.asynccontextmanager
    async def postgres(self) -> AsyncIterator[AsyncEngine]:
        """Open an engine on a database with this version's tables, checked to be this home's."""
        from fashion_pipeline.sinks.postgres.engine import database

        with self.postgres_url() as url:
            async with database(url, home_id=self.home.id) as engine:
                yield engine

    @contextlib.contextmanager
    def qdrant(self, *, timeout_s: float = 60.0) -> Iterator[QdrantClient]:
        """Open a Qdrant client; in local mode it holds the lock, so keep it briefly.

        Args:
            timeout_s: for each request to a server.
        """
        from fashion_pipeline.sinks.qdrant.client import vector_store

        with vector_store(self.settings, self.home, timeout_s=timeout_s) as client:
            yield client

    @contextlib.asynccontextmanager
    async def web(self, store: Store, clock: Clock) -> AsyncIterator[Web]:
        """Open guarded connections to a store's hosts: its shop and those of its images."""
        from fashion_pipeline.web.client import Web, user_agent
        from fashion_pipeline.web.guard import Guard

        async with Web(
            guard=Guard.of(store),
            clock=clock,
            user_agent=user_agent(self.settings.contact),
            connections_per_host=self.settings.connections_per_host,
            ca_file=store.ca_file,
        ) as web:
            yield web

    @contextlib.asynccontextmanager
    async def shop(self, store: Store, clock: Clock) -> AsyncIterator[Shop]:
        """Open a store's REST API; its keys are read from the environment at this moment."""
        from fashion_pipeline.shop.rest import Shop

        async with self.web(store, clock) as web:
            yield Shop(store, web)

    def model(
        self,
        *,
        model: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        batch_size: int | None = None,
    ) -> ModelService:
        """Return the embedding model, not loaded yet.

        Args:
            model: overrides ``FASHION_MODEL``; the others override their settings likewise.
        """
        return ModelService(
            self,
            name=model or self.settings.model,
            device=device or self.settings.device,
            precision=precision or self.settings.precision,
            batch_size=batch_size or self.settings.batch_size,
        )


@functools.cache
def _migrate_once(url: str) -> None:
    """Bring the embedded database to this version; a configured one is migrated by its owner."""
    from fashion_pipeline.sinks.postgres.migrate import migrate

    migrate(url)


class ModelService:
    """The embedding model of one run: its checkpoint, found once, its encoder, loaded once, and its vectors."""

    def __init__(self, services: Services, *, name: str, device: str, precision: str, batch_size: int | str) -> None:
        self._services = services
        self.name = name
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self._checkpoint: Checkpoint | None = None
        self._encoder: Encoder | None = None
        self._chosen_at: datetime | None = None
        self._acquire: Callable[[], None] | None = None

    @contextlib.contextmanager
    def exclusive(self, warn: Callable[[str], None]) -> Iterator[None]:
        """While this lasts, no other run on this machine loads a model for the same device.

        The lock is taken when a model is first loaded: a run without new images waits for nobody. It is released
        when its process ends, however that ends. A limit of Dagster's pool would outlive a killed process, and a
        run that waits for one keeps a processor busy (1.13.27), so the pool is for limits of your own.

        Args:
            warn: is called with a message when this run has to wait.
        """
        path = self._services.home.lock(f"model-{self.device.replace(':', '-')}")
        lock = functools.partial(file_lock, path, what="the model lock")
        with contextlib.ExitStack() as held:

            def acquire() -> None:
                try:
                    held.enter_context(lock(timeout_s=0))
                except LockTimeout:
                    warn(f"waiting: another run is embedding on this machine (device {self.device})")
                    held.enter_context(lock(timeout_s=math.inf))

            self._acquire = functools.cache(acquire)
            try:
                yield
            finally:
                self._acquire = self._encoder = None

    def checkpoint(self) -> Checkpoint:
        """Find the weights and their fingerprint; a run keeps the one it began with."""
        if self._checkpoint is None:
            self._checkpoint = self._find(self.name)
            self._chosen_at = SystemClock().now()
        return self._checkpoint

    @property
    def chosen_at(self) -> datetime | None:
        """When this run chose its model; None while it has not."""
        return self._chosen_at

    def encoder(self) -> Encoder:
        """Load the model.

        Raises:
            WrongModel: its files have changed since the run began.
        """
        if self._encoder is None:
            checkpoint = self.checkpoint()
            self._encoder = self.encoder_of(checkpoint.fingerprint, checkpoint.name)
        return self._encoder

    def encoder_of(self, fingerprint: str, name: str) -> Encoder:
        """Load the model of a fingerprint, from where it was found before.

        Raises:
            WeightsUnavailable: it is not there any more.
            WrongModel: another model is in its place.
        """
        from fashion_pipeline.embedding.load import load_encoder

        if not name:
            msg = (
                f"the origin of model {fingerprint} is not recorded: an older version of this package used it first; "
                "set FASHION_MODEL to it and run once, or promote another model"
            )
            raise WeightsUnavailable(msg)
        if self._acquire is not None:
            self._acquire()
        encoder = load_encoder(
            self._verified(fingerprint, name),
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
        )
        self._verified(fingerprint, name)  # the files may have been replaced while they were read
        return encoder

    def vectors(self, fingerprint: str | None = None) -> Vectors:
        """Return the stored vectors of this model, or of the one with a fingerprint."""
        return self._services.home.vectors(fingerprint or self.checkpoint().fingerprint)

    def _find(self, name: str) -> Checkpoint:
        from fashion_pipeline.embedding.load import find_checkpoint
        from fashion_pipeline.images.decode import PIXEL_SPEC

        return find_checkpoint(name, home=self._services.home, pixel_spec=PIXEL_SPEC)

    def _verified(self, fingerprint: str, name: str) -> Checkpoint:
        checkpoint = self._find(name)
        if checkpoint.fingerprint != fingerprint:
            msg = (
                f"{name} is model {checkpoint.fingerprint} now, and was {fingerprint}: its files, or the code that "
                "prepares images, have been replaced; run again, and keep each model's files in a folder of its own"
            )
            raise WrongModel(msg)
        return checkpoint
