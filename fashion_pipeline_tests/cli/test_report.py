from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from fashion_pipeline.cli.report import COUNTS, InSinks, outcome_lines, status_lines, store_lines, store_report
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.stores import Store

PUBLISHED = ProductOutcome(
    store_id="atelier-nord",
    external_id="12",
    product_id=uuid4(),
    title="Linen dress",
    stage="postgres_products",
    status=Status.OK,
    in_postgres=True,
    in_qdrant=True,
)
REFUSED = replace(
    PUBLISHED,
    external_id="13",
    stage="quality_passed",
    status=Status.REJECTED,
    reasons=(Reason.TOO_SMALL, Reason.TOO_BLURRY),
    detail="320x400, 41.0",
    in_postgres=False,
    in_qdrant=False,
)
FAILED = replace(
    REFUSED,
    external_id="14",
    stage="fetched_images",
    status=Status.FAILED,
    reasons=(Reason.RATE_LIMITED,),
    detail="HTTP 429",
    attempts=2,
    next_retry_at=datetime(2026, 11, 21, 4, 30, tzinfo=UTC),
)
GONE = replace(REFUSED, external_id="15", stage="raw_products", reasons=(Reason.TRASHED,))
PURGED = replace(GONE, external_id="17", reasons=(Reason.PURGED,))
WAITING = replace(FAILED, external_id="16", stage="embeddings", reasons=(), detail="its image has no vector yet")
EVERY = (PUBLISHED, REFUSED, FAILED, GONE, PURGED, WAITING)


def test_each_product_counts_once_under_its_first_reason() -> None:
    """``products`` counts what the shop has and was not purged here; the reason maps add up to what is not published."""
    report = store_report({"fetched_images": {"fetched": 3}}, {"fetched_images": 1.5}, EVERY)
    assert list(report) == ["products", *COUNTS, "rejected", "failed", "seconds"]
    assert report["products"] == 4
    assert report["rejected"] == {"too_small": 1}
    assert report["failed"] == {"rate_limited": 1, "waiting": 1}
    assert (report["fetched"], report["embedded"], report["seconds"]) == (3, 0, {"fetched_images": 1.5})


def test_a_person_reads_the_reasons_in_plain_words() -> None:
    """The summary of a run names every reason with its count, the ones that are tried again apart."""
    stored = InSinks(1, 1, EVERY)
    text = "\n".join(store_lines("atelier-nord", store_report({}, {}, EVERY), stored))
    assert "4 products: 1 rows, 1 points, 1 rejected, 2 to be retried" in text
    assert f"1 {Reason.TOO_SMALL.text}  [too_small]" in text
    assert f"1 to be retried: {Reason.RATE_LIMITED.text}  [rate_limited]" in text
    assert "[waiting]" in text


def test_a_rejected_product_shows_its_stage_and_its_reasons() -> None:
    """The lines name the stage, every reason, the measured values, and the sinks."""
    assert outcome_lines(PUBLISHED) == ["12  Linen dress", "  published", "  in PostgreSQL and Qdrant"]
    lines = "\n".join(outcome_lines(REFUSED))
    assert "rejected at the quality gate (quality_passed)" in lines
    assert f"{Reason.TOO_SMALL.text}; {Reason.TOO_BLURRY.text}" in lines
    assert "320x400, 41.0" in lines
    assert "in neither PostgreSQL nor Qdrant" in lines


def test_what_is_tried_again_says_when() -> None:
    """A failure names the time of its next attempt, and which one it will be."""
    assert "  next retry after 2026-11-21 04:30 UTC (attempt 3)" in outcome_lines(FAILED)


def test_a_published_product_with_an_older_image_says_so() -> None:
    """A stale product is published, and says what is wrong with its new image."""
    stale = replace(PUBLISHED, reasons=(Reason.HTTP_ERROR,), detail="HTTP 503", attempts=1)
    assert f"  published with an older image: {Reason.HTTP_ERROR.text}" in outcome_lines(stale)


def test_a_published_product_that_is_not_read_at_present_says_so() -> None:
    """A product of which the shop shows only a part is published with what is known of it."""
    unread = replace(PUBLISHED, reasons=(Reason.UNREADABLE,), detail="its variations cannot be read: 500", attempts=1)
    lines = outcome_lines(unread)
    assert lines[1] == f"  published with its last known data: {Reason.UNREADABLE.text}"
    assert lines[2] == "  its variations cannot be read: 500"


def test_a_published_product_whose_removal_is_held_back_says_so() -> None:
    """It is published until a person agrees, and the reason names what they would agree to."""
    held = replace(PUBLISHED, reasons=(Reason.AWAITING_CONSENT,), detail="the shop lists no product")
    assert f"  published until you consent to its removal: {Reason.AWAITING_CONSENT.text}" in outcome_lines(held)


STALE = replace(PUBLISHED, reasons=(Reason.HTTP_ERROR,), attempts=1)


def test_products_published_despite_a_problem_are_counted() -> None:
    """A store full of older images is visible in the report of a run, and in its status."""
    stored = InSinks(2, 2, (PUBLISHED, STALE))
    assert "  1 published despite: " + Reason.HTTP_ERROR.text in "\n".join(
        store_lines("atelier-nord", store_report({}, {}, stored.outcomes), stored)
    )
    assert status_lines("atelier-nord", stored, store=None)[1] == "       1 published despite: http_error"


def test_status_says_what_a_store_without_products_waits_for() -> None:
    """One that has not run yet, one that was purged, and one whose removals wait name the command that comes next."""
    store = Store.model_construct(id="a", paused=False)
    assert "ingest a" in status_lines("a", InSinks(), store=store)[0]
    assert "purge a --undo" in status_lines("a", InSinks(purged=True), store=store)[0]
    assert "interrupted" not in status_lines("a", InSinks(purged=True), store=store)[0]
    halfway = status_lines("a", InSinks(2, 1, purged=True), store=store)[0]
    assert "its purge was interrupted: run fashion-pipeline purge a to finish it" in halfway
    assert "differ" not in halfway
    held = replace(PUBLISHED, reasons=(Reason.AWAITING_CONSENT,))
    assert "ingest a --allow-removals" in status_lines("a", InSinks(1, 1, (held,)), store=store)[-1]


def test_status_says_when_the_sinks_differ_and_when_a_store_is_detached() -> None:
    """A row without its point, and a store that is not in stores.yaml, are marked."""
    first = status_lines("atelier-nord", InSinks(2, 1, EVERY), store=None)[0]
    assert "PostgreSQL and Qdrant differ" in first
    assert "not in stores.yaml" in first
