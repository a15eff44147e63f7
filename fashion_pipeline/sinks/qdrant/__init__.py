"""Qdrant: connections, collections, the alias, points and search."""
