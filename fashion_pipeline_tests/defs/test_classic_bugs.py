"""Bugs that pipelines of this kind have, each as a whole run that must not have it.

One more, a listing most of whose pages cannot be read, is told in ``shop/test_classic_bugs.py``.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fashion_pipeline.errors import VectorStoreUnavailable
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline_tests.pipeline import Pipeline, did, outcome, published, rows
from fashion_pipeline_tests.qdrant_server import QdrantServer


def pictures_asked_for(pipeline: Pipeline) -> list[int]:
    """Return the statuses of the pictures asked for since the last time."""
    asked = pipeline.shop("asked", clear=True)["asked"]
    return [it["status"] for it in asked if "/wp-content/" in it["path"]]


def test_a_picture_that_changes_while_its_host_answers_503_is_not_stale_for_ever(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last good vector stays, marked stale, nothing is asked before its time, and then the new picture comes."""
    pipeline.report()
    before, (changed, other, *_), pictures = pipeline.held(), published(pipeline), pipeline.images()
    pictures_asked_for(pipeline)
    pipeline.shop("faults", faults=[{"name": "busy", "status": 503, "retry_after": "90", "path": "/wp-content/"}])
    pipeline.shop("set_image", url=pictures[changed], copy_of=pictures[other], shop_knows=True)
    assert did(pipeline.report(sweep=True)) == {"rows_written": 1, "payloads_written": 1}
    assert outcome(pipeline, changed) == ("postgres_products", "ok", ["http_error"], True, True)
    assert rows(pipeline, "stale")[changed] == (True,)
    assert pipeline.held() == before
    assert did(pipeline.report(sweep=True)) == {}
    assert pictures_asked_for(pipeline) == [503]
    pipeline.shop("faults", faults=[])
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(days=1))
    assert did(pipeline.report()) == {"fetched": 1, "rows_written": 1, "points_written": 1}
    assert outcome(pipeline, changed) == ("postgres_products", "ok", [], True, True)
    assert rows(pipeline, "stale, image_sha256")[changed] == (False, before.rows[other][3])
    assert pipeline.held().points[changed][2] == before.rows[other][3]


def test_a_picture_that_moved_permanently_is_followed(pipeline: Pipeline) -> None:
    """A 301 leads to the picture, which then is known by the shop's address of it and costs nothing."""
    moved = {"name": "redirects", "origin": pipeline.server.origin, "path": "/wp-content/"}
    pipeline.shop("faults", faults=[{**moved, "first": 8}])
    assert did(pipeline.report())["fetched"] > 8
    assert pictures_asked_for(pipeline).count(301) == 8
    stopped = [told for told in pipeline.outcomes() if told.stage == "fetched_images"]
    assert {reason.value for told in stopped for reason in told.reasons} <= {"gone"}
    assert did(pipeline.report()) == {}
    assert pictures_asked_for(pipeline) == []


def test_a_picture_that_moved_into_a_private_network_is_not(pipeline: Pipeline) -> None:
    """A 301 is judged like any address: nothing listens to it, and each product says why it is not published."""
    with socket.create_server(("127.0.0.2", 0)) as private:
        private.settimeout(0)
        origin = f"http://127.0.0.2:{private.getsockname()[1]}"
        pipeline.describe(allow_private_hosts=["127.0.0.1"])
        pipeline.shop("faults", faults=[{"name": "redirects", "origin": origin, "path": "/wp-content/"}])
        assert did(pipeline.report()) == {}
        with pytest.raises(BlockingIOError):
            private.accept()
    assert set(pictures_asked_for(pipeline)) == {301}
    refused = [told for told in pipeline.outcomes() if told.stage == "fetched_images"]
    assert {reason.value for told in refused for reason in told.reasons} == {"blocked_port"}


class Gate(ThreadingHTTPServer):
    """A port in front of a Qdrant server, which kills it at the first request to write while ``armed``."""

    def __init__(self, qdrant: QdrantServer) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.qdrant = qdrant
        self.armed = False
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Pass(BaseHTTPRequestHandler):
    _WRITES = re.compile(r"/collections/[^/]+/points(/batch|/payload|/delete)?")
    server: Gate

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.armed and self.command != "GET" and self._WRITES.fullmatch(self.path.partition("?")[0]):
            self.server.qdrant.kill()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.qdrant.port)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer.read())

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _pass  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Yield a running Qdrant server behind a gate."""
    qdrant = QdrantServer(tmp_path / "qdrant-server")
    qdrant.start()
    with Gate(qdrant) as gate:
        serving = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield gate
        gate.shutdown()
        serving.join()
    qdrant.kill()


def test_qdrant_that_goes_down_after_the_row_was_written_has_the_point_after_the_next_run(
    pipeline: Pipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails with a sentence and says what it left; the next one brings both sinks to what the shop says."""
    monkeypatch.setenv("FASHION_QDRANT_URL", gate.url)
    pipeline.report()
    before, (renamed, pictured, trashed, *_), pictures = pipeline.held(), published(pipeline), pipeline.images()
    gate.armed = True
    pipeline.shop("edit", id=int(renamed), fields={"name": "Renamed"})
    pipeline.shop("edit", id=int(pictured), fields={"images": [pictures[renamed]]})
    pipeline.shop("trash", id=int(trashed))
    error = pipeline.run().error
    assert isinstance(error, VectorStoreUnavailable)
    assert gate.url in str(error)
    assert rows(pipeline, "title")[renamed] == ("Renamed",)
    gate.armed = False
    gate.qdrant.start()
    assert did(pipeline.report()) == {"points_written": 1, "payloads_written": 1, "points_deleted": 1}
    after = pipeline.held()
    assert after.rows.keys() == after.points.keys() == before.rows.keys() - {trashed}
    assert (after.points[renamed][0], after.points[pictured][2]) == ("Renamed", before.rows[renamed][3])
    assert {key: (row[1], row[3]) for key, row in after.rows.items()} == {
        key: (title, sha256) for key, (title, _, sha256) in after.points.items()
    }
    assert did(pipeline.report(sweep=True)) == {}
