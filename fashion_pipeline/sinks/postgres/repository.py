"""One product at a time in PostgreSQL's ``products``."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from fashion_pipeline.sinks.desired import DesiredProduct
from fashion_pipeline.sinks.postgres.rows import row_values
from fashion_pipeline.sinks.postgres.schema import products
from fashion_pipeline.sinks.postgres.state import ROWS_DIGEST, forget


class ProductRepository:
    """Products, one at a time, in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, product: DesiredProduct, *, now: datetime) -> UUID:
        """Write a product's row, new or changed, and make it live; return its id.

        The store's digest is forgotten in the same transaction: it describes the rows as the last run
        wrote them, and the next run must compare every row again.
        """
        await forget(await self._session.connection(), product.store_id, ROWS_DIGEST)
        values = {**row_values(product), "updated_at": now, "archived_at": None}
        statement = insert(products).values(values)
        kept = {key: value for key, value in statement.excluded.items() if key in values}
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["store_id", "external_id"], set_=kept)
        )
        return product.id

    async def get_by_external_id(self, external_id: str, store_id: str) -> dict[str, Any] | None:
        """Return a product's row as a mapping, archived or not, or None."""
        found = await self._session.execute(
            select(products).where(products.c.store_id == store_id, products.c.external_id == external_id)
        )
        row = found.mappings().one_or_none()
        return None if row is None else dict(row)

    async def exists(self, external_id: str, store_id: str) -> bool:
        """Whether a product has a live row."""
        row = await self.get_by_external_id(external_id, store_id)
        return row is not None and row["archived_at"] is None

    async def count(self, store_id: str | None = None) -> int:
        """Count the live rows, of one store or of all."""
        statement = select(func.count()).select_from(products).where(products.c.archived_at.is_(None))
        if store_id is not None:
            statement = statement.where(products.c.store_id == store_id)
        return int((await self._session.execute(statement)).scalar_one())
