"""Qdrant's REST API over its own local mode, as a process that can be killed and started again.

``python -m fashion_pipeline_tests.qdrant_server --folder F --port P``: the client's real requests cross a
real connection, and what was answered is on the disk. It knows the requests that this package makes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION = "1.16.0"
_START_S = 60.0


class QdrantServer:
    """The server as a process; its port and folder stay when it is started again."""

    def __init__(self, folder: Path, *, strict: int = 0) -> None:
        """Serve a folder; ``strict`` is strict mode's limit of points in a request, 0 for none."""
        self.folder = folder
        self.strict = strict
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [sys.executable, "-m", __name__, "--folder", str(self.folder), "--port", str(self.port)]
        self._process = subprocess.Popen([*command, "--strict", str(self.strict)])
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5):  # noqa: S310 - loopback http
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                msg = f"the Qdrant server on {self.folder} did not start"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def serve(folder: Path, port: int, strict: int = 0) -> None:
    """Answer until killed."""
    import uvicorn
    from qdrant_client import QdrantClient
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from fashion_pipeline.local.qdrant import relax_sqlite_sync

    client = QdrantClient(path=str(folder))
    relax_sqlite_sync(client)
    routes = _routes(client)
    if strict:
        _limit(routes, strict)

    async def answer(request: Request) -> JSONResponse:
        if request.url.path == "/":
            return JSONResponse({"title": "qdrant", "version": VERSION})
        rest = request.url.path.strip("/").split("/")
        name = rest[1] if rest[0] == "collections" and len(rest) > 1 and rest[1] != "aliases" else ""
        pattern = "/".join(["collections", "*", *rest[2:]]) if name else "/".join(rest)
        body = await request.body()
        call = routes.get((request.method, pattern))
        if call is None:
            return JSONResponse({"status": {"error": f"not known here: {request.method} {pattern}"}}, 501)
        try:
            result = call(name, json.loads(body) if body else {})
        except ValueError as error:
            return JSONResponse({"status": {"error": str(error)}}, 404 if "not found" in str(error) else 400)
        if name and not pattern.endswith("exists") and request.method != "GET":
            relax_sqlite_sync(client)
        return JSONResponse({"status": "ok", "time": 0.0, "result": _plain(result)})

    every = ["GET", "PUT", "POST", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", answer, methods=every)])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")


Call = Callable[[str, Mapping[str, Any]], Any]


