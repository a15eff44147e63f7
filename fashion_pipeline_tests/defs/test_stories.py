"""The stories of the design, told by whole runs on a shop that changes and on parts that are lost."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.images import quality
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS, alias_target
from fashion_pipeline.sinks.qdrant.search import search
from fashion_pipeline_tests.conftest import Make, Server
from fashion_pipeline_tests.images.misbehaving import PROGRAM as MISBEHAVING
from fashion_pipeline_tests.images.misbehaving import Misdeed, misbehaving
from fashion_pipeline_tests.pipeline import Pipeline, did, outcome, published, rows


def trash(pipeline: Pipeline, external_ids: Iterable[str]) -> None:
    for external_id in external_ids:
        pipeline.shop("trash", id=int(external_id))


def test_a_new_picture_that_cannot_be_fetched_leaves_the_old_one_stale(pipeline: Pipeline) -> None:
    """The last good vector stays, row and outcome say that it is old, other changes pass, and a good picture ends it."""
    pipeline.report()
    before, (changed, *_), pictures = pipeline.held(), published(pipeline), pipeline.images()
    unwilling = f"{pipeline.server.shop_url(pipeline.store_id)}/wp-json/wc/v3/products"
    pipeline.shop("edit", id=int(changed), fields={"images": [unwilling], "price": "7.00"})
    assert did(pipeline.report()) == {"rows_written": 1, "payloads_written": 1}
    assert outcome(pipeline, changed) == ("postgres_products", "ok", ["http_error"], True, True)
    assert rows(pipeline, "stale, price::text, image_sha256")[changed] == (True, "7.00", before.rows[changed][3])
    assert did(pipeline.report()) == {}
    pipeline.shop("edit", id=int(changed), fields={"images": [pictures[changed]]})
    assert did(pipeline.report()) == {"fetched": 1, "rows_written": 1, "payloads_written": 1}
    assert outcome(pipeline, changed) == ("postgres_products", "ok", [], True, True)
    assert rows(pipeline, "stale")[changed] == (False,)


def test_a_new_picture_whose_decoder_fails_leaves_the_old_one_stale(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on, the last good vector stays, row and outcome say why, and it is not tried again before its time."""
    pipeline.report()
    before, (changed, *_), pictures = pipeline.held(), published(pipeline), pipeline.images()
    decoders = Decoders(1, deadline_s=0.5, program=MISBEHAVING)
    monkeypatch.setattr(quality, "decoders", lambda: decoders)
    content = base64.b64encode(misbehaving(Misdeed.HANG)).decode()
    bad = pipeline.shop("upload", path="2026/11/bad.jpg", content=content)["url"]
    pipeline.shop("edit", id=int(changed), fields={"images": [bad]})
    assert did(pipeline.report()) == {"fetched": 1, "decoded": 1, "rows_written": 1, "payloads_written": 1}
    assert outcome(pipeline, changed) == ("postgres_products", "ok", ["decoder_timeout"], True, True)
    assert rows(pipeline, "stale, image_sha256")[changed] == (True, before.rows[changed][3])
    assert did(pipeline.report()) == {}
    pipeline.shop("edit", id=int(changed), fields={"images": [pictures[changed]]})
    assert did(pipeline.report()) == {"fetched": 1, "rows_written": 1, "payloads_written": 1}
    assert (outcome(pipeline, changed)[2], rows(pipeline, "stale")[changed]) == ([], (False,))
    decoders.close()


def test_a_new_picture_refused_by_the_gate_takes_its_product_out_until_a_good_one_comes(pipeline: Pipeline) -> None:
    """The product leaves both sinks and says why; it comes back with the id and the date it had."""
    pipeline.report()
    (changed, *_), pictures, known = published(pipeline), pipeline.images(), rows(pipeline, "id, created_at")
    content = base64.b64encode(b"no picture" * 6000).decode()
    bad = pipeline.shop("upload", path="2026/11/bad.jpg", content=content)["url"]
    pipeline.shop("edit", id=int(changed), fields={"images": [bad]})
    assert did(pipeline.report()) == {"fetched": 1, "decoded": 1, "rows_archived": 1, "points_deleted": 1}
    assert outcome(pipeline, changed) == ("quality_passed", "rejected", ["not_an_image"], False, False)
    pipeline.shop("edit", id=int(changed), fields={"images": [pictures[changed]]})
    assert did(pipeline.report()) == {"fetched": 1, "decoded": 1, "rows_written": 1, "points_written": 1}
    assert rows(pipeline, "id, created_at") == known


