"""The two sinks, PostgreSQL and Qdrant: what should be there, and making it so."""
