from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import make_url

from fashion_pipeline.defs.runs import INSTANCE

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
DEPLOYED = CHECKOUT / "deploy" / "dagster.yaml"


def test_the_deployed_instance_works_on_a_postgresql_server(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deploy/dagster.yaml opens Dagster's tables with psycopg 2, from its variables, with its limits."""
    url = make_url(empty_database_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", url.host or "")
    monkeypatch.setenv("DAGSTER_POSTGRES_PORT", str(url.port or 5432))
    monkeypatch.setenv("DAGSTER_POSTGRES_USER", url.username or "")
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", url.password or "")
    monkeypatch.setenv("DAGSTER_POSTGRES_DB", url.database or "")
    if url.host is None:  # the embedded server has a socket only, which libpq finds here
        monkeypatch.setenv("PGHOST", str(url.query["host"]))
    shutil.copy(DEPLOYED, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_storage.postgres_url.startswith("postgresql+psycopg2://")  # type: ignore[attr-defined]
        instance.add_dynamic_partitions("stores", ["atelier-nord"])
        assert instance.get_dynamic_partitions("stores") == ["atelier-nord"]
        assert instance.get_runs() == []
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().run_queue_config is not None


def test_the_deployed_instance_has_the_limits_of_the_local_one() -> None:
    """What protects a store and the GPU is the same with ``dev`` as in a deployment."""
    deployed, local = yaml.safe_load(DEPLOYED.read_text("utf-8")), yaml.safe_load(INSTANCE)
    assert {name: deployed[name] for name in local} == local


def test_no_pool_has_a_limit() -> None:
    """A run that waits for a pool's slot keeps a processor busy, and a killed command line keeps the slot."""
    assert yaml.safe_load(INSTANCE)["concurrency"]["pools"].keys() == {"granularity"}
