"""WooCommerce shops, kept exactly in step with a PostgreSQL table and a Qdrant collection."""

__version__ = "0.1.0"
