"""What a run needs, opened from the settings."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fashion_pipeline.errors import WeightsUnavailable, WrongModel
from fashion_pipeline.services import Services
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.collections import (
    ModelCollection,
    alias_name,
    alias_target,
    collections,
    ensure_collection,
    move_alias,
)
from fashion_pipeline_tests.pipeline import Pipeline
from fashion_pipeline_tests.qdrant_server import QdrantServer

OTHER = "0" * 16


def services(folder: Path, **settings: object) -> Services:
    """Return services with a home of their own."""
    return Services(Settings.model_validate({"home": str(folder / "home"), "model": "tiny", **settings}))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[QdrantServer]:
    """Yield a Qdrant server."""
    started = QdrantServer(tmp_path / "qdrant")
    started.start()
    yield started
    started.kill()


def test_host_and_port_lead_to_the_server(server: QdrantServer, tmp_path: Path) -> None:
    """FASHION_QDRANT_HOST and _PORT open that server, not local mode; what is written is there under the URL."""
    by_host = services(tmp_path, qdrant_host="127.0.0.1", qdrant_port=server.port)
    with by_host.qdrant() as client:
        ensure_collection(client, OTHER, home_id="h")
    with services(tmp_path, qdrant_url=server.url).qdrant() as client:
        assert [each.fingerprint for each in collections(client)] == [OTHER]
    assert not (tmp_path / "home" / "qdrant").exists()


def test_a_collection_setting_names_alias_and_collections(tmp_path: Path) -> None:
    """Under another name nothing of the first name is seen or moved, and the other way round."""
    first, second = services(tmp_path), services(tmp_path, qdrant_collection="garments")
    with first.qdrant() as client:
        move_alias(client, ensure_collection(client, OTHER, home_id="h"))
    with second.qdrant() as client:
        assert alias_name(client) == "garments"
        assert (collections(client), alias_target(client)) == ((), None)
        move_alias(client, ensure_collection(client, OTHER, home_id="h"))
        assert alias_target(client) == ModelCollection(f"garments__{OTHER}", OTHER)
    with first.qdrant() as client:
        assert collections(client) == (ModelCollection(f"products__{OTHER}", OTHER),)
        assert alias_target(client) == ModelCollection(f"products__{OTHER}", OTHER)


async def test_the_configured_database_is_opened_for_this_home(database_url: str, tmp_path: Path) -> None:
    """The engine reaches the configured database; nothing embedded is started."""
    opened = services(tmp_path, database_url=database_url)
    async with opened.postgres() as engine, engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM products")) == 0
    with opened.postgres_url() as url:
        assert url == database_url


def test_a_model_is_loaded_only_as_what_it_was(tmp_path: Path) -> None:
    """A fingerprint that the files no longer have is refused, and so is a model whose origin is not known."""
    model = services(tmp_path).model()
    with pytest.raises(WrongModel, match=r"is model .* now, and was 0000000000000000"):
        model.encoder_of(OTHER, "tiny")
    with pytest.raises(WeightsUnavailable, match="origin of model 0000000000000000 is not recorded"):
        model.encoder_of(OTHER, "")
    assert model.chosen_at is None


def test_overrides_of_a_run_win_over_the_settings(tmp_path: Path) -> None:
    """What a run's configuration names is used; what it leaves out comes from the settings."""
    model = services(tmp_path, device="cuda", batch_size=8).model(device="cpu")
    assert (model.name, model.device, model.precision, model.batch_size) == ("tiny", "cpu", "auto", 8)


def test_services_and_stages_load_without_dagster_and_without_heavy_packages() -> None:
    """The command line and a service pay for what they use only."""
    heavy = ("dagster", "torch", "open_clip", "qdrant_client", "pyarrow", "sqlalchemy", "httpx", "PIL")
    program = f"import sys, fashion_pipeline.stages; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_status_shows_what_postgres_knows_while_qdrant_is_away(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead vector store hides nothing else: rows and outcomes are shown, points as unknown, exit code 1."""
    pipeline.report()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        pipeline.environment["FASHION_QDRANT_URL"] = f"http://127.0.0.1:{free.getsockname()[1]}"
    shown = pipeline.command("status")
    assert shown.returncode == 1
    assert f"{pipeline.store_id}: " in shown.stdout
    assert "unknown points" in shown.stdout
    assert "does not answer" in shown.stderr
    listed = pipeline.command("status", "--json")
    assert json.loads(listed.stdout)["stores"][pipeline.store_id]["points"] is None
