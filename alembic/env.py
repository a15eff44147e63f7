"""Run the migrations: of the URL that ``migrate`` passes, of FASHION_DATABASE_URL, or of the embedded server."""

from __future__ import annotations

from contextlib import ExitStack
from logging.config import fileConfig

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.postgres.migrate import MIGRATION_LOCK, VERSION_TABLE
from fashion_pipeline.sinks.postgres.schema import metadata, sqlalchemy_url
from fashion_pipeline.storage.home import Home


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Tell our tables from others of the same database, which are none of our business."""
    return kind != "table" or name in metadata.tables


def configured_url(stack: ExitStack) -> str:
    """Find the database that the settings name."""
    settings = Settings.read()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return stack.enter_context(embedded_postgres(Home(settings.home_path)))


def run(stack: ExitStack) -> None:
    """Migrate over one connection, in one transaction, one process at a time."""
    config = context.config
    if config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    options = {"target_metadata": metadata, "version_table": VERSION_TABLE, "include_name": ours}
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    url = config.attributes.get("url") or configured_url(stack)
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, compare_server_default=True, **options)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()


with ExitStack() as stack:
    run(stack)
