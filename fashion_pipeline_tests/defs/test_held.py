"""Answers of a shop that would remove much by mistake: nothing leaves, outcome and check say why, consent ends it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.runs import run_store, sync_partitions
from fashion_pipeline.errors import ShopAuthError, ShopUnavailable
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline_tests.pipeline import Pipeline, outcome, published

INGEST = defs.resolve_job_def("ingest_store")


class Checked(dict[str, str]):
    """What each check of a run that did not pass said, by name; ``error`` is what ended the run."""

    error: BaseException | None = None
    told: frozenset[str] = frozenset()


def run(pipeline: Pipeline, **options: bool) -> Checked:
    """Run the store, and return its checks."""
    found = Checked()
    with dg.DagsterInstance.ephemeral() as opened:
        sync_partitions(opened, [pipeline.store_id])
        found.error = run_store(opened, INGEST, pipeline.store_id, **options).error
        (run_id,) = [each.run_id for each in opened.get_runs()]
        records = opened.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    evaluations: list[Any] = [
        record.event_log_entry.dagster_event.event_specific_data
        for record in records
        if record.event_log_entry.dagster_event
    ]
    assert all(each.severity is dg.AssetCheckSeverity.WARN for each in evaluations)
    assert {each.partition for each in evaluations} == {pipeline.store_id}, "each store has a result of its own"
    found.told = frozenset(each.check_name for each in evaluations)
    found.update({each.check_name: str(each.description) for each in evaluations if not each.passed})
    return found


def detail(pipeline: Pipeline, external_id: str) -> str:
    (found,) = (told.detail for told in pipeline.outcomes() if told.external_id == external_id)
    return str(found)


def advice(pipeline: Pipeline) -> str:
    return f"fashion-pipeline ingest {pipeline.store_id} --allow-removals"


def test_a_shop_that_is_well_passes_every_check(pipeline: Pipeline) -> None:
    """All five are told by a run, and none of them warns of what is merely refused."""
    checks = run(pipeline, sweep=True)
    assert checks.told == {"listing_complete", "vectors_sound", "removals_held", "left_to_retry", "sinks_agree"}
    assert (checks.error, checks) == (None, {})


def test_a_listing_that_lost_a_quarter_of_its_rows(pipeline: Pipeline) -> None:
    """It claims to be complete, and the ids answer 404: so many at once wait for a person all the same."""
    run(pipeline)
    before, lost = pipeline.held(), published(pipeline)[:4]
    for external_id in lost:
        pipeline.shop("force_delete", id=int(external_id))
    checks = run(pipeline, sweep=True)
    assert pipeline.held() == before
    assert outcome(pipeline, lost[0]) == ("raw_products", "rejected", ["awaiting_consent", "deleted"], True, True)
    assert list(checks) == ["removals_held"]
    assert "4 products would be removed, and are kept: so many left at once" in checks["removals_held"]
    assert advice(pipeline) in checks["removals_held"]
    told = pipeline.outcomes()
    pipeline.shop("faults", faults=[{"name": "maintenance"}])
    assert run(pipeline).error is not None
    assert pipeline.outcomes() == told  # they wait, whatever becomes of a run
    pipeline.shop("faults", faults=[])
    assert run(pipeline, allow_removals=True) == {}
    assert pipeline.held().archived == set(lost)
    assert outcome(pipeline, lost[0])[2:] == (["deleted"], False, False)


def test_a_sweep_cut_by_a_500_on_page_7(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before it counts for nothing; the run fails, its check says what it means, the next sweep concludes."""

    async def no_wait(_: SystemClock, seconds: float) -> None:
        assert seconds >= 0

    monkeypatch.setattr(SystemClock, "sleep", no_wait)
    for number in range(600):
        pipeline.shop("add", fields={"name": f"Without picture {number}"})
    run(pipeline)
    before, lost = pipeline.held(), published(pipeline)[0]
    pipeline.shop("force_delete", id=int(lost))
    down = [{"name": "database_down", "query": {"page": "7"}}, {"name": "database_down", "path": "/data/currencies"}]
    pipeline.shop("faults", faults=down)
    checks = run(pipeline, sweep=True)
    assert isinstance(checks.error, ShopUnavailable)
    assert pipeline.held() == before
    assert outcome(pipeline, lost) == ("postgres_products", "ok", [], True, True)
    assert list(checks) == ["listing_complete"]
    assert "was not read to its end" in checks["listing_complete"]
    assert "answered 500" in checks["listing_complete"]
    assert "every product stays as it was" in checks["listing_complete"]
    pipeline.shop("faults", faults=[])
    assert run(pipeline, sweep=True) == {}
    assert pipeline.held().archived == {lost}


