from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "fuzz-images.py"


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
def test_random_damage_causes_no_crash_and_no_unexpected_error(tmp_path: Path) -> None:
    """Thousands of damaged files give findings, within the memory limit."""
    command = [
        sys.executable,
        str(PROGRAM),
        "--inputs",
        "4000",
        "--seed",
        "1",
        "--seconds",
        "120",
        "--keep",
        str(tmp_path),
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    counts = json.loads(ended.stdout.splitlines()[-1])
    assert (counts["crashes"], counts["unexpected"], ended.returncode) == (0, 0, 0), ended.stdout
    assert counts["inputs"] >= 4000
    assert 0 < counts["peak_rss_mb"] <= counts["bound_mb"] == 1171
    assert not list(tmp_path.iterdir())
