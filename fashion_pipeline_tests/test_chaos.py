from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS
from fashion_pipeline_tests.chaos import Chaos

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [20, 22])
@pytest.mark.parametrize("served", [False, True], ids=["local-qdrant", "qdrant-server"])
def test_whatever_is_killed_the_next_run_brings_both_sinks_into_step_with_the_shop(
    *, served: bool, seed: int, model: str, tmp_path: Path
) -> None:
    """After any run, PostgreSQL or Qdrant was ended at any moment, one more run leaves no difference to the shop."""
    with Chaos(tmp_path, model, seed=seed + served, qdrant_server=served) as chaos:
        rounds = [chaos.round() for _ in range(3)]
        assert [told.differences for told in rounds] == [[]] * 3
        live, refused = chaos.expected()
        assert live
        assert refused


def test_the_comparison_sees_every_kind_of_difference(model: str, tmp_path: Path) -> None:
    """A wrong row, a missing point, a wrong outcome and a change that was not read are each reported."""
    with Chaos(tmp_path, model, seed=3, qdrant_server=False) as chaos:
        assert chaos.round().differences == []
        live, _ = chaos.expected()
        row, point, outcome, product = sorted(live)[:4]
        with embedded_postgres(chaos.home) as url:
            with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
                connection.execute("UPDATE products SET title = 'other' WHERE external_id = %s", [row])
                connection.execute("UPDATE product_outcomes SET status = 'failed' WHERE external_id = %s", [outcome])
            with vector_store(Settings.read(), chaos.home) as client:
                points, _ = client.scroll(ALIAS, limit=1000)
                client.delete(ALIAS, [p.id for p in points if p.payload and p.payload["external_id"] == point])
            chaos.shop.edit_silently(int(product), name="renamed")
            told = {difference.partition(":")[0] for difference in chaos.compare()}
        assert told == {
            f"row {row}",
            f"row {product}",
            f"point {point}",
            f"point {product}",
            f"outcome {outcome}",
            "number of points",
        }
