"""The outcome of every product, in PostgreSQL's table ``product_outcomes``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.sinks.plan import await_consent
from fashion_pipeline.sinks.postgres.bulk import copy_into
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.lock import assert_held
from fashion_pipeline.sinks.postgres.schema import product_outcomes

_OUTCOME_FIELDS = tuple(name for name in ProductOutcome.__dataclass_fields__ if name != "in_qdrant")


async def publish_outcomes(
    engine: AsyncEngine,
    *,
    store_id: str,
    outcomes: Sequence[ProductOutcome],
    withheld: Collection[str] = (),
    now: datetime,
    dry_run: bool = False,
) -> int:
    """Bring a store's rows of ``product_outcomes`` up to date; return how many changed.

    ``in_postgres`` is read from ``products``; ``mark_in_qdrant`` writes ``in_qdrant``.

    Args:
        withheld: external ids whose removal awaits consent, as ``apply_rows`` returned them.
        dry_run: change nothing, and return how many rows would change.
    """
    published = await_consent(outcomes, withheld, store_id=store_id)
    names = [name for name in _OUTCOME_FIELDS if name != "in_postgres"]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in _OUTCOME_FIELDS)
    wanted = ", ".join([*(f"d.{name}" for name in names), "p.id IS NOT NULL"])
    theirs = ", ".join(f"o.{name}" for name in [*names, "in_postgres"])
    # All names below are constants of this module.
    statement = f"""
        INSERT INTO product_outcomes ({", ".join(names)}, in_postgres, updated_at)
        SELECT {wanted}, CAST(:now AS timestamptz)
        FROM desired_outcomes d
        LEFT JOIN (SELECT * FROM product_outcomes WHERE store_id = :store_id) o USING (external_id)
        LEFT JOIN (SELECT id FROM products WHERE store_id = :store_id AND archived_at IS NULL) p ON p.id = d.product_id
        WHERE o.external_id IS NULL OR ({theirs}) IS DISTINCT FROM ({wanted})
        ON CONFLICT (store_id, external_id) DO UPDATE SET {changes}, updated_at = EXCLUDED.updated_at
    """  # noqa: S608
    with translate(engine.url):
        async with engine.connect() as connection, connection.begin() as transaction:
            await assert_held(connection, store_id)
            rows = ({name: getattr(outcome, name) for name in names} for outcome in published)
            await copy_into(connection, "desired_outcomes", product_outcomes, names, rows)
            gone = await connection.execute(
                text("""
                    DELETE FROM product_outcomes o WHERE store_id = :store_id AND NOT EXISTS (
                        SELECT FROM desired_outcomes d WHERE d.external_id = o.external_id
                    )
                """),
                {"store_id": store_id},
            )
            written = await connection.execute(text(statement), {"now": now, "store_id": store_id})
            if dry_run:
                await transaction.rollback()
            return written.rowcount + gone.rowcount


async def publish_outcome(engine: AsyncEngine, outcome: ProductOutcome, *, now: datetime) -> None:
    """Write the outcome of one product that is in neither sink."""
    values = {name: getattr(outcome, name) for name in (*_OUTCOME_FIELDS, "in_qdrant")}
    values |= {"status": outcome.status.value, "reasons": [reason.value for reason in outcome.reasons]}
    statement = insert(product_outcomes).values(**values, updated_at=now)
    kept = {name: statement.excluded[name] for name in (*values, "updated_at")}
    with translate(engine.url):
        async with engine.begin() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["store_id", "external_id"], set_=kept)
            )


async def mark_in_qdrant(
    engine: AsyncEngine, *, store_id: str, present: Collection[UUID], dry_run: bool = False
) -> int:
    """Record which products have a point; return how many outcomes that changes, or in a dry run would change."""
    with translate(engine.url):
        async with engine.connect() as connection, connection.begin() as transaction:
            rows = ({"product_id": identity} for identity in present)
            await copy_into(connection, "present_points", product_outcomes, ["product_id"], rows)
            written = await connection.execute(
                text("""
                    UPDATE product_outcomes o SET in_qdrant = seen.present
                    FROM (
                        SELECT external_id, d.product_id IS NOT NULL AS present
                        FROM product_outcomes LEFT JOIN present_points d USING (product_id)
                        WHERE store_id = :store_id
                    ) seen
                    WHERE o.store_id = :store_id AND o.external_id = seen.external_id AND o.in_qdrant <> seen.present
                """),
                {"store_id": store_id},
            )
            if dry_run:
                await transaction.rollback()
            return written.rowcount


async def read_outcomes(
    engine: AsyncEngine, *, store_id: str, external_id: str | None = None
) -> tuple[ProductOutcome, ...]:
    """Return the outcomes of a store's products, or of one of them."""
    statement = select(product_outcomes).where(product_outcomes.c.store_id == store_id)
    if external_id is not None:
        statement = statement.where(product_outcomes.c.external_id == external_id)
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = (await connection.execute(statement.order_by(product_outcomes.c.external_id))).mappings().all()
    return tuple(outcome_of(row) for row in rows)


def outcome_of(row: RowMapping) -> ProductOutcome:
    """Read a row of ``product_outcomes``."""
    values = {name: row[name] for name in ProductOutcome.__dataclass_fields__}
    reasons = tuple(Reason(reason) for reason in row["reasons"])
    return ProductOutcome(**{**values, "status": Status(row["status"]), "reasons": reasons})
