"""What the command line says of runs: the JSON object that scripts read, and lines that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from fashion_pipeline.sinks.qdrant.search import Match

# The name in the JSON object: the asset that counts it, and its name there.
COUNTS: Mapping[str, tuple[str, str]] = {
    "fetched": ("fetched_images", "fetched"),
    "not_modified": ("fetched_images", "not_modified"),
    "decoded": ("quality_passed", "decoded"),
    "embedded": ("embeddings", "embedded"),
    "rows_written": ("postgres_products", "written"),
    "rows_archived": ("postgres_products", "archived"),
    "points_written": ("qdrant_points", "points_written"),
    "payloads_written": ("qdrant_points", "payloads_written"),
    "points_deleted": ("qdrant_points", "points_deleted"),
}


def store_report(
    counts: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float], outcomes: Iterable[ProductOutcome]
) -> dict[str, Any]:
    """Return one store's part of the JSON object.

    Args:
        counts: by asset, what its domain counted in this run; an asset that did not run is absent.
        seconds: by asset.
        outcomes: what stands for every product of the store.
    """
    told = [outcome for outcome in outcomes if not outcome.is_gone]
    report: dict[str, Any] = {"products": len(told)}
    for name, (asset, key) in COUNTS.items():
        report[name] = int(counts.get(asset, {}).get(key, 0))
    for status in (Status.REJECTED, Status.FAILED):
        report[status.value] = dict(
            Counter(first_reason(outcome) for outcome in told if outcome.status is status).most_common()
        )
    report["seconds"] = dict(seconds)
    return report


def first_reason(outcome: ProductOutcome) -> str:
    """Name the reason a product counts under; one that only waits for an earlier stage has none."""
    return outcome.reasons[0].value if outcome.reasons else "waiting"


@dataclass(frozen=True, slots=True)
class InSinks:
    """What both sinks hold of one store: live rows, primary points, its products' outcomes, and whether it was purged."""

    rows: int = 0
    points: int = 0
    outcomes: tuple[ProductOutcome, ...] = ()
    purged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what ``status --json`` says of the store."""
        report = store_report({}, {}, self.outcomes)
        standing = {name: report[name] for name in ("products", "rejected", "failed")}
        return {"rows": self.rows, "points": self.points, **standing}


def status_lines(store_id: str, told: InSinks, *, store: Store | None) -> list[str]:
    """Return what a person reads of one store's state; ``store`` is None where stores.yaml lacks it."""
    report = told.as_json()
    notes = "" if store is not None else " - not in stores.yaml: not run any more, kept as it was"
    notes += " - paused" if store is not None and store.paused else ""
    if told.purged and (told.rows or told.points):
        notes += f" - its purge was cut off: fashion-pipeline purge {store_id} finishes it"
    elif told.rows != told.points:
        notes += " - THE SINKS DIFFER: run it again"
    if told.purged:
        notes += f" - purged: not read, until fashion-pipeline purge {store_id} --undo"
    elif store is not None and not told.outcomes:
        notes += f" - nothing is known of it yet: fashion-pipeline ingest {store_id}"
    lines = [f"{store_id}: {report['products']:,} products, {told.rows:,} rows, {told.points:,} points{notes}"]
    for name in ("rejected", "failed"):
        lines += [f"  {count:>6,} {name}: {reason}" for reason, count in report[name].items()]
    lines += [f"  {count:>6,} ok, for the time being: {reason}" for reason, count in _shown_although(told.outcomes)]
    return [*lines, *consent_lines(store_id, told.outcomes)]


def consent_lines(store_id: str, outcomes: Iterable[ProductOutcome]) -> list[str]:
    """Return how to agree to the removals that wait for a person, where any do."""
    waiting = sum(Reason.AWAITING_CONSENT in outcome.reasons for outcome in outcomes)
    agree = f"fashion-pipeline ingest {store_id} --allow-removals"
    return [f"  {waiting:,} products would be removed and are kept until you agree: {agree}"] if waiting else []