def test_changed_thresholds_judge_again_and_download_nothing(pipeline: Pipeline) -> None:
    """Loosened ones let pictures in by their measurements; tightened ones wait for consent before they empty a store."""
    pipeline.report()
    before = published(pipeline)
    pipeline.describe(quality={"min_sharpness": 0, "min_side_px": 1, "min_file_bytes": 0})
    assert did(pipeline.report()) == {"embedded": 2, "rows_written": 2, "points_written": 2}
    loose = pipeline.held()
    assert len(loose.rows) == len(before) + 2
    pipeline.describe(quality={"min_sharpness": 1_000_000})
    held_back = pipeline.report()
    assert (did(held_back), pipeline.held()) == ({}, loose)
    assert held_back["rejected"]["awaiting_consent"] == len(loose.rows)
    gone = len(loose.rows)
    assert did(pipeline.report(allow_removals=True)) == {"rows_archived": gone, "points_deleted": gone}
    pipeline.describe()
    assert did(pipeline.report()) == {"rows_written": len(before), "points_written": len(before)}
    assert published(pipeline) == before


def test_most_of_a_shop_in_the_trash_waits_for_consent(pipeline: Pipeline) -> None:
    """Too many removals at once change nothing but what is said, until a person agrees."""
    pipeline.report()
    before = pipeline.held()
    back, *gone = published(pipeline)[:6]
    trash(pipeline, [back, *gone])
    report = pipeline.report()
    assert (did(report), report["rejected"]["awaiting_consent"], pipeline.held()) == ({}, 6, before)
    assert outcome(pipeline, back) == ("raw_products", "rejected", ["awaiting_consent", "trashed"], True, True)
    pipeline.shop("edit", id=int(back), fields={"status": "publish"})
    pipeline.report()
    assert outcome(pipeline, back)[1:3] == ("ok", [])
    assert did(pipeline.report(allow_removals=True)) == {"rows_archived": 5, "points_deleted": 5}
    assert pipeline.held().archived == set(gone)


def test_whatever_is_lost_is_made_again(pipeline: Pipeline) -> None:
    """Tables, points, bytes, vectors and pixels each come back from the others; what a sink shows does not change."""
    pipeline.report()
    before, created = pipeline.held(), rows(pipeline, "created_at, updated_at")
    passing = len(before.rows)
    costs = {
        "tables": {"fetched": 14, "decoded": 14},
        "qdrant": {"points_written": passing},
        "blobs": {"fetched": 14},
        "vectors": {"embedded": passing},
        "pixels": {},
    }
    for lost, cost in costs.items():
        shutil.rmtree(pipeline.folder / "home" / lost, ignore_errors=True)
        assert (lost, did(pipeline.report())) == (lost, cost)
        assert pipeline.held() == before
    assert rows(pipeline, "created_at, updated_at") == created
    assert did(pipeline.report(sweep=True)) == {}


def test_lost_tables_remove_nothing_that_the_shop_hides(pipeline: Pipeline) -> None:
    """Without tables a product that is not listed leaves by its own 404; whoever is merely unpublished is archived."""
    pipeline.report()
    hidden, deleted, *_ = published(pipeline)
    pipeline.shop("edit", id=int(hidden), fields={"status": "private"})
    pipeline.shop("force_delete", id=int(deleted))
    shutil.rmtree(pipeline.folder / "home" / "tables")
    report = pipeline.report()
    assert (report["rows_archived"], report["points_deleted"]) == (2, 2)
    assert outcome(pipeline, hidden) == ("raw_products", "rejected", ["not_published"], False, False)
    assert outcome(pipeline, deleted) == ("raw_products", "rejected", ["deleted"], False, False)


