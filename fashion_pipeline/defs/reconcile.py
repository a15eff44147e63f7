"""Repair of both sinks as a job, which needs no shop and no model."""

from collections.abc import Iterator

import dagster as dg

from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.defs.resources import StoreRun


class Reconciliation(dg.Config):
    """What one run of the job may do."""

    repair: bool = True
    allow_removals: bool = False
    vectors: bool = True


@dg.op
async def reconcile_sinks(
    context: dg.OpExecutionContext,
    config: Reconciliation,
    run: StoreRun,
) -> None:
    """Compare both sinks with the store's tables, repair what differs, and compare again."""
    from fashion_pipeline.sinks.access import Sinks
    from fashion_pipeline.sinks.reconcile import reconcile_store

    async with run.services.postgres() as engine:
        done = await reconcile_store(
            Sinks(run.services.home, engine, run.services.qdrant),
            run.store,
            now=run.clock.now(),
            repair=config.repair,
            allow_removals=config.allow_removals,
            vectors=config.vectors,
        )
    run.outcomes_are_published()
    for line in _lines(done.before.lines()):
        context.log.warning("%s: %s", run.store.id, line)
    counts = {name: dg.MetadataValue.int(count) for name, count in done.before.counts.items()}
    context.add_output_metadata({**counts, "drift": sum(done.before.counts.values()), "withheld": done.before.withheld})
    if done.remaining:
        left = "; ".join(_lines(done.remaining.lines()))
        raise dg.Failure(description=f"{run.store.id}: the sinks still differ from the tables: {left}")


def _lines(lines: Iterator[str]) -> Iterator[str]:
    return (line.strip() for line in lines)


@dg.job(
    partitions_def=stores,
    executor_def=dg.in_process_executor,
    description="Repairs both sinks of one store by its tables; the shop is not read.",
)
def reconcile_store() -> None:
    """One step."""
    reconcile_sinks()
