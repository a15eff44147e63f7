"""Asset checks of one store's run; each is reported by the asset it is about.

A check that does not pass warns and stops nothing; its description says in plain words what is
wrong and what to do. What is true of all stores together is checked by ``health``.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.errors import without_store
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.read_state import ReadState
from fashion_pipeline.records import Product, Table

if TYPE_CHECKING:
    from fashion_pipeline.defs.cursors import StoreNews
    from fashion_pipeline.embedding.soundness import VectorSample
    from fashion_pipeline.shop.catalogue import ReadCounts
    from fashion_pipeline.sinks.agreement import Agreement
    from fashion_pipeline.sinks.desired import ProductOutcome

Cell = str | int | float | None

SAMPLE = 20
"""Products named by a check; all are counted."""


def _spec(name: str, *, asset: str, description: str) -> dg.AssetCheckSpec:
    """Specify a check with a result for each store, as the asset has a partition for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # without it a check shows the store that ran last
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=stores)


LISTING_COMPLETE = _spec(
    "listing_complete",
    asset="raw_products",
    description="The shop was read, its last full listing can be believed, and it hides no product.",
)
VECTORS_SOUND = _spec(
    "vectors_sound",
    asset="embeddings",
    description="Stored vectors have norm 1, 768 finite numbers, and this run's model; a sample of the store's.",
)
REMOVALS_HELD = _spec(
    "removals_held", asset="postgres_products", description="No product is kept only because nobody has agreed yet."
)
LEFT_TO_RETRY = _spec(
    "left_to_retry", asset="postgres_products", description="No product of the store waits for another try."
)
STORES_ANSWER = dg.AssetCheckSpec(
    "stores_answer",
    asset="all_stores",
    description="Each shop answers and accepts its keys, as the sensor new_products last saw it.",
)
SINKS_AGREE = _spec(
    "sinks_agree",
    asset="qdrant_points",
    description="The store's live rows have their points, and its points their rows: counted, and a sample each way.",
)


def warn(
    spec: dg.AssetCheckSpec,
    problems: Sequence[str],
    *,
    fine: str,
    metadata: Mapping[str, Any] | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    """Return a check's result: passed where there is no problem, else a warning (or an error) that names them."""
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not problems,
        severity=severity,
        description="; ".join(problems) or fine,
        metadata=metadata or {},
    )


def evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return a result as the event that a sensor reports."""
    if result.asset_key is None or result.check_name is None:
        msg = "a result of a sensor names its asset and its check"
        raise ValueError(msg)
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


def stores_answer(silent: "Mapping[str, StoreNews]", *, paused: Collection[str] = ()) -> dg.AssetCheckResult:
    """Fail if a shop refuses its keys, or has not answered for a while."""
    reported = {store_id: known for store_id, known in silent.items() if store_id not in paused}
    problems = [
        f"{store_id}: {'the shop refuses the keys' if known.refused else 'the shop does not answer'}"
        f"{f' since {known.silent_since:%Y-%m-%d %H:%M} UTC' if known.silent_since else ''}: {known.silence}"
        for store_id, known in list(reported.items())[:SAMPLE]
    ]
    if len(reported) > SAMPLE:
        problems.append(f"and {len(reported) - SAMPLE} more stores")
    if problems:
        problems[-1] += ". fashion-pipeline doctor STORE names the cause"
    return warn(
        STORES_ANSWER,
        problems,
        fine="every shop that was asked answers",
        metadata={"silent": len(reported)},
        severity=dg.AssetCheckSeverity.ERROR,
    )


def table(rows: Sequence[Mapping[str, Cell]], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """Return rows as a table with these columns, given with their types."""
    records = [dg.TableRecord({name: row[name] for name in columns}) for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.MetadataValue.table(records, schema=schema)


def listing_complete(store_id: str, counts: "ReadCounts") -> dg.AssetCheckResult:
    """Judge how much of the shop its answers showed."""
    problems = []
    if counts.doubt:
        problems.append(
            f"{store_id}: the last listing of the whole shop cannot be believed ({counts.doubt}): nothing was "
            "concluded from what it lacks; the next sweep reads it again"
        )
    if counts.held:
        problems.append(f"{store_id}: {counts.held}")
    if counts.unreadable:
        problems.append(
            f"{store_id}: the shop does not let {counts.unreadable:,} products be read: what is known of them is kept, "
            f"and they are asked for again; fashion-pipeline outcomes {store_id} says why of each"
        )
    what = "all of them" if counts.read == "sweep" else "as changed since the read before"
    return warn(LISTING_COMPLETE, problems, fine=f"{store_id}: {counts.listed:,} products listed, {what}")


def shop_not_read(store_id: str, error: Exception) -> dg.AssetCheckResult:
    """Say that reading the shop was broken off, from which nothing follows for any product."""
    problem = (
        f"{store_id}: the shop was not read to its end: {without_store(error, store_id)}; nothing was concluded, every "
        "product stays as it was, and the run is tried again"
    )
    return warn(LISTING_COMPLETE, [problem], fine="")


def vectors_sound(store_id: str, found: "VectorSample") -> dg.AssetCheckResult:
    """Judge a sample of a store's stored vectors."""
    problems = []
    if found.wrong:
        problems.append(
            f"{store_id}: {len(found.wrong)} of {found.looked_at} stored vectors are damaged or of another model, "
            f"such as that of the image {found.wrong[0]}; delete the folder vectors/{found.fingerprint} in "
            "FASHION_HOME, and the next run embeds its images again"
        )
    metadata = {"looked_at": found.looked_at, "fingerprint": found.fingerprint}
    return warn(VECTORS_SOUND, problems, fine=f"{store_id}: {found.looked_at} looked at", metadata=metadata)


