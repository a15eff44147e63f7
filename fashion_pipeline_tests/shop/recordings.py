"""Responses recorded from WooCommerce 11.0.1; see ``fixtures/woocommerce``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.responses import Response

FOLDER = Path(__file__).parents[1] / "fixtures" / "woocommerce"


def recorded(name: str) -> dict[str, Any]:
    """Return a recording: ``request`` and ``response``."""
    recording: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return recording


def body(name: str) -> Any:
    """Return the JSON body of a recorded response."""
    return recorded(name)["response"]["body"]


def product_names() -> list[str]:
    """Return the names of the recordings of single products."""
    return sorted(path.stem for path in FOLDER.glob("product_*.json"))


def replay(name: str) -> Response:
    """Answer as the recorded shop did."""
    response = recorded(name)["response"]
    content = response["body_text"] if "body_text" in response else json.dumps(response["body"])
    headers = {key: value for key, value in response["headers"] if key != "content-length"}
    return Response(content, status_code=response["status"], headers=headers)
