"""What a Qdrant server is asked over HTTP: order, shape and waiting. The server here only takes notes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import _advice, vector_store
from fashion_pipeline.sinks.qdrant.collections import ensure_collection
from fashion_pipeline.sinks.qdrant.limits import BATCH
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, shop

NAME = f"products__{FINGERPRINT}"


class Notes(BaseHTTPRequestHandler):
    """Answers like an empty Qdrant 1.18 and writes down what it was asked."""

    asked: list[tuple[str, str, Any]]

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        self.asked.append((self.command, parts.path + ("?wait" if "wait=true" in parts.query else ""), body))
        said: Any = {"status": "ok", "time": 0.0, "result": self.result(parts.path)}
        if parts.path == "/":
            said = {"title": "qdrant", "version": "1.18.2", "commit": None}
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def result(self, path: str) -> Any:
        empty: dict[str, Any] = {
            "collections": {"collections": []},
            "exists": {"exists": False},
            "count": {"count": 0},
            "scroll": {"points": [], "next_page_offset": None},
        }
        if (what := path.rpartition("/")[2]) in empty:
            return empty[what]
        if path == f"/collections/{NAME}":
            if self.command == "PUT":
                return True
            from qdrant_client import QdrantClient
            from qdrant_client import models as qm

            model = QdrantClient(":memory:")
            shape = qm.VectorParams(size=768, distance=qm.Distance.COSINE)
            model.create_collection(NAME, vectors_config=shape, metadata={"home_id": "home-1"})
            return json.loads(model.get_collection(NAME).model_dump_json(exclude_none=True))
        return {"operation_id": 0, "status": "completed"}

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Yield the URL of a server that takes notes, and its notes."""
    asked: list[tuple[str, str, Any]] = []
    handler = type("Handler", (Notes,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def test_a_new_collection_has_its_indexes_before_its_first_point(
    server: tuple[str, list[tuple[str, str, Any]]], home: Home, tmp_path: Path
) -> None:
    """Cosine over 768 numbers, payload on disk, the store as tenant; points follow in batches, each waited for."""
    url, asked = server
    made = shop(tmp_path, BATCH + 1)
    desired = made.desired()
    with vector_store(Settings.model_validate({"qdrant_url": url, "qdrant_api_key": "key"}), home) as client:
        name = ensure_collection(client, FINGERPRINT, home_id="home-1").name
        apply_points(
            client,
            collection=name,
            store_id="atelier-nord",
            desired=desired.points,
            digest=desired.points_digest,
            vectors=made.vectors,
            live=(),
        )
    created = next(body for method, path, body in asked if (method, path) == ("PUT", f"/collections/{NAME}"))
    assert created["vectors"] == {"size": 768, "distance": "Cosine"}
    assert created["on_disk_payload"] is True
    assert created["metadata"] == {"home_id": "home-1", "fingerprint": FINGERPRINT}
    writes = [(path, body) for method, path, body in asked if method == "PUT" and path != f"/collections/{NAME}"]
    kinds = [path.removeprefix(f"/collections/{NAME}/") for path, _ in writes]
    assert kinds == ["index?wait"] * 7 + ["points?wait"] * 2
    indexes = {body["field_name"]: body["field_schema"] for _, body in writes[:7]}
    assert indexes == {
        "store_id": {"type": "keyword", "is_tenant": True},
        "price": "float",
        "created_at": "datetime",
        "product_id": "keyword",
        "image_sha256": "keyword",
        "is_primary": "bool",
        "in_stock": "bool",
    }
    assert [len(body["points"]) for _, body in writes[7:]] == [BATCH, 1]
    assert len(writes[7][1]["points"][0]["vector"]) == 768


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", "FASHION_QDRANT_CA_FILE"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "write http://"),
        ("illegal request line", "write https://, or the REST port"),
        ("[Errno 111] Connection refused", "check that it runs"),
    ],
)
def test_each_cause_of_silence_has_its_own_advice(problem: str, advice: str) -> None:
    """A private authority, http for https and the reverse, and the gRPC port look alike otherwise."""
    assert advice in _advice(problem)
