"""Products, what became of each, and what the sinks remember."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the extension where the server has it, and the tables."""
    # Nothing depends on the extension: gen_random_uuid() is in the core since PostgreSQL 13.
    op.execute("""
        DO $$
        BEGIN
            CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
        EXCEPTION WHEN feature_not_supported OR undefined_file OR insufficient_privilege THEN
            RAISE NOTICE 'uuid-ossp is not available here (%); nothing depends on it', SQLERRM;
        END
        $$
    """)
    now = sa.text("now()")
    nothing = sa.text("'{}'")
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("price", sa.Numeric(10, 2), nullable=False),
        sa.Column("currency", sa.String(3), server_default="USD", nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("product_url", sa.Text(), nullable=False),
        sa.Column("in_stock", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("categories", postgresql.ARRAY(sa.Text()), server_default=nothing, nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=True),
        sa.Column("stale", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="products_pkey"),
        sa.UniqueConstraint("store_id", "external_id", name="products_store_id_external_id_key"),
    )
    op.create_index("products_external_id_idx", "products", ["external_id"])
    op.create_index("products_store_id_idx", "products", ["store_id"])
    op.create_index("products_created_at_idx", "products", ["created_at"])
    op.create_table(
        "product_outcomes",
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), server_default=nothing, nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("image_sha256", sa.String(64), nullable=True),
        sa.Column("in_postgres", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("in_qdrant", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("store_id", "external_id", name="product_outcomes_pkey"),
    )
    op.create_table(
        "sink_state",
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "key", name="sink_state_pkey"),
    )
    op.create_table(
        "pipeline_state",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pipeline_state_pkey"),
    )


def downgrade() -> None:
    """Drop the tables; the extension stays, because others may use it."""
    op.drop_table("pipeline_state")
    op.drop_table("sink_state")
    op.drop_table("product_outcomes")
    op.drop_table("products")
