"""The home and the database that 76d922e made: the shops it read, and how they are served again.

Everything that names a part of the product stands in the block below. A shop is served from this
file and from the pictures that lie in the home itself, so no drawing code is needed, and on a fixed
address: shop, picture and product addresses are part of what the pipeline remembers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import uvicorn

# --- what of the product is named here, and nowhere else ------------------------------------------
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Key, ModelShop

PROGRAM = """\
import json, sys
from fashion_pipeline.cli.main import cli

for arguments in json.loads(sys.argv[1]):
    try:
        cli.main(arguments, standalone_mode=False)
    except SystemExit as ended:
        if ended.code:
            raise
"""
DEFINITIONS = "fashion_pipeline.definitions"  # stands in people's workspace.yaml too
# --------------------------------------------------------------------------------------------------

HERE = Path(__file__).parent / "fixtures" / "upgrade" / "76d922e"
ARCHIVE = HERE / "home.tar.gz"
DUMP = HERE / "postgres.sql"
STORES = ("nord", "sud")

HOST, PORT = "127.76.92.2", 7692
"""A loopback address of its own (127.0.0.0/8 is all this machine), below the ports that the kernel hands out."""
ORIGIN = f"http://{HOST}:{PORT}"

_OPENED = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)

EXPECTED = {
    "nord": {"products": 6, "rejected": {"too_blurry": 1, "not_published": 1}, "rows": 4, "points": 4},
    "sud": {"products": 4, "rejected": {"not_published": 1}, "rows": 3, "points": 6},
}
"""What stands after the last run; ``products`` leaves out what was trashed and what was purged."""

STORES_YAML = f"""\
stores:
  - id: nord
    url: {ORIGIN}/nord
    consumer_key: ${{NORD_KEY}}
    consumer_secret: ${{NORD_SECRET}}
    allow_private_hosts: [{HOST}]
  - id: sud
    url: {ORIGIN}/sud
    consumer_key: ${{SUD_KEY}}
    consumer_secret: ${{SUD_SECRET}}
    images: all
    allow_private_hosts: [{HOST}]
"""


# --- the shops ------------------------------------------------------------------------------------


def shops(pictures: Mapping[str, bytes], *, trashed: bool) -> dict[str, ModelShop]:
    """Return both shops; ``trashed``: as they were after a product had been put into the trash.

    Ids are given in the order of the calls below: change nothing in it.
    """
    return {
        "nord": _Seeding("nord", "EUR", "Europe/Paris", pictures).nord(trashed=trashed),
        "sud": _Seeding("sud", "GBP", "Europe/London", pictures).sud(),
    }


def credentials(store_id: str) -> tuple[str, str]:
    """Return a shop's consumer key and secret, which open nothing else."""
    return f"ck_old_{store_id}", f"cs_old_{store_id}"


