"""How much is read and written in one request."""

from __future__ import annotations

from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from fashion_pipeline.sinks.qdrant.applied import read_points
from fashion_pipeline.sinks.qdrant.collections import ensure_collection
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline_tests.builders import FINGERPRINT, shop
from fashion_pipeline_tests.qdrant_server import QdrantServer


@pytest.mark.slow
def test_requests_keep_to_the_limits_of_strict_mode(tmp_path: Path) -> None:
    """A collection whose strict mode takes two points in a request is written, read and changed in twos."""
    made = shop(tmp_path / "shop", 5)
    desired = made.desired()
    server = QdrantServer(tmp_path / "qdrant", strict=2)
    server.start()
    client = QdrantClient(url=server.url, check_compatibility=False)
    try:
        name = ensure_collection(client, FINGERPRINT, home_id="home-1").name
        counts = apply_points(
            client,
            collection=name,
            store_id=made.store.id,
            desired=desired.points,
            digest=desired.points_digest,
            vectors=made.vectors,
            live=(),
        )
        assert counts.points_written == 5
        assert set(read_points(client, name, made.store.id)) == {point.point_id for point in desired.points}
    finally:
        client.close()
        server.kill()