def _shown_although(outcomes: Iterable[ProductOutcome]) -> list[tuple[str, int]]:
    """Count by reason what is published with an older picture, or with what is known of it."""
    although = (outcome for outcome in outcomes if outcome.status is Status.OK and outcome.reasons)
    return Counter(first_reason(each) for each in although if Reason.AWAITING_CONSENT not in each.reasons).most_common()


def hit_line(hit: Match) -> str:
    """Return what a person reads of one search hit."""
    payload = hit.payload
    price = f"{payload['price']:.2f} {payload['currency']}"
    return f"{hit.score:.3f}  {payload['title'][:40]:<40}  {price:>12}  {payload['store_id']} {payload['external_id']}"


def store_lines(store_id: str, report: Mapping[str, Any], told: InSinks) -> list[str]:
    """Return what a person reads of one store's run."""
    did = ", ".join(
        f"{report[name]:,} {words}"
        for name, words in (
            ("fetched", "fetched"),
            ("decoded", "decoded"),
            ("embedded", "embedded"),
            ("rows_written", "rows written"),
            ("points_written", "points written"),
        )
    )
    refused, failed = (sum(report[name].values()) for name in ("rejected", "failed"))
    again = f", {failed:,} to be tried again" if failed else ""
    lines = [
        f"{store_id}",
        f"  {report['products']:,} products: {told.rows:,} rows, {told.points:,} points, {refused:,} refused{again}",
        f"  this run: {did}, in {sum(report['seconds'].values()):.1f} s",
    ]
    changed = [
        f"{report[name]:,} {words}"
        for name, words in (
            ("not_modified", "pictures confirmed unchanged"),
            ("payloads_written", "payloads written"),
            ("rows_archived", "rows archived"),
            ("points_deleted", "points deleted"),
        )
        if report[name]
    ]
    if changed:
        lines.append(f"            {', '.join(changed)}")
    for status, words in (("rejected", ""), ("failed", "for now: ")):
        lines += [f"  {count:>5,} {words}{_text(reason)}  [{reason}]" for reason, count in report[status].items()]
    lines += [
        f"  {count:>5,} published all the same: {_text(reason)}  [{reason}]"
        for reason, count in _shown_although(told.outcomes)
    ]
    return lines


def _text(reason: str) -> str:
    return Reason(reason).text if reason in set(Reason) else "a stage it needs has not come to it yet"


def outcome_lines(outcome: ProductOutcome) -> list[str]:
    """Return in plain words how far one product came, and what happens next."""
    where = {
        "raw_products": "at the shop's own data (raw_products)",
        "fetched_images": "when its picture was fetched (fetched_images)",
        "quality_passed": "at the quality gate (quality_passed)",
        "embeddings": "when its picture was embedded (embeddings)",
    }
    title = f"{outcome.external_id}  {outcome.title}".rstrip()
    reasons = "; ".join(reason.text for reason in outcome.reasons)
    if outcome.status is Status.OK:
        how = "with an older picture"
        if Reason.UNREADABLE in outcome.reasons:
            how = "with what is known of it"
        if Reason.AWAITING_CONSENT in outcome.reasons:
            how = "until you agree to its removal"
        lines = [title, "  it is published" + (f", {how}: {reasons}" if reasons else "")]
    else:
        how = "refused" if outcome.status is Status.REJECTED else "held up for now"
        lines = [title, f"  {how} {where.get(outcome.stage, outcome.stage)}: {reasons or outcome.detail or 'waiting'}"]
    if outcome.detail and reasons:
        lines.append(f"  {outcome.detail}")
    if outcome.next_retry_at is not None:
        again = "tried" if outcome.status is Status.FAILED else "looked at"
        times = f" (attempt {outcome.attempts + 1})" if outcome.attempts else ""
        lines.append(f"  {again} again after {outcome.next_retry_at:%Y-%m-%d %H:%M} UTC{times}")
    sinks = [name for name, there in (("PostgreSQL", outcome.in_postgres), ("Qdrant", outcome.in_qdrant)) if there]
    lines.append(f"  in {' and '.join(sinks)}" if sinks else "  in neither PostgreSQL nor Qdrant")
    return lines
