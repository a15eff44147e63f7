from __future__ import annotations

import base64
import resource
import shutil
import subprocess
import sys
from os import environ

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import make_url

from fashion_pipeline.errors import DatabaseUnavailable
from fashion_pipeline_tests.conftest import Make
from fashion_pipeline_tests.images.drawing import encode
from fashion_pipeline_tests.pipeline import Pipeline, at_progress, did
from fashion_pipeline_tests.wire import Wire

ROOM = 2_000_000

HOLD = """
import sys
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home
with file_lock(Home(sys.argv[1]).lock("model-auto"), timeout_s=0, what="the model's turn"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_meets_a_full_disk_says_so_and_the_next_one_goes_on(pipeline: Pipeline) -> None:
    """The run fails with the bytes it needed, what was read before stays, and with room the product arrives."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), np.uint8)
    picture = encode(Image.fromarray(noise), "PNG")
    assert len(picture) > ROOM
    pipeline.describe(quality={"gate": "classic"})  # noise has no edges
    pipeline.report()
    before = pipeline.held()
    url = pipeline.shop("upload", path="large.png", content=base64.b64encode(picture).decode())["url"]
    added = pipeline.shop("add", fields={"name": "Large", "price": "9", "images": [url]})["id"]
    ran = subprocess.run(
        [sys.executable, "-m", "fashion_pipeline.cli", "ingest", pipeline.store_id],
        env={**environ, **pipeline.environment},
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM)),
    )
    assert ran.returncode == 1
    assert f"no space left for {len(picture):,} bytes" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert pipeline.held() == before
    pipeline.report()
    assert pipeline.held().rows.keys() - before.rows.keys() == {str(added)}


def test_damaged_tables_are_moved_aside_and_made_again(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    """Cut short, foreign, empty or of another stage: the run says where the file lies now, and leaves what it found."""
    pipeline.report()
    before = pipeline.held()
    tables = {path.parent.name: path for path in (pipeline.folder / "home" / "tables").glob("*/*.parquet")}
    whole = tables["embeddings"].read_bytes()
    damage = {
        "raw_products": tables["raw_products"].read_bytes()[:-9],
        "fetched_images": b"<html>",
        "quality_passed": whole,
        "embeddings": b"",
    }
    for asset, content in damage.items():
        tables[asset].write_bytes(content)
    pipeline.report()
    assert pipeline.held() == before
    for asset, path in tables.items():
        assert path.with_name(f"{path.name}.damaged").read_bytes() == damage[asset]
        assert f"it lies at {path}.damaged now" in caplog.text
    assert did(pipeline.report(sweep=True)) == {}


def test_a_blob_with_wrong_bytes_is_fetched_again(pipeline: Pipeline) -> None:
    """Needed once more, it is found out, removed and asked for; until then its product stays as it was."""
    pipeline.report()
    before = pipeline.held()
    sha256 = next(iter(before.rows.values()))[3]
    pipeline.home.blobs.path(sha256).write_bytes(b"something else")
    shutil.rmtree(pipeline.folder / "home" / "vectors")
    assert pipeline.report()["embedded"] == len(before.rows) - 1
    assert pipeline.held() == before
    assert did(pipeline.report()) == {"fetched": 1, "embedded": 1}
    assert pipeline.held() == before


def test_postgres_that_goes_away_between_two_steps_ends_the_run_and_the_next_goes_on(
    make_pipeline: Make, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the pictures, or between the two sinks: one sentence, and the next run leaves both as the shop implies."""
    url = make_url(database_url)
    socket = url.query.get("host")
    wire = Wire(f"{socket}/.s.PGSQL.{url.port or 5432}" if socket else (str(url.host), url.port or 5432))
    through = url.set(host="127.0.0.1", port=wire.port, query={}).render_as_string(hide_password=False)
    pipeline = make_pipeline(through)
    for name, value in pipeline.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")
    for asset, finished in (("fetched_images", False), ("postgres_products", True)):
        with at_progress(wire.cut, asset=asset, finished=finished):
            error = pipeline.run().error
        assert isinstance(error, DatabaseUnavailable), error
        assert "the run lost its lock" in str(error)
        wire.mend()
    pipeline.report()
    held = pipeline.held()
    assert held.rows.keys() == held.points.keys() == {it.external_id for it in pipeline.outcomes() if it.in_qdrant}
    assert len(held.rows) > 3
    assert did(pipeline.report(sweep=True)) == {}
    wire.close()


def test_a_run_that_is_killed_while_it_embeds_frees_the_model_for_another(pipeline: Pipeline) -> None:
    """The other one has said for whom it waits, without asking Dagster again and again, and then goes on."""
    command = [sys.executable, "-c", HOLD, str(pipeline.home.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as embedding:
        assert embedding.stdout is not None
        assert embedding.stdout.readline() == "held\n"
        with pipeline.started("ingest", pipeline.store_id) as waiting:
            assert waiting.stderr is not None
            assert any("another run is embedding on this machine" in line for line in waiting.stderr)
            assert waiting.poll() is None
            embedding.kill()
            waiting.communicate()
            assert waiting.returncode == 0
    assert len(pipeline.held().rows) == len(pipeline.held().points) > 0
