"""Writes the page's view as one HTML file that fetches nothing: no script, font or URL of another host.

The template escapes everything that comes from a shop. A policy in the page blocks what might get
past that: every script, every style but the one with the given digest, every image from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from upath import UPath

from fashion_pipeline import __version__
from fashion_pipeline.demo.page.figures import StoreState
from fashion_pipeline.demo.page.gather import gather_page
from fashion_pipeline.demo.page.view import PageView
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.files import put

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

MAX_BYTES = 3_000_000

_FILES = Path(__file__).parent


def write_page(
    path: Path,
    states: Sequence[StoreState],
    *,
    client: QdrantClient,
    blobs: Blobs,
    model: str,
    made_at: datetime,
) -> int:
    """Write the page of some stores atomically, and return its size in bytes."""
    html = render_page(gather_page(states, client=client, blobs=blobs, model=model, made_at=made_at))
    data = html.encode("utf-8")
    put(UPath(path), data)
    return len(data)


def render_page(view: PageView) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    css = (_FILES / "page.css").read_text("utf-8")
    return environment.get_template("page.html.j2").render(
        view=view, css=css, policy=content_security_policy(css), version=__version__
    )


def content_security_policy(css: str) -> str:
    """Return the policy that allows the style element with this text, images in the page, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
