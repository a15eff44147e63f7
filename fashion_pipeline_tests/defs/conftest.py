"""Fixtures for stories that run the whole pipeline on the demo's shops."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fashion_pipeline.demo.stage import ModelServer, start_server
from fashion_pipeline.embedding.tiny import make_tiny
from fashion_pipeline_tests.defs.killed import PROGRAM
from fashion_pipeline_tests.pipeline import Pipeline

SHOPS = 24
PRODUCTS = 16


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Yield a server of small shops, which tests may change."""
    folder = tmp_path_factory.mktemp("shops")
    with start_server(folder, products=PRODUCTS, stores=SHOPS, control_token="open", draw_ahead=False) as server:
        yield server


@pytest.fixture(scope="session")
def unused_shops(shops: ModelServer) -> Iterator[str]:
    return itertools.chain(shops.store_ids)


Kill = Callable[[str, Pipeline], int]


@pytest.fixture(scope="session")
def kill() -> Iterator[Kill]:
    """Return what runs a pipeline's ``ingest`` until a moment, and returns the signal that ended it."""
    command = [sys.executable, *PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(moment: str, pipeline: Pipeline) -> int:
            if process.stdin is None or process.stdout is None:
                msg = "the process was started without pipes"
                raise RuntimeError(msg)
            request = {
                "moment": moment,
                "arguments": ["ingest", pipeline.store_id],
                "environment": pipeline.environment,
            }
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return os.WTERMSIG(int(process.stdout.readline()))

        yield ask


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a generated checkpoint."""
    return f"local-dir:{make_tiny(tmp_path_factory.mktemp('models') / 'checkpoint')}"


Make = Callable[[str], Pipeline]


@pytest.fixture
def make_pipeline(shops: ModelServer, unused_shops: Iterator[str], model: str, tmp_path: Path) -> Make:
    """Return what makes a pipeline, on a database, for a shop that no other test has touched."""
    return lambda url: Pipeline(tmp_path / "work", shops, next(unused_shops), database_url=url, model=model)


@pytest.fixture
def pipeline(make_pipeline: Make, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Return a pipeline of the test's own, which this process's environment names."""
    made = make_pipeline(database_url)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")
    return made
