from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from starlette.responses import Response

from fashion_pipeline_tests.doctor.examining import Make
from fashion_pipeline_tests.model_shop import faults


def test_on_a_terminal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the table fits into its width, and a shop's message cannot control the terminal."""
    served = make()
    words = "\x1b[2J[bold]Closed[/bold] from Monday to Saturday, and on Sundays until further notice"
    body = json.dumps({"code": "rest_odd", "message": words})
    served.shop.fault = faults.only(lambda _: Response(body, 403, media_type="application/json"), path="products$")
    served.describe()
    ours = {name: value for name, value in served.environment.items() if value is not None}
    environment = {**os.environ, **ours, "TERM": "xterm", "COLUMNS": "80"}
    program = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    command = [sys.executable, "-m", "fashion_pipeline.cli", "doctor"]
    ran = subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "\x1b[2J" not in ran.stdout
    assert "[bold]Closed[/bold]" in ran.stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)
    assert max(map(len, plain.splitlines())) <= 80
    assert "until further notice)" in " ".join(plain.split())
    assert "permission" in plain
