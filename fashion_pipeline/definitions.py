"""The one Definitions object, loaded by workspace.yaml and imported by nobody but the command line."""

import warnings

import dagster as dg

from fashion_pipeline.defs import assets, automation, health, reconcile, sensors
from fashion_pipeline.defs.io import tables
from fashion_pipeline.defs.resources import RESOURCES

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # links to the code: nothing depends on them
    linked_assets = dg.with_source_code_references(
        [
            assets.raw_products,
            assets.fetched_images,
            assets.quality_passed,
            assets.embeddings,
            assets.postgres_products,
            assets.qdrant_points,
        ]
    )

defs = dg.Definitions(
    assets=[*linked_assets, health.ALL_STORES],
    asset_checks=[health.all_stores],
    jobs=[automation.ingest_store, reconcile.reconcile_store, health.health],
    schedules=[*automation.sweep_schedules(), health.health_daily],
    sensors=[sensors.new_products, sensors.retry_due],
    resources={"tables": tables, **RESOURCES},
    executor=dg.in_process_executor,
)