def _routes(client: Any) -> dict[tuple[str, str], Call]:
    """Return what each method and path does; ``*`` stands for the collection."""
    from pydantic import TypeAdapter
    from qdrant_client import models as qm

    points = "collections/*/points"
    operations: TypeAdapter[Any] = TypeAdapter(list[qm.UpdateOperation])
    steps: TypeAdapter[Any] = TypeAdapter(list[qm.AliasOperations])

    def create(name: str, body: Mapping[str, Any]) -> bool:
        given = qm.CreateCollection.model_validate(body)
        return bool(client.create_collection(name, vectors_config=given.vectors, metadata=given.metadata))

    def selector(body: Mapping[str, Any]) -> Any:
        return body["points"] if body.get("points") is not None else qm.Filter.model_validate(body["filter"])

    def scroll(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = qm.ScrollRequest.model_validate(body)
        records, following = client.scroll(
            name,
            scroll_filter=asked.filter,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=True if asked.with_payload is None else asked.with_payload,
            with_vectors=asked.with_vector or False,
        )
        return {"points": [_plain(record) for record in records], "next_page_offset": following}

    def retrieve(name: str, body: Mapping[str, Any]) -> Any:
        asked = qm.PointRequest.model_validate(body)
        wanted = True if asked.with_payload is None else asked.with_payload
        return client.retrieve(name, asked.ids, with_payload=wanted, with_vectors=asked.with_vector or False)

    def count(name: str, body: Mapping[str, Any]) -> Any:
        asked = qm.CountRequest.model_validate(body)
        return client.count(name, count_filter=asked.filter)

    def query(name: str, body: Mapping[str, Any]) -> Any:
        asked = qm.QueryRequest.model_validate(body)
        return client.query_points(
            name, query=asked.query, query_filter=asked.filter, limit=asked.limit or 10, with_payload=True
        )

    def groups(name: str, body: Mapping[str, Any]) -> Any:
        asked = qm.QueryGroupsRequest.model_validate(body)
        return client.query_points_groups(
            name,
            group_by=asked.group_by,
            query=asked.query.nearest if isinstance(asked.query, qm.NearestQuery) else asked.query,
            query_filter=asked.filter,
            limit=asked.limit or 10,
            group_size=asked.group_size or 3,
            with_payload=True,
        )

    return {
        ("GET", "collections"): lambda *_: client.get_collections(),
        ("GET", "aliases"): lambda *_: client.get_aliases(),
        ("POST", "collections/aliases"): lambda _, body: client.update_collection_aliases(
            steps.validate_python(body["actions"])
        ),
        ("GET", "collections/*"): lambda name, _: client.get_collection(name),
        ("GET", "collections/*/exists"): lambda name, _: {"exists": client.collection_exists(name)},
        ("PUT", "collections/*"): create,
        ("PATCH", "collections/*"): lambda name, body: client.update_collection(name, metadata=body.get("metadata")),
        ("DELETE", "collections/*"): lambda name, _: client.delete_collection(name),
        ("PUT", "collections/*/index"): lambda *_: {"operation_id": 0, "status": "completed"},
        ("PUT", points): lambda name, body: client.upsert(name, qm.PointsList.model_validate(body).points),
        ("POST", points): retrieve,
        ("POST", f"{points}/scroll"): scroll,
        ("POST", f"{points}/count"): count,
        ("POST", f"{points}/query"): query,
        ("POST", f"{points}/query/groups"): groups,
        ("POST", f"{points}/delete"): lambda name, body: client.delete(name, selector(body)),
        ("POST", f"{points}/payload"): lambda name, body: client.set_payload(name, body["payload"], selector(body)),
        ("PUT", f"{points}/payload"): lambda name, body: client.overwrite_payload(
            name, body["payload"], selector(body)
        ),
        ("POST", f"{points}/payload/delete"): lambda name, body: client.delete_payload(
            name, body["keys"], selector(body)
        ),
        ("POST", f"{points}/batch"): lambda name, body: client.batch_update_points(
            name, operations.validate_python(body["operations"])
        ),
    }


def _limit(routes: dict[tuple[str, str], Call], most: int) -> None:
    """Refuse larger requests, as strict mode does, and name its limits in the collection's configuration."""
    points = "collections/*/points"
    describe, scroll, upsert = (
        routes["GET", "collections/*"],
        routes["POST", f"{points}/scroll"],
        routes["PUT", points],
    )

    def limited(call: Call, size: Callable[[Mapping[str, Any]], int]) -> Call:
        def answer(name: str, body: Mapping[str, Any]) -> Any:
            if size(body) > most:
                msg = f"Limit exceeded {size(body)} > {most}"
                raise ValueError(msg)
            return call(name, body)

        return answer

    def described(name: str, body: Mapping[str, Any]) -> Any:
        found = _plain(describe(name, body))
        limits = {"enabled": True, "max_query_limit": most, "upsert_max_batchsize": most}
        return {**found, "config": {**found["config"], "strict_mode_config": limits}}

    routes["GET", "collections/*"] = described
    routes["POST", f"{points}/scroll"] = limited(scroll, lambda body: int(body.get("limit") or 10))
    routes["PUT", points] = limited(upsert, lambda body: len(body["points"]))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--strict", type=int, default=0)
    given = parser.parse_args(arguments)
    serve(given.folder, given.port, given.strict)


if __name__ == "__main__":
    main()
