"""PostgreSQL's tables, as Alembic's migrations make them, and the form of a database URL."""

from __future__ import annotations

from sqlalchemy import (
    URL,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    func,
    make_url,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import ArgumentError

from fashion_pipeline.errors import SettingsError

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("id", Uuid(), server_default=text("gen_random_uuid()"), nullable=False),
    Column("store_id", Text(), nullable=False),
    Column("external_id", Text(), nullable=False),
    Column("title", Text(), nullable=False),
    Column("description", Text(), server_default="", nullable=False),
    Column("price", Numeric(10, 2), nullable=False),
    Column("currency", String(3), server_default="USD", nullable=False),
    Column("image_url", Text(), nullable=False),
    Column("product_url", Text(), nullable=False),
    Column("in_stock", Boolean(), server_default=true(), nullable=False),
    Column("categories", ARRAY(Text()), server_default=text("'{}'"), nullable=False),
    Column("image_sha256", String(64)),
    Column("stale", Boolean(), server_default=false(), nullable=False),
    Column("created_at", DateTime(timezone=True), server_default=func.now(), nullable=False),
    Column("updated_at", DateTime(timezone=True), server_default=func.now(), nullable=False),
    Column("archived_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id", name="products_pkey"),
    UniqueConstraint("store_id", "external_id", name="products_store_id_external_id_key"),
    Index("products_external_id_idx", "external_id"),
    Index("products_store_id_idx", "store_id"),
    Index("products_created_at_idx", "created_at"),
)
"""Published products. A row without ``archived_at`` is live, and has a point in Qdrant."""

product_outcomes = Table(
    "product_outcomes",
    metadata,
    Column("store_id", Text(), nullable=False),
    Column("external_id", Text(), nullable=False),
    Column("product_id", Uuid(), nullable=False),
    Column("title", Text(), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("status", Text(), nullable=False),
    Column("reasons", ARRAY(Text()), server_default=text("'{}'"), nullable=False),
    Column("detail", Text(), server_default="", nullable=False),
    Column("attempts", Integer(), server_default="0", nullable=False),
    Column("next_retry_at", DateTime(timezone=True)),
    Column("image_sha256", String(64)),
    Column("in_postgres", Boolean(), server_default=false(), nullable=False),
    Column("in_qdrant", Boolean(), server_default=false(), nullable=False),
    Column("updated_at", DateTime(timezone=True), server_default=func.now(), nullable=False),
    PrimaryKeyConstraint("store_id", "external_id", name="product_outcomes_pkey"),
    Index("product_outcomes_next_retry_at_idx", "next_retry_at", postgresql_where=text("next_retry_at IS NOT NULL")),
)
"""The stage that every product reached, and why it stopped there."""

sink_state = Table(
    "sink_state",
    metadata,
    Column("store_id", Text(), nullable=False),
    Column("key", Text(), nullable=False),
    Column("value", Text(), nullable=False),
    PrimaryKeyConstraint("store_id", "key", name="sink_state_pkey"),
)
"""Values kept for each store: among others the digest of its rows, and when a person last consented to removals."""

pipeline_state = Table(
    "pipeline_state",
    metadata,
    Column("key", Text(), nullable=False),
    Column("value", Text(), nullable=False),
    PrimaryKeyConstraint("key", name="pipeline_state_pkey"),
)
"""Values kept for the whole pipeline: the id of the home that owns the database, and the models."""

tombstones = Table(
    "tombstones",
    metadata,
    Column("store_id", Text(), nullable=False),
    Column("external_id", Text(), server_default="", nullable=False),
    Column("purged_at", DateTime(timezone=True), server_default=func.now(), nullable=False),
    PrimaryKeyConstraint("store_id", "external_id", name="tombstones_pkey"),
)
"""What was purged and must not come back: a product, or with an empty ``external_id`` a whole store."""


def sqlalchemy_url(database_url: str) -> URL:
    """Return a PostgreSQL URL, with any driver, as one for psycopg 3.

    Raises:
        SettingsError: it is not the URL of a PostgreSQL database. The message does not contain it.
    """
    advice = "FASHION_DATABASE_URL must look like postgresql://user:password@host:5432/database"
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        msg = f"the database URL cannot be read: {advice}"
        raise SettingsError(msg) from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        msg = f"the database URL is one of {url.get_backend_name()}: {advice}"
        raise SettingsError(msg)
    if not url.database:
        msg = f"the database URL names no database: {advice}"
        raise SettingsError(msg)
    # Without it, the driver returns bytes from a database whose encoding is SQL_ASCII.
    return url.set(drivername="postgresql+psycopg").update_query_dict({"client_encoding": "utf8"})
