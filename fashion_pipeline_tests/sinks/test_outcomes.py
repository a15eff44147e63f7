"""The outcomes of a store's products in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.outcomes import Reason, Status, rejected
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.outcomes import mark_in_qdrant, publish_outcomes, read_outcomes
from fashion_pipeline.sinks.postgres.rows import apply_rows
from fashion_pipeline_tests.builders import NOW, sha, shop

STORE = "atelier-nord"
LATER = NOW + timedelta(hours=1)


async def test_outcomes_are_published_by_difference(engine: AsyncEngine, tmp_path: Path) -> None:
    """Each sink's column says what it holds, unchanged outcomes cost no write, unknown products leave."""
    made = shop(tmp_path, 3)
    made.judged[sha("2-0")] = rejected(Reason.TOO_BLURRY, Reason.TOO_SMALL)
    desired = made.desired()
    counts = await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)
    arguments: dict[str, Any] = {"store_id": STORE, "outcomes": desired.outcomes, "withheld": counts.withheld}
    assert await publish_outcomes(engine, **arguments, now=NOW) == 3
    assert await publish_outcomes(engine, **arguments, now=LATER) == 0
    assert await mark_in_qdrant(engine, store_id=STORE, present=[product_id(STORE, "1")]) == 1
    found = await read_outcomes(engine, store_id=STORE)
    assert [(one.in_postgres, one.in_qdrant) for one in found] == [(True, True), (False, False), (True, False)]
    assert found[1].reasons == (Reason.TOO_BLURRY, Reason.TOO_SMALL)
    assert found[1].status is Status.REJECTED
    assert await read_outcomes(engine, store_id=STORE, external_id="3") == (found[2],)
    del made.products["3"]
    assert await publish_outcomes(engine, store_id=STORE, outcomes=made.desired().outcomes, now=LATER) == 1


async def test_withheld_products_await_consent_in_their_outcome(engine: AsyncEngine, tmp_path: Path) -> None:
    """The outcome names the reason, and that the row is still there."""
    made = shop(tmp_path, 10)
    await apply_rows(engine, store_id=STORE, desired=made.desired(), now=NOW)
    for number in range(1, 9):
        made.judged[sha(f"{number}-0")] = rejected(Reason.TOO_SMALL)
    desired = made.desired()
    counts = await apply_rows(engine, store_id=STORE, desired=desired, now=LATER)
    await publish_outcomes(engine, store_id=STORE, outcomes=desired.outcomes, withheld=counts.withheld, now=LATER)
    (outcome,) = await read_outcomes(engine, store_id=STORE, external_id="1")
    assert outcome.reasons == (Reason.AWAITING_CONSENT, Reason.TOO_SMALL)
    assert outcome.in_postgres is True
