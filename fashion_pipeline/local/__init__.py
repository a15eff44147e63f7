"""Local services: embedded PostgreSQL and Qdrant in local mode."""