class _Seeding:
    """Fills one shop; a picture that the home does not hold any more is one that must not be asked for."""

    def __init__(self, store_id: str, currency: str, zone: str, pictures: Mapping[str, bytes]) -> None:
        keys = [Key(*credentials(store_id))]
        self.shop = ModelShop(store_id, origin=ORIGIN, currency=currency, zone=ZoneInfo(zone), keys=keys)
        self.pictures = pictures
        self.minutes = 0

    def nord(self, *, trashed: bool) -> ModelShop:
        dress = self.picture("dress")
        self.add('Tee <b>bold</b> &amp; "quoted"', [dress], price="19.90", categories=_categories("Women &amp; Men"))
        self.add("Shared picture sweater", [dress], price="49.00", description="<p>One</p><p>Two</p>")
        self.add("Out-of-focus coat", [self.picture("blurred")], price="99.00")
        self.add("Draft dress", [self.picture("draft")], price="9.00", status="draft")
        leaves = {"status": "trash", "modified": datetime(2024, 6, 1, 12, 0, tzinfo=UTC)} if trashed else {}
        self.add("Trash trousers", [self.picture("trousers")], price="39.50", **leaves)
        self.add("Purged pyjama", [self.picture("pyjama")], price="29.00")
        vest = self.add("Variable vest", [self.picture("vest")], regular_price="")
        self.add("\N{DRESS} 日本製 skirt", [self.picture("skirt")], price="1234.56", stock_status="outofstock")
        self.variation(vest, "S", "20.00")
        self.variation(vest, "M", "25.00")
        return self.shop

    def sud(self) -> ModelShop:
        self.add("Two pictures", [self.picture("front"), self.picture("back")], price="80.00")
        self.add("Sister-shop tee", [self.picture("dress")], price="21.00")
        self.add("Draft bag", [self.picture("draft")], price="9.00", status="draft")
        parent = self.add("Coat in two colours", [self.picture("coat")], regular_price="")
        self.variation(parent, "red", "150.00", image=self.picture("red"))
        self.variation(parent, "blue", "140.00", image=self.picture("blue"))
        self.variation(parent, "plain", "130.00")
        return self.shop

    def moment(self) -> datetime:
        self.minutes += 1
        return _OPENED + timedelta(minutes=self.minutes)

    def picture(self, name: str) -> str:
        content = self.pictures.get(name, b"a picture that must not be asked for")
        return self.shop.upload(
            f"2024/05/{name}.png", content, content_type="image/png", size=SIZE, modified=self.moment()
        )

    def add(self, title: str, images: list[str], **fields: Any) -> int:
        return self.shop.add(name=title, images=images, created=self.moment(), **fields)

    def variation(self, parent: int, option: str, price: str, **more: Any) -> int:
        attributes = [{"id": 2, "name": "Kind", "slug": "pa_kind", "option": option}]
        return self.shop.add_variation(
            parent, created=self.moment(), regular_price=price, attributes=attributes, **more
        )


def _categories(*names: str) -> list[dict[str, Any]]:
    return [{"id": 16 + place, "name": name, "slug": f"c-{place}"} for place, name in enumerate(names)]


SIZE = (420, 520)
PICTURES = ("dress", "blurred", "draft", "trousers", "pyjama", "vest", "skirt", "front", "back", "coat", "red", "blue")


@contextlib.contextmanager
def serving(served: Mapping[str, ModelShop], *, wait_s: float = 300.0) -> Iterator[None]:
    """Serve shops on the fixed address, in a thread; another process that serves there is waited for."""
    with _listener(wait_s) as listener:
        config = uvicorn.Config(
            app(served), log_level="warning", access_log=False, date_header=False, lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(30)


def _listener(wait_s: float) -> socket.socket:
    deadline = time.monotonic() + wait_s
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, PORT))
            listener.listen(128)
        except OSError:
            listener.close()
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.5)
        else:
            return listener


# --- the folder -----------------------------------------------------------------------------------


def unpack(folder: Path) -> None:
    """Put the old home, its stores.yaml and its model's files into a folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")


def images_of(folder: Path) -> dict[str, bytes]:
    """Return the pictures that the home holds, by their names in the shops."""
    digests: dict[str, str] = json.loads((folder / "pictures.json").read_text("utf-8"))
    blobs = {name: folder / "home" / "blobs" / sha256[:2] / sha256 for name, sha256 in digests.items()}
    return {name: path.read_bytes() for name, path in blobs.items() if path.is_file()}


def settings(folder: Path, database_url: str) -> dict[str, str]:
    """Return the variables that name a folder's parts, and nothing else with our prefix."""
    keys = {}
    for store_id in STORES:
        keys[f"{store_id.upper()}_KEY"], keys[f"{store_id.upper()}_SECRET"] = credentials(store_id)
    return {
        "FASHION_STORES": str(folder / "stores.yaml"),
        "FASHION_HOME": str(folder / "home"),
        "FASHION_DATABASE_URL": database_url,
        "FASHION_MODEL": f"local-dir:{folder / 'checkpoint'}",
        "FASHION_DEVICE": "cpu",
        **keys,
    }


def environment(folder: Path, database_url: str) -> dict[str, str]:
    """Return a process's environment: DAGSTER_HOME is not set, so that Dagster's instance is the home's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FASHION_", "DAGSTER_"))}
    return kept | settings(folder, database_url)


def commands(folder: Path, database_url: str, *each: Sequence[str]) -> list[Any]:
    """Run commands one after the other, in one process of their own; return the JSON objects they print.

    Each must succeed. One process, because to start it takes longer than to find nothing to do.
    """
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(each)],
        cwd=folder,
        env=environment(folder, database_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{each}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
