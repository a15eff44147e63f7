"""Homes for the tests of storage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fashion_pipeline.storage.home import Home


@pytest.fixture(params=["local", "object store"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(tmp_path / "home" if request.param == "local" else f"memory://{tmp_path.name}-{os.getpid()}")
