"""What commands report of stores: the JSON object for scripts, and lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import FashionError
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.redaction import printable
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from fashion_pipeline.sinks.qdrant.search import Match

# Key of the JSON object: the asset that counts it, and the count's name there.
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

_STAGES = {
    "raw_products": "in the shop's data (raw_products)",
    "fetched_images": "while fetching its image (fetched_images)",
    "quality_passed": "at the quality gate (quality_passed)",
    "embeddings": "while embedding its image (embeddings)",
}


def store_report(
    counts: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float], outcomes: Iterable[ProductOutcome]
) -> dict[str, Any]:
    """Return one store's part of the JSON object.

    Args:
        counts: by asset, the counts of this run; an asset that did not run is absent.
        seconds: by asset, its duration.
        outcomes: the current outcome of every product of the store.
    """
    present = [outcome for outcome in outcomes if not outcome.is_gone]
    report: dict[str, Any] = {"products": len(present)}
    for name, (asset, key) in COUNTS.items():
        report[name] = int(counts.get(asset, {}).get(key, 0))
    for status in (Status.REJECTED, Status.FAILED):
        report[status.value] = dict(
            Counter(first_reason(outcome) for outcome in present if outcome.status is status).most_common()
        )
    report["seconds"] = dict(seconds)
    return report


def first_reason(outcome: ProductOutcome) -> str:
    """Return the reason that a product is counted under; ``waiting`` if it only waits for an earlier stage."""
    return outcome.reasons[0].value if outcome.reasons else "waiting"


@dataclass(frozen=True, slots=True)
class InSinks:
    """What both sinks hold of one store: live rows, primary points (None: Qdrant did not answer), outcomes, and whether it was purged."""

    rows: int = 0
    points: int | None = None
    outcomes: tuple[ProductOutcome, ...] = ()
    purged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the store's part of ``status --json``."""
        report = store_report({}, {}, self.outcomes)
        current = {name: report[name] for name in ("products", "rejected", "failed")}
        return {"rows": self.rows, "points": self.points, **current}


def status_lines(
    store_id: str, stored: InSinks, *, store: Store | None, misconfigured: FashionError | None = None
) -> list[str]:
    """Return the lines that ``status`` prints for a store.

    Args:
        store: None if stores.yaml does not list it.
        misconfigured: the mistake in its entry of stores.yaml.
    """
    report = stored.as_json()
    notes = [*_configuration_notes(store, misconfigured), *_sink_notes(store_id, stored, listed=store is not None)]
    counts = f"{report['products']:,} products, {stored.rows:,} rows, {_number(stored.points)} points"
    lines = [" - ".join([f"{store_id}: {counts}", *notes])]
    for name in ("rejected", "failed"):
        lines += [f"  {count:>6,} {name}: {reason}" for reason, count in report[name].items()]
    lines += [f"  {count:>6,} published despite: {reason}" for reason, count in _published_despite(stored.outcomes)]
    return [*lines, *consent_lines(store_id, stored.outcomes)]


def _number(points: int | None) -> str:
    return "unknown" if points is None else f"{points:,}"


def _configuration_notes(store: Store | None, misconfigured: FashionError | None) -> Iterator[str]:
    if misconfigured is not None:
        yield f"misconfigured, not synced: {misconfigured}"
    elif store is None:
        yield "not in stores.yaml: no longer synced, data kept"
    elif store.paused:
        yield "paused"


def _sink_notes(store_id: str, stored: InSinks, *, listed: bool) -> Iterator[str]:
    if stored.purged and (stored.rows or stored.points):
        yield f"its purge was interrupted: run fashion-pipeline purge {store_id} to finish it"
    elif stored.points is not None and stored.rows != stored.points:
        yield "PostgreSQL and Qdrant differ: run the store again"
    if stored.purged:
        yield f"purged: not synced until fashion-pipeline purge {store_id} --undo"
    elif listed and not stored.outcomes:
        yield f"not synced yet: run fashion-pipeline ingest {store_id}"


def consent_lines(store_id: str, outcomes: Iterable[ProductOutcome]) -> list[str]:
    """Return how to consent to the removals that wait for it; nothing if none do."""
    waiting = sum(Reason.AWAITING_CONSENT in outcome.reasons for outcome in outcomes)
    consent = f"run fashion-pipeline ingest {store_id} --allow-removals"
    return [f"  {waiting:,} products wait for your consent to be removed; to agree, {consent}"] if waiting else []


