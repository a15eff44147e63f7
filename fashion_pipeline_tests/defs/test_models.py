"""Another model, told by whole runs: what readers find until it is complete, and a change in the middle of a run."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS, alias_target
from fashion_pipeline_tests.builders import another_checkpoint
from fashion_pipeline_tests.conftest import Make
from fashion_pipeline_tests.images.drawing import good
from fashion_pipeline_tests.pipeline import Pipeline, at_progress


def shown(pipeline: Pipeline) -> str | None:
    """Return the collection that readers see."""
    with vector_store(Settings.read(), pipeline.home) as client:
        live = alias_target(client)
        return None if live is None else live.name


def found(pipeline: Pipeline) -> dict[str, str]:
    """Return the fingerprint of every point that readers find of a store, by external id."""
    with vector_store(Settings.read(), pipeline.home) as client:
        records, _ = client.scroll(ALIAS, limit=1000, with_payload=True)
    payloads = [record.payload or {} for record in records]
    return {
        str(payload["external_id"]): payload["fingerprint"]
        for payload in payloads
        if payload["store_id"] == pipeline.store_id
    }


@pytest.fixture
def both(
    pipeline: Pipeline, make_pipeline: Make, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Pipeline, Pipeline]:
    """Return two stores of one home, both in step with a first model, whose weights are the test's own."""
    monkeypatch.setenv("FASHION_MODEL", another_checkpoint(model, tmp_path / "first", 1.0))
    second = make_pipeline(pipeline.database_url)
    other = json.loads((pipeline.folder / "stores.yaml").read_text())["stores"][0]
    pipeline.describe()
    own = json.loads((pipeline.folder / "stores.yaml").read_text())["stores"][0]
    other |= {"consumer_key": "${SECOND_KEY}", "consumer_secret": "${SECOND_SECRET}"}
    (pipeline.folder / "stores.yaml").write_text(json.dumps({"stores": [own, other]}))
    monkeypatch.setenv("SECOND_KEY", second.environment["STORE_KEY"])
    monkeypatch.setenv("SECOND_SECRET", second.environment["STORE_SECRET"])
    pipeline.report()
    second.report()
    return pipeline, second


def test_readers_of_the_old_model_find_what_is_new_while_another_is_built(
    both: tuple[Pipeline, Pipeline],
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A new picture gets vectors of both models; without the old weights a new product waits until the alias moves."""
    pipeline, second = both
    old, before = str(shown(pipeline)), found(pipeline)
    monkeypatch.setenv("FASHION_MODEL", another_checkpoint(model, tmp_path / "another"))
    one = add(pipeline, seed=901)
    assert pipeline.report()["points_written"] == len(before) + 1
    assert shown(pipeline) == old
    assert found(pipeline) == dict.fromkeys([*before, one], old.rpartition("_")[2])
    assert "weights are unavailable" not in caplog.text
    shutil.rmtree(tmp_path / "first")
    late = add(pipeline, seed=902)
    assert pipeline.report()["points_written"] == 1
    assert "whose weights are unavailable; new products appear once" in caplog.text
    assert found(pipeline).keys() == {*before, one}
    second.report()
    assert shown(pipeline) != old
    assert found(pipeline).keys() == {*before, one, late}


def test_a_model_that_readers_have_left_is_not_complete_by_what_it_had(
    both: tuple[Pipeline, Pipeline], model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the first model again, readers follow once every store was run: until then what left stays out of search."""
    pipeline, second = both
    first = shown(pipeline)
    monkeypatch.setenv("FASHION_MODEL", another_checkpoint(model, tmp_path / "another"))
    pipeline.report()
    second.report()
    assert shown(pipeline) != first
    gone = min(found(second))
    second.shop("trash", id=int(gone))
    second.report()
    monkeypatch.setenv("FASHION_MODEL", f"local-dir:{tmp_path / 'first'}")
    pipeline.report()
    assert shown(pipeline) != first
    assert gone not in found(second)
    assert second.report()["embedded"] == 0
    assert shown(pipeline) == first
    assert gone not in found(second)


def add(pipeline: Pipeline, *, seed: int) -> str:
    """Add a product whose picture is nobody else's, and return its id."""
    content = base64.b64encode(good(seed=seed)).decode()
    url = pipeline.shop("upload", path=f"{seed}.jpg", content=content)["url"]
    return str(pipeline.shop("add", fields={"name": f"New {seed}", "price": "5", "images": [url]})["id"])


def test_a_run_keeps_the_model_it_began_with(
    pipeline: Pipeline, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A FASHION_MODEL that changes in the middle of a run is the next run's; readers see the one that is complete."""
    pipeline.report()
    old, before = shown(pipeline), found(pipeline)
    new = another_checkpoint(model, tmp_path / "another")
    added = add(pipeline, seed=903)

    with at_progress(lambda: monkeypatch.setenv("FASHION_MODEL", new), asset="embeddings"):
        pipeline.report()
    assert shown(pipeline) == old
    assert found(pipeline) == {**before, added: next(iter(before.values()))}
    assert pipeline.report()["points_written"] == len(before) + 1
    assert shown(pipeline) != old
    assert found(pipeline).keys() == {*before, added}