def test_a_shop_of_a_few_products_that_answers_with_none(pipeline: Pipeline) -> None:
    """An empty listing is no evidence, whatever the ids answer; the published products say what they wait for."""
    run(pipeline)
    before = pipeline.held()
    for told in pipeline.outcomes():
        if told.reasons[:1] != ("trashed",):
            pipeline.shop("force_delete", id=int(told.external_id))
    checks = run(pipeline, sweep=True)
    assert pipeline.held() == before
    first = published(pipeline)[0]
    assert outcome(pipeline, first) == ("postgres_products", "ok", ["awaiting_consent"], True, True)
    assert detail(pipeline, first).startswith("the shop lists no product, ")
    assert set(checks) == {"listing_complete", "removals_held"}
    assert all("the shop lists no product, " in said for said in checks.values())
    assert advice(pipeline) in checks["removals_held"]
    assert run(pipeline) == checks
    assert pipeline.held() == before
    assert run(pipeline, sweep=True, allow_removals=True) == {}
    assert pipeline.held().archived == set(before.rows)


def test_products_hidden_by_permission(pipeline: Pipeline) -> None:
    """They are counted and not shown, by the listing and by their ids: no consent makes evidence of that."""
    run(pipeline)
    before, hidden = pipeline.held(), published(pipeline)[:5]
    pipeline.shop("set", hidden=[int(external_id) for external_id in hidden])
    for allow_removals in (False, True):
        checks = run(pipeline, sweep=True, allow_removals=allow_removals)
        assert pipeline.held() == before
        assert outcome(pipeline, hidden[0])[1:] == ("ok", ["unreadable"], True, True)
        assert "absent from the listing" in detail(pipeline, hidden[0])
        assert set(checks) == {"listing_complete", "left_to_retry"}
        assert "the shop does not let 5 products be read: what is known of them is kept" in checks["listing_complete"]
        assert "5 products need a retry" in checks["left_to_retry"]
    pipeline.shop("set", hidden=[])
    assert run(pipeline, sweep=True) == {}


def test_a_changed_address_of_the_store(pipeline: Pipeline) -> None:
    """What is not found again at a new address may be another shop's matter: even a few products wait for consent."""
    run(pipeline)
    before, lost = pipeline.held(), published(pipeline)[:2]
    there = pipeline.server.shop_url(pipeline.store_id).replace("127.0.0.1", "localhost")
    pipeline.describe(url=there, allow_private_hosts=["127.0.0.1", "localhost"])
    for external_id in lost:
        pipeline.shop("force_delete", id=int(external_id))
    checks = run(pipeline)
    assert pipeline.held() == before
    assert outcome(pipeline, lost[0]) == ("postgres_products", "ok", ["awaiting_consent"], True, True)
    assert f"to {there}, and 2 products would be removed" in detail(pipeline, lost[0])
    assert set(checks) == {"listing_complete", "removals_held"}
    assert all(f"to {there}, and 2 products would be removed" in said for said in checks.values())
    assert advice(pipeline) in checks["removals_held"]
    assert run(pipeline, allow_removals=True) == {}
    assert pipeline.held().archived == set(lost)


def test_a_shop_that_refuses_its_keys_is_the_check_of_its_own_store(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 401 the store's check says what happened; no other store's result is replaced by it."""
    monkeypatch.setenv("STORE_SECRET", "cs_wrong")
    checks = run(pipeline)
    assert isinstance(checks.error, ShopAuthError)
    assert checks.told == {"listing_complete"}
    assert "answered 401" in checks["listing_complete"]
