"""What a tick of the sensor over many stores costs: shops of the demo, ten that refuse and ten that hang among them.

``make bench NAME=sensor ARGS="--stores 500"``. The first tick requests runs, the following ones find
no news in most shops. The last line has the slowest tick's seconds, and what the first tick said.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.automation import ingest_store
from fashion_pipeline.defs.cursors import News
from fashion_pipeline.defs.resources import PARTITION_TAG
from fashion_pipeline.defs.sensors import new_products
from fashion_pipeline.demo.catalogue import environment, stores_yaml
from fashion_pipeline.demo.stage import start_server


def describe(folder: Path, port: int, *, stores: int, refusing: int, hanging: int, deaf: int) -> None:
    """Write stores.yaml, in which some shops, spread over it, lead to a closed port or to one that never answers."""
    described = yaml.safe_load(stores_yaml(port, stores))
    lost = [1] * refusing + [deaf] * hanging
    for place, target in enumerate(lost):
        store = described["stores"][place * (stores // len(lost))]
        store["url"] = f"http://127.0.0.1:{target}/{store['id']}"
    (folder / "stores.yaml").write_text(yaml.safe_dump(described), "utf-8")
    os.environ.update(environment(stores))
    os.environ["FASHION_STORES"] = str(folder / "stores.yaml")
    os.environ["FASHION_HOME"] = str(folder / "home")


def tick(instance: dg.DagsterInstance, cursor: str | None) -> Any:
    """Evaluate the sensor as the code server does."""
    context = dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=cursor,
        repository_name=None,
        repository_def=defs.get_repository_def(),
        sensor_name=new_products.name,
    )
    with context:
        return new_products.evaluate_tick(context)


def succeed(instance: dg.DagsterInstance, requests: Iterable[dg.RunRequest], added: Iterable[Any]) -> None:
    """Do as the daemon does, and let every run succeed at once."""
    for request in added:
        instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
    for requested in requests:
        tags = {PARTITION_TAG: str(requested.partition_key)}
        ended = dg.DagsterRun(ingest_store.name, str(uuid.uuid4()), tags=tags, status=dg.DagsterRunStatus.SUCCESS)
        instance.add_run(ended)


def main() -> None:
    """Tick some times, as Dagster does, on an instance of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=int, default=500)
    parser.add_argument("--refusing", type=int, default=10)
    parser.add_argument("--hanging", type=int, default=10)
    parser.add_argument("--ticks", type=int, default=5)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as deaf,
        start_server(Path(temporary) / "shops", products=4, stores=given.stores, draw_ahead=False) as server,
        dg.DagsterInstance.local_temp(temporary) as instance,
    ):
        describe(
            Path(temporary),
            server.port,
            stores=given.stores,
            refusing=given.refusing,
            hanging=given.hanging,
            deaf=deaf.getsockname()[1],
        )
        cursor: str | None = None
        told: list[tuple[float, int, int]] = []
        for number in range(given.ticks):
            started = time.perf_counter()
            ticked = tick(instance, cursor)
            seconds = time.perf_counter() - started
            cursor = ticked.cursor
            memory = News.read(cursor)[0]
            answered = sum(known.at is not None for known in memory.stores.values()) + len(memory.first)
            told.append((seconds, len(ticked.run_requests or ()), given.stores - answered))
            succeed(instance, ticked.run_requests or (), ticked.dynamic_partitions_requests or ())
            print(f"tick {number + 1}: {seconds:.2f} s, {told[-1][1]} runs requested, {told[-1][2]} without answer")
    figures = {
        "stores": given.stores,
        "seconds": round(max(seconds for seconds, _, _ in told), 2),
        "median_seconds": round(statistics.median(seconds for seconds, _, _ in told), 2),
        "run_requests": told[0][1],
        "without_answer": told[0][2],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
