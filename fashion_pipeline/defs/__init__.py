"""Dagster, and nothing but Dagster: assets, checks, automation, resources, and the tables' IO manager."""
