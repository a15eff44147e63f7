"""Migrate a database to the tables of this version. Alembic's scripts define every table."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_pipeline.errors import DatabaseMismatch
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import sqlalchemy_url

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "fashion_schema_version"
"""Alembic's table; Dagster, which may share the database, has its own ``alembic_version``."""

MIGRATION_LOCK = 4_207_318_965
"""Key of the advisory lock that lets one process migrate at a time."""


def migrate(database_url: str) -> None:
    """Create or upgrade the tables; a database that is up to date is not changed.

    Several processes may call this at the same time.

    Raises:
        DatabaseUnavailable: the database does not answer, or refuses the user.
        DatabaseMismatch: a newer version of this package has already migrated it.
    """
    from alembic import command
    from alembic.util import CommandError

    config = _config()
    config.attributes["url"] = database_url
    try:
        with translate(sqlalchemy_url(database_url)):
            command.upgrade(config, "head")
    except CommandError as error:
        msg = f"{sqlalchemy_url(database_url)!r} cannot be migrated ({error}); if a newer version of this package migrated it, upgrade this one"
        raise DatabaseMismatch(msg) from error


@cache
def head() -> str:
    """Return the revision of the tables of this version."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_config()).get_current_head())


@cache
def known_revisions() -> frozenset[str]:
    """Return every revision that there is a script for."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return frozenset(str(script.revision) for script in scripts)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Path:
    """Return the folder of the scripts: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "alembic"
