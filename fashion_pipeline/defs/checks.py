"""Asset checks: what must be true of the sinks after every run."""

import dagster as dg

from fashion_pipeline.defs.assets import qdrant_points
from fashion_pipeline.defs.resources import ModelResource, PostgresResource, QdrantResource


@dg.asset_check(  # type: ignore[arg-type]  # async checks run; the annotation does not know
    asset=qdrant_points, description="Every live row has its point in Qdrant, and every point its row."
)
async def sinks_agree(postgres: PostgresResource, qdrant: QdrantResource, model: ModelResource) -> dg.AssetCheckResult:
    """Compare, for every store, the number of live rows with the number of primary points."""
    from fashion_pipeline.sinks.points import primary_counts
    from fashion_pipeline.sinks.postgres import live_counts
    from fashion_pipeline.sinks.qdrant import collection_name

    async with postgres.open() as engine:
        rows = await live_counts(engine)
    with qdrant.open() as client:
        points = primary_counts(client, collection_name(model.checkpoint().fingerprint), sorted(rows))
    table = dg.MetadataValue.table(
        [
            dg.TableRecord({"store": store, "rows": rows[store], "points": points.get(store, 0)})
            for store in sorted(rows)
        ],
        schema=dg.TableSchema(
            [dg.TableColumn("store"), dg.TableColumn("rows", "int"), dg.TableColumn("points", "int")]
        ),
    )
    wrong = [store for store in rows if points.get(store, 0) != rows[store]]
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={"stores": table},
        description=f"differ: {', '.join(wrong)}; run the store again with sweep" if wrong else "equal in every store",
    )


CHECKS = [sinks_agree]