def _published_despite(outcomes: Iterable[ProductOutcome]) -> list[tuple[str, int]]:
    """Count by reason the products that are published with an older image or with their last known data."""
    although = (outcome for outcome in outcomes if outcome.status is Status.OK and outcome.reasons)
    return Counter(first_reason(each) for each in although if Reason.AWAITING_CONSENT not in each.reasons).most_common()


def hit_line(hit: Match) -> str:
    """Return the line for one search result."""
    payload = hit.payload
    price = f"{payload['price']:.2f} {payload['currency']}"
    return f"{hit.score:.3f}  {printable(payload['title'], most=40):<40}  {price:>12}  {payload['store_id']} {payload['external_id']}"


def store_lines(store_id: str, report: Mapping[str, Any], stored: InSinks) -> list[str]:
    """Return the lines that report one store's run."""
    work = ", ".join(
        f"{report[name]:,} {words}"
        for name, words in (
            ("fetched", "fetched"),
            ("decoded", "decoded"),
            ("embedded", "embedded"),
            ("rows_written", "rows written"),
            ("points_written", "points written"),
        )
    )
    rejected, failed = (sum(report[name].values()) for name in ("rejected", "failed"))
    retries = f", {failed:,} to be retried" if failed else ""
    lines = [
        f"{store_id}",
        f"  {report['products']:,} products: {stored.rows:,} rows, {_number(stored.points)} points, {rejected:,} rejected{retries}",
        f"  this run: {work}, in {sum(report['seconds'].values()):.1f} s",
    ]
    changed = [
        f"{report[name]:,} {words}"
        for name, words in (
            ("not_modified", "images unchanged at their hosts"),
            ("payloads_written", "payloads written"),
            ("rows_archived", "rows archived"),
            ("points_deleted", "points deleted"),
        )
        if report[name]
    ]
    if changed:
        lines.append(f"            {', '.join(changed)}")
    for status, words in (("rejected", ""), ("failed", "to be retried: ")):
        lines += [f"  {count:>5,} {words}{_text(reason)}  [{reason}]" for reason, count in report[status].items()]
    lines += [
        f"  {count:>5,} published despite: {_text(reason)}  [{reason}]"
        for reason, count in _published_despite(stored.outcomes)
    ]
    return lines


def _text(reason: str) -> str:
    return Reason(reason).text if reason in set(Reason) else "waiting for an earlier stage"


def outcome_lines(outcome: ProductOutcome) -> list[str]:
    """Return the lines that explain one product's outcome, and what happens next."""
    title = f"{outcome.external_id}  {printable(outcome.title)}".rstrip()
    reasons = "; ".join(reason.text for reason in outcome.reasons)
    if outcome.status is Status.OK:
        lines = [title, f"  published {_publication(outcome)}: {reasons}" if reasons else "  published"]
    else:
        status = "rejected" if outcome.status is Status.REJECTED else "on hold"
        stage = _STAGES.get(outcome.stage, outcome.stage)
        lines = [title, f"  {status} {stage}: {reasons or outcome.detail or _text('waiting')}"]
    if outcome.detail and reasons:
        lines.append(f"  {outcome.detail}")
    if outcome.next_retry_at is not None:
        action = "retry" if outcome.status is Status.FAILED else "check"
        attempt = f" (attempt {outcome.attempts + 1})" if outcome.attempts else ""
        lines.append(f"  next {action} after {outcome.next_retry_at:%Y-%m-%d %H:%M} UTC{attempt}")
    sinks = [name for name, there in (("PostgreSQL", outcome.in_postgres), ("Qdrant", outcome.in_qdrant)) if there]
    lines.append(f"  in {' and '.join(sinks)}" if sinks else "  in neither PostgreSQL nor Qdrant")
    return lines


def _publication(outcome: ProductOutcome) -> str:
    """Say in which form a product with reasons is published."""
    if Reason.AWAITING_CONSENT in outcome.reasons:
        return "until you consent to its removal"
    if Reason.UNREADABLE in outcome.reasons:
        return "with its last known data"
    return "with an older image"