def test_yesterdays_backups_are_brought_up_to_date(pipeline: Pipeline, postgres_server: Server) -> None:
    """An older PostgreSQL, an older Qdrant and an empty database are noticed without a sweep, and repaired."""
    pipeline.report()
    name = pipeline.database_url.rpartition("/")[2].partition("?")[0]
    backup, points = f"{name}_backup", pipeline.folder / "home" / "qdrant"
    postgres_server.run("CREATE DATABASE {} TEMPLATE {}", backup, name)
    shutil.copytree(points, pipeline.folder / "points")
    cheap, trashed, shown, *_ = published(pipeline)
    pipeline.shop("edit", id=int(cheap), fields={"price": "1.00"})
    pipeline.shop("add", fields={"name": "New", "price": "5", "images": [pipeline.images()[shown]]})
    trash(pipeline, [trashed])
    pipeline.report()
    now = pipeline.held()
    for template in (backup, postgres_server.template):
        postgres_server.run("DROP DATABASE {} WITH (FORCE)", name)
        postgres_server.run("CREATE DATABASE {} TEMPLATE {}", name, template)
        assert did(pipeline.report())["rows_written"] == (2 if template == backup else len(now.rows))
        assert (pipeline.held().rows, pipeline.held().points) == (now.rows, now.points)
    shutil.rmtree(points)
    shutil.copytree(pipeline.folder / "points", points)
    assert did(pipeline.report()) == {"points_written": 1, "payloads_written": 1, "points_deleted": 1}
    assert pipeline.held().points == now.points
    postgres_server.run("DROP DATABASE {} WITH (FORCE)", backup)


