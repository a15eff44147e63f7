"""An open database for the tests of PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.sinks.postgres.engine import database


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on an empty database."""
    async with database(database_url, home_id="home-1") as opened:
        yield opened