def removals_held(
    store_id: str, products: Table[Product], withheld: Sequence[str], outcomes: "Sequence[ProductOutcome]"
) -> dg.AssetCheckResult:
    """Say which products would be removed, why they are not, and how to agree."""
    by_shop = {row.external_id for row in products.rows if Reason.AWAITING_CONSENT in row.outcome.reasons}
    waiting = [outcome for outcome in outcomes if outcome.external_id in by_shop.union(withheld)]
    unknown = set(withheld) - {outcome.external_id for outcome in waiting}
    number = len(waiting) + len(unknown)
    held = ReadState.from_metadata(products.metadata).held
    problems = []
    if number or held:
        why = held or "so many left at once that it may be a mistake"
        problems.append(
            f"{store_id}: {number:,} products would be removed, and are kept: {why}. If that is right: "
            f"fashion-pipeline ingest {store_id} --allow-removals"
        )
    metadata = {"waiting": number, "sample": sample(waiting)} if waiting else {"waiting": number}
    return warn(REMOVALS_HELD, problems, fine=f"{store_id}: nothing waits for consent", metadata=metadata)


def left_to_retry(store_id: str, outcomes: "Sequence[ProductOutcome]") -> dg.AssetCheckResult:
    """Count the products that need a retry, and show some of them."""
    from fashion_pipeline.sinks.postgres.health import needs_retry

    retryable = [outcome for outcome in outcomes if needs_retry(outcome)]
    problems = []
    if retryable:
        problems.append(
            f"{store_id}: {len(retryable):,} products need a retry, each at its time: the sensor retry_due requests "
            f"the runs, or you do with fashion-pipeline ingest {store_id}; fashion-pipeline outcomes {store_id} PRODUCT "
            "explains one"
        )
    metadata = {"left": len(retryable), "sample": sample(retryable)} if retryable else {"left": 0}
    return warn(LEFT_TO_RETRY, problems, fine=f"{store_id}: nothing is left to try", metadata=metadata)


def sinks_agree(store_id: str, found: "Agreement") -> dg.AssetCheckResult:
    """Judge how a store's rows and points go together."""
    problems = []
    if found.rows != found.points:
        problems.append(f"PostgreSQL has {found.rows:,} live rows, Qdrant {found.points:,} products")
    for missing, what in (
        (found.rows_without_point, "rows without a point"),
        (found.points_without_row, "points without a live row"),
        (found.wrong_points, "points of another model, or whose vector has not norm 1"),
    ):
        if missing:
            problems.append(f"{len(missing)} {what} among those looked at, such as {missing[0]}")
    if problems:
        problems = [f"{store_id}: {'; '.join(problems)}. fashion-pipeline reconcile {store_id} --repair puts it right"]
    metadata = {"rows": found.rows, "points": found.points, "looked_at": found.looked_at}
    return warn(SINKS_AGREE, problems, fine=f"{store_id}: {found.rows:,} in both", metadata=metadata)


def sample(outcomes: "Sequence[ProductOutcome]") -> dg.TableMetadataValue:
    """Return some products as a table."""
    return table(
        [
            {
                "store": each.store_id,
                "product": each.external_id,
                "title": each.title,
                "stage": each.stage,
                "reasons": ", ".join(reason.value for reason in each.reasons),
                "detail": each.detail,
                "again": f"{each.next_retry_at:%Y-%m-%d %H:%M}" if each.next_retry_at else "",
            }
            for each in outcomes[:SAMPLE]
        ],
        dict.fromkeys(("store", "product", "title", "stage", "reasons", "detail", "again"), "string"),
    )