def test_another_model_is_shown_when_every_store_has_it(
    pipeline: Pipeline, make_pipeline: Make, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Until the last store is embedded readers see the old collection, kept true; then all of the new one at once."""
    second = make_pipeline(pipeline.database_url)
    described = {**json.loads((pipeline.folder / "stores.yaml").read_text())["stores"][0]}
    pipeline.describe()
    both = [json.loads((pipeline.folder / "stores.yaml").read_text())["stores"][0], described]
    both[1] |= {"consumer_key": "${SECOND_KEY}", "consumer_secret": "${SECOND_SECRET}"}
    (pipeline.folder / "stores.yaml").write_text(json.dumps({"stores": both}))
    monkeypatch.setenv("SECOND_KEY", second.environment["STORE_KEY"])
    monkeypatch.setenv("SECOND_SECRET", second.environment["STORE_SECRET"])
    pipeline.report()
    second.report()
    old, first_points = shown(pipeline), pipeline.held().points
    monkeypatch.setenv("FASHION_MODEL", _another(model, tmp_path / "another"))
    changed, trashed, *_ = published(pipeline)
    pipeline.shop("edit", id=int(changed), fields={"name": "Renamed"})
    trash(pipeline, [trashed])
    assert pipeline.report()["points_written"] > 0
    assert shown(pipeline) == old
    held = pipeline.held().points
    assert (trashed in held, held[changed][0], len(held)) == (False, "Renamed", len(first_points) - 1)
    second.report()
    assert shown(pipeline) != old
    assert pipeline.held().points == held


def test_two_runs_of_one_store_at_once_leave_what_one_leaves(pipeline: Pipeline) -> None:
    """The second waits for the first, and finds nothing left to do."""
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda _: pipeline.run(), range(2)))
    assert [report.error for report in reports] == [None, None]
    written = sorted(report.counts["qdrant_points"]["points_written"] for report in reports)
    assert written == [0, len(pipeline.held().rows)]


def test_a_store_that_wants_every_picture_and_then_another_currency(pipeline: Pipeline) -> None:
    """Changed settings take effect with the next run, and cost what they change: points, then payloads and rows."""
    pipeline.report()
    one, other, *_ = published(pipeline)
    pictures, passing = pipeline.images(), len(pipeline.held().rows)
    pipeline.shop("edit", id=int(one), fields={"images": [pictures[one], pictures[other], pictures[other]]})
    assert did(pipeline.report()) == {}
    pipeline.describe(images="all")
    assert did(pipeline.report()) == {"fetched": 1, "points_written": 1}
    pipeline.describe()
    assert did(pipeline.report()) == {"points_deleted": 1}
    pipeline.describe(currency="CHF")
    assert did(pipeline.report()) == {"rows_written": passing, "payloads_written": passing}


def test_the_pictures_of_variations_are_points_of_their_product(pipeline: Pipeline) -> None:
    """With ``images: all`` they come, are told apart, cost no vector when prices or stock change, and leave alone."""
    pipeline.describe(images="all")
    pipeline.report()
    own, *pictures = list(pipeline.images().values())[:4]
    vest = pipeline.shop("add", fields={"name": "Vest", "type": "variable", "images": [own]})["id"]
    variations = [
        pipeline.shop("add_variation", parent=vest, fields={"image": url, "regular_price": price})["id"]
        for url, price in zip(pictures, ("30", "20", "25"), strict=True)
    ]
    assert did(pipeline.report()) == {"fetched": 4, "rows_written": 1, "points_written": 4}
    ((identity, price, in_stock),) = [
        found for key, found in rows(pipeline, "id, price, in_stock").items() if key == str(vest)
    ]
    assert (price, in_stock) == (Decimal(20), True)
    points = points_of(pipeline, identity)
    assert [payload["is_primary"] for payload in points.values()] == [True, False, False, False]
    assert [payload["position"] for payload in points.values()] == [0, 1, 2, 3]
    assert [payload["image_url"] for payload in points.values()] == [own, *pictures]
    assert [payload.get("variation_ids") for payload in points.values()] == [None, *([str(it)] for it in variations)]
    assert next(iter(points)) == str(identity)

    pipeline.shop("edit_variation", id=variations[0], fields={"regular_price": "12.50"})
    pipeline.shop("edit_variation", id=variations[1], fields={"stock_status": "outofstock"})
    assert did(pipeline.report()) == {"rows_written": 1, "payloads_written": 4}
    assert {payload["price"] for payload in points_of(pipeline, identity).values()} == {12.5}

    pipeline.shop("delete_variation", id=variations[2])
    assert did(pipeline.report()) == {"points_deleted": 1}
    assert list(points_of(pipeline, identity)) == list(points)[:3]
    with vector_store(Settings.read(), pipeline.home) as client:
        fingerprint = str(next(iter(points.values()))["fingerprint"])
        matches = search(client, [1.0] * 768, fingerprint=fingerprint, limit=100)
    found = [str(match.payload["external_id"]) for match in matches]
    assert sorted(found) == published(pipeline)


def points_of(pipeline: Pipeline, identity: object) -> dict[str, dict[str, Any]]:
    """Return the payloads of one product's points, by the points' ids, in the order of their positions."""
    with vector_store(Settings.read(), pipeline.home) as client:
        points, _ = client.scroll(ALIAS, limit=10_000, with_payload=True, with_vectors=False)
    payloads = {str(point.id): dict(point.payload or {}) for point in points}
    own = {key: payload for key, payload in payloads.items() if payload["product_id"] == str(identity)}
    return dict(sorted(own.items(), key=lambda item: item[1]["position"]))


def test_odd_products_harm_no_other(pipeline: Pipeline) -> None:
    """Text and addresses that a stranger typed end as rows or as outcomes, and the next run has nothing to do."""
    pipeline.report()
    good = next(iter(pipeline.images().values()))
    path = "/" + good.split("/", 3)[3]

    def add(**fields: Any) -> str:
        return str(pipeline.shop("add", fields={"price": "10", "images": [good], **fields})["id"])

    fine = [
        add(name="a\x00b\ud800c", description="\udfff<p>\x00</p>"),
        add(name="T" * 100_000, description="\N{DRESS}" * 100_000),
        add(name="dearest", price="99999999.99"),
        add(name="relative", images=[path]),
        add(name="long", images=[f"{good}?{'q' * 3000}"]),
    ]
    refused = {
        add(name="too dear", price="100000000"): "price_out_of_range",
        add(name="punycode", images=["http://xn--/a.jpg"]): "bad_url",
        add(name="spaces", images=[f"{good} é.jpg"]): "gone",
        add(name="user", images=["http://u:hidden@127.0.0.1/a.jpg"]): "bad_url",
    }
    pipeline.report()
    held = pipeline.held()
    assert held.rows.keys() == held.points.keys()
    assert set(fine) <= held.rows.keys()
    assert rows(pipeline, "image_url")[fine[3]] == (good,)
    assert {key: outcome(pipeline, key)[2] for key in refused} == {key: [reason] for key, reason in refused.items()}
    assert not any("hidden" in told.detail for told in pipeline.outcomes())
    assert did(pipeline.report(sweep=True)) == {}


def shown(pipeline: Pipeline) -> str | None:
    """Return the collection that readers see."""
    with vector_store(Settings.read(), pipeline.home) as client:
        live = alias_target(client)
        return None if live is None else live.name


def _another(model: str, directory: Path) -> str:
    """Make a checkpoint with other weights."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model.removeprefix("local-dir:"), directory)
    weights = load_file(directory / "open_clip_model.safetensors")
    for name in weights:
        weights[name] *= 1.5
    save_file(weights, directory / "open_clip_model.safetensors")
    return f"local-dir:{directory}"
