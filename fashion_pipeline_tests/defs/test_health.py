from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import text

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.checks import stores_answer
from fashion_pipeline.defs.cursors import News
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.outcomes import publish_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.health import StoreHealth, remember_run
from fashion_pipeline_tests.pipeline import Pipeline

CHECKS = {
    "stores_configured",
    "stores_answer",
    "stores_read",
    "stores_listed",
    "stores_await_consent",
    "stores_left_to_retry",
    "stores_refuse_as_usual",
    "stores_agree",
}


def test_no_run_of_a_store_makes_what_the_checks_are_about() -> None:
    """The UI hides a check that is older than its asset's last run: these stand beside an asset that no run makes."""
    graph = defs.resolve_asset_graph()
    about = {check.asset_key for check in graph.asset_check_keys if check.name in CHECKS}
    assert about == {dg.AssetKey("all_stores")}
    assert not about & graph.materializable_asset_keys


def examined(pipeline: Pipeline) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Run the job; return by check what it warns of, and its metadata."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("health").execute_in_process(instance=instance)
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert found.keys() == CHECKS
    warned = {name: str(each.description) for name, each in found.items() if not each.passed}
    return warned, {name: {key: entry.value for key, entry in each.metadata.items()} for name, each in found.items()}


def stored(pipeline: Pipeline, store_id: str, *, refused: int, swept_days_ago: float, overdue: int = 0) -> None:
    """Let a store of ten products be read now, with so many refused, none on the days before, and swept back then."""
    now = datetime.now(UTC)

    def outcome(number: int) -> ProductOutcome:
        status = Status.REJECTED if number < refused else Status.FAILED if number < refused + overdue else Status.OK
        return ProductOutcome(
            store_id=store_id,
            external_id=str(number),
            product_id=product_id(store_id, str(number)),
            title=f"Product {number}",
            stage="fetched_images",
            status=status,
            reasons=() if status is Status.OK else (Reason.UNREACHABLE,),
            next_retry_at=now - timedelta(days=1) if status is Status.FAILED else None,
        )

    async def write() -> None:
        outcomes = [outcome(number) for number in range(10)]
        swept_at = now - timedelta(days=swept_days_ago)
        read = {"read_at": now.isoformat(), "swept_at": swept_at.isoformat()}
        async with database(pipeline.database_url) as engine:
            for day in range(4, 0, -1):
                before = [outcome(10)] * 10
                await remember_run(engine, store_id=store_id, read=read, outcomes=before, now=now - timedelta(day))
            await publish_outcomes(engine, store_id=store_id, outcomes=outcomes, now=now)

    asyncio.run(write())


def test_a_store_that_was_just_run_is_well(pipeline: Pipeline) -> None:
    """After a run nothing is warned of, and each table names the store; without any run, that it was never read."""
    warned, _ = examined(pipeline)
    assert list(warned) == ["stores_read"]
    pipeline.report()
    warned, metadata = examined(pipeline)
    assert warned == {}
    (read,) = metadata["stores_read"]["hours since a store was read, and swept"].records
    assert read.data == {"store": pipeline.store_id, "state": "listed", "read": 0.0, "swept": 0.0}
    (agrees,) = metadata["stores_agree"]["stores"].records
    assert agrees.data["rows"] == agrees.data["points"] == len(pipeline.held().rows)
    assert metadata["stores_left_to_retry"]["left"] == 0


def test_each_store_that_is_not_well_is_named(pipeline: Pipeline) -> None:
    """Old, refusing, late with retries, detached, paused, and different in both sinks: with what to do."""
    pipeline.report()
    described = json.loads((pipeline.folder / "stores.yaml").read_text())["stores"][0]
    more = [{**described, "id": "old"}, {**described, "id": "resting", "paused": True}]
    (pipeline.folder / "stores.yaml").write_text(json.dumps({"stores": [described, *more]}))
    stored(pipeline, "old", refused=2, swept_days_ago=3, overdue=1)
    stored(pipeline, "resting", refused=0, swept_days_ago=30)
    stored(pipeline, "left-behind", refused=0, swept_days_ago=1)

    async def archive() -> None:
        async with database(pipeline.database_url) as engine, engine.begin() as connection:
            await connection.execute(
                text("UPDATE products SET archived_at = now() WHERE id = (SELECT min(id::text) FROM products)::uuid")
            )

    asyncio.run(archive())
    warned, metadata = examined(pipeline)
    assert CHECKS - warned.keys() == {"stores_configured", "stores_answer", "stores_await_consent"}
    assert (
        "1 stores were not compared with their shop since their last but one sweep was due: old."
        in warned["stores_read"]
    )
    assert "1 stores left stores.yaml: left-behind." in warned["stores_listed"]
    assert metadata["stores_listed"]["paused"] == "resting"
    assert (
        "1 of 1 products to be tried again are more than an hour late, in 1 stores: old."
        in (warned["stores_left_to_retry"])
    )
    assert [row.data["product"] for row in metadata["stores_left_to_retry"]["sample"].records] == ["2"]
    assert "1 stores refuse clearly more of their products than usual: old." in warned["stores_refuse_as_usual"]
    assert f"PostgreSQL and Qdrant differ in 1 stores: {pipeline.store_id}." in warned["stores_agree"]


def test_a_misconfigured_store_is_amber_and_not_detached(pipeline: Pipeline) -> None:
    """Its mistake is named with file and line; what the sinks hold of it is still listed."""
    pipeline.report()
    pipeline.describe(currency="euros")
    warned, metadata = examined(pipeline)
    assert "stores.yaml:1: store" in warned["stores_configured"]
    assert "currency" in warned["stores_configured"]
    assert "stores_listed" not in warned
    assert [
        row.data["state"] for row in metadata["stores_read"]["hours since a store was read, and swept"].records
    ] == ["misconfigured"]


def test_waiting_for_consent_stays_in_sight(pipeline: Pipeline) -> None:
    """The check of all stores names the store and the number until a person has agreed."""
    pipeline.report()

    async def wait() -> None:
        statement = "UPDATE product_outcomes SET reasons = ARRAY['awaiting_consent'] WHERE status = 'ok'"
        async with database(pipeline.database_url) as engine, engine.begin() as connection:
            await connection.execute(text(statement))

    asyncio.run(wait())
    warned, _ = examined(pipeline)
    assert f"removals wait for consent in 1 stores: {pipeline.store_id}." in warned["stores_await_consent"]
    assert "--allow-removals" in warned["stores_await_consent"]


def test_a_first_run_that_refuses_most_is_reported() -> None:
    """Without a history nothing is usual: a share of 60 % is reported, of ten products at least."""
    assert StoreHealth(products=20, refused=17).jumped
    assert not StoreHealth(products=20, refused=9).jumped
    assert not StoreHealth(products=4, refused=4).jumped


def test_refused_keys_stay_red_when_the_job_runs(pipeline: Pipeline) -> None:
    """The job asks no shop: it repeats what the sensor saw last, from its cursor."""
    memory = News()
    memory.of(pipeline.store_id).kept_silent("HTTP 401", refused=True, now=datetime.now(UTC))
    assert not stores_answer(memory.silent(datetime.now(UTC))).passed
    assert stores_answer(memory.silent(datetime.now(UTC)), paused={pipeline.store_id}).passed
