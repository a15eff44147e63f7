"""A changing shop, runs that are killed, and a comparison that must find nothing.

A round changes the shop, also while a run reads it; ends that run, PostgreSQL or Qdrant at a random
moment; lets one more run pass; and compares the shop with rows, points, vectors and outcomes. What
should be there is worked out here, from the shop's own state: no reading, judging or planning code
is shared. Only the vectors are the encoder's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import psycopg
import uvicorn

from fashion_pipeline.embedding.load import find_checkpoint, load_encoder
from fashion_pipeline.images.decode import PIXEL_SPEC
from fashion_pipeline.images.quality import render_blob
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Key, ModelProduct, ModelShop
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.images.drawing import checks, encode, good
from fashion_pipeline_tests.killed import Forks
from fashion_pipeline_tests.qdrant_server import QdrantServer

STORE = "atelier"
PICTURES = 24
HANGS_S = 300
"""Different pictures; further ones have the same bytes as one of these."""


@dataclass
class Round:
    """What one round did, and the differences that were left after it."""

    number: int
    ended: str
    changes: int
    hit: bool
    differences: list[str] = field(default_factory=list)


class Chaos:
    """A shop, a home with its databases, and a process that runs the command line; a context manager."""

    def __init__(self, folder: Path, model: str, *, seed: int, qdrant_server: bool) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.model = model
        self.number = 0
        self.qdrant = QdrantServer(folder / "qdrant-server") if qdrant_server else None
        self._key = Key("ck_" + "a" * 40, "cs_" + "b" * 40)
        self._stack = contextlib.ExitStack()
        self._forks = Forks()
        self._pictures: dict[str, str] = {}
        self._bytes = [good(seed=number) for number in range(PICTURES)]
        self._too_small = encode(checks(120, 100), quality=90)
        self._changing = False
        self._silent = False
        self._changes = 0
        self._ids: dict[str, Any] = {}
        self._vectors: dict[str, np.ndarray] = {}
        self._run_s = 3.0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self.shop = ModelShop(id=STORE, keys=[self._key])
            self.shop.origin = stack.enter_context(_served(self.shop))
            stack.enter_context(self._environment())
            if self.qdrant is not None:
                self.qdrant.start()
                stack.callback(self.qdrant.kill)
            stack.callback(self._forks.close)
            for _ in range(30):
                self._add()
            self.shop.fault = self._meanwhile
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- a round ----------------------------------------------------------------------------------

    def round(self) -> Round:
        """Change, end, run once more, compare."""
        self.number += 1
        self._changes = 0
        self._silent = self.random.random() < 0.5
        for _ in range(self.random.randint(1, 8)):
            self._change()
        self._changing = True
        ended, hit = self._disturbed_run()
        self._changing = False
        self._settle()
        started = time.monotonic()
        status = self._run("never:", sweep=self._silent)
        self._run_s = 0.7 * self._run_s + 0.3 * (time.monotonic() - started)
        told = Round(self.number, ended, self._changes, hit)
        if status != 0:
            told.differences.append(f"the run after it ended with status {status}: {self.log[-400:]}")
        else:
            told.differences += self.compare()
        return told

    @property
    def log(self) -> str:
        """What the last run printed."""
        return (self.folder / "run.log").read_text("utf-8", "replace")

    def _disturbed_run(self) -> tuple[str, bool]:
        """Run, and end something at a random moment; return what, and whether the run was still under way."""
        ways = ["kill", "kill", "kill", "term", "postgres", "two"] + (["qdrant", "qdrant"] if self.qdrant else [])
        way = self.random.choice(ways)
        moment = self.random.uniform(0.05, self._run_s)
        sweep = self.random.random() < 0.4
        if way in {"kill", "term"}:
            number = signal.SIGKILL if way == "kill" else signal.SIGTERM
            return way, self._run(f"after:{moment}", sweep=sweep, number=number) != 0
        if way == "two":
            with self._beside():
                return way, self._run(f"after:{moment}", sweep=sweep) != 0
        end = self._end_postgres if way == "postgres" else self._end_qdrant
        timer = threading.Timer(moment, end)
        timer.start()
        status = self._run("never:", sweep=sweep)
        timer.join()
        return way, status != 0

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """Run the same store in another process meanwhile, which waits for the store's lock or has it."""
        command = [sys.executable, "-m", "fashion_pipeline.cli", "ingest", STORE, "--allow-removals"]
        with (self.folder / "beside.log").open("wb") as log:
            other = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                yield
            finally:
                other.wait(HANGS_S)

    def _run(self, moment: str, *, sweep: bool, number: int = signal.SIGKILL) -> int:
        """Run the command line in a fork; return its wait status."""
        arguments = ["ingest", STORE, "--allow-removals", *(["--sweep"] if sweep else [])]
        log = str(self.folder / "run.log")
        return self._forks.run(moment, arguments, environment={}, signal=int(number), log=log)

    def _end_postgres(self) -> None:
        """End the embedded server's first process with SIGKILL, as the kernel does when memory runs out."""
        pid = self.home.local("postgres") / "data" / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            os.kill(int(pid.read_text("ascii").splitlines()[0]), signal.SIGKILL)

    def _end_qdrant(self) -> None:
        if self.qdrant is not None:
            self.qdrant.kill()
            time.sleep(self.random.uniform(0, 1))
            self.qdrant.start()

    # --- the shop ---------------------------------------------------------------------------------

    def _meanwhile(self, _: object) -> None:
        if self._changing and self.random.random() < 0.15:
            self._change()

    def _change(self) -> None:
        """Do one thing that a shopkeeper, an import or a cron job does."""
        dated = [self._add, self._edit, self._edit, self._new_picture, self._trash, self._untrash, self._schedule]
        silent = [self._edit_silently, self._force_delete, self._replace_picture]
        self.random.choice(dated + (silent if self._silent else []))()
        self._changes += 1

    def _settle(self) -> None:
        """Let what was scheduled be published."""
        future = [p.created for p in self.shop.products.values() if p.status == "future" and p.created]
        while future and self.shop.clock.now() < max(future):
            time.sleep(0.05)
        self.shop.run_cron()

    def _add(self) -> None:
        status = self.random.choice(["publish"] * 10 + ["draft", "private"])
        pictures = self.random.choice([0] + [1] * 6 + [2] * 3)
        self.shop.add(**self._fields(), status=status, images=[self._picture() for _ in range(pictures)])

    def _schedule(self) -> None:
        at = self.shop.clock.now() + timedelta(seconds=1)
        self.shop.add(**self._fields(), status="future", created=at, images=[self._picture()])

    def _edit(self) -> None:
        self._one(lambda key: self.shop.edit(key, **self._fields()))

    def _edit_silently(self) -> None:
        self._one(lambda key: self.shop.edit_silently(key, **self._fields()))

    def _new_picture(self) -> None:
        self._one(lambda key: self.shop.edit(key, images=[self._picture()]))

    def _trash(self) -> None:
        self._one(self.shop.trash)

    def _untrash(self) -> None:
        self._one(self.shop.untrash, trashed=True)

    def _force_delete(self) -> None:
        self._one(self.shop.force_delete)

    def _replace_picture(self) -> None:
        """Put other bytes under an address that a product has, and let the shop's media library know."""
        shown = [self.shop.attachments[key].url for p in self.shop.products.values() for key in p.attachments[:1]]
        if shown:
            time.sleep(1)  # dates have seconds, and a picture replaced twice in one is not told apart
            self._upload(self.random.choice(shown), replace=True)

    def _one(self, do: Callable[[int], object], *, trashed: bool = False) -> None:
        there = [key for key, product in self.shop.products.items() if (product.status == "trash") is trashed]
        if there:
            do(self.random.choice(there))

    def _fields(self) -> dict[str, Any]:
        return {
            "name": f"Dress {self.random.randint(1, 10**6)}",
            "price": self.random.choice(["", "0", "12.345", "0.005", "250", *["19.99"] * 7]),
            "stock_status": self.random.choice(["instock", "outofstock"]),
            "post_password": self.random.choice([""] * 19 + ["secret"]),
        }

    def _picture(self) -> str:
        """Return the address of a new picture; one in ten is too small, one in ten is missing."""
        return self._upload(f"{len(self._pictures):05}.jpg")

    def _upload(self, path: str, *, replace: bool = False) -> str:
        chance = self.random.random()
        data = self._too_small if chance < 0.1 else self.random.choice(self._bytes)
        digest = hashlib.sha256(data).hexdigest()
        if replace:
            self.shop.set_image(path, data, shop_knows=True)
            url = path
        else:
            url = self.shop.upload(path, data)
        self._pictures[url] = "too_small" if data is self._too_small else digest
        return url

    # --- what should be there, and what is ----------------------------------------------------------

    def expected(self) -> tuple[dict[str, tuple[Any, ...]], dict[str, str]]:
        """Return, by id, what a live product shows (title, price, stock, picture), and why the others are not live."""
        live: dict[str, tuple[Any, ...]] = {}
        refused: dict[str, str] = {}
        for key, product in self.shop.products.items():
            reason = self._against(product)
            if reason:
                refused[str(key)] = reason
                continue
            price = Decimal(product.fields["price"]).quantize(Decimal("0.01"), "ROUND_HALF_UP")
            stock = product.fields["stock_status"] != "outofstock"
            live[str(key)] = (product.fields["name"], price, stock, self._shown(product))
        return live, refused

    def _shown(self, product: ModelProduct) -> str:
        return self._pictures[self.shop.attachments[product.attachments[0]].url]

    def _against(self, product: ModelProduct) -> str:
        fields = product.fields
        if product.status == "trash":
            return "trashed"
        if product.status != "publish":
            return "not_published"
        if fields["post_password"]:
            return "password_protected"
        if not product.attachments:
            return "no_image"
        if fields["price"] in {"", "0"}:
            return "no_price" if not fields["price"] else "zero_price"
        return "too_small" if self._shown(product) == "too_small" else ""

    def compare(self) -> list[str]:
        """Return every difference between the shop and the two sinks and the outcomes."""
        live, refused = self.expected()
        rows, outcomes = self._read_postgres()
        points = self._read_points()
        found = _differences("row", {key: row[1:] for key, row in rows.items()}, live)
        for key, row in rows.items():
            self._ids.setdefault(key, row[0])
        found += _differences("id of row", {key: row[0] for key, row in rows.items()}, {k: self._ids[k] for k in rows})
        there = {point["external_id"]: point for point in points}
        if len(points) != len(live):
            found.append(f"number of points: {len(points)}, not {len(live)}")
        told = {
            key: (point["title"], Decimal(str(point["price"])), point["in_stock"], point["image_sha256"], point["id"])
            for key, point in there.items()
        }
        found += _differences("point", told, {key: (*row, str(self._ids.get(key))) for key, row in live.items()})
        found += [
            f"vector {key}: not that of its picture"
            for key, row in live.items()
            if key in there and float(there[key]["vector"] @ self._vector(row[3])) < 0.9999
        ]
        wanted = {key: (key in live,) * 3 for key in live.keys() | refused.keys()}
        states = {key: (row[0] == "ok", row[2], row[3]) for key, row in outcomes.items() if key in wanted}
        found += _differences("outcome", states, wanted)
        return found + [
            f"reasons of {key}: {outcomes[key][1]!r}, not {reason!r}"
            for key, reason in refused.items()
            if key in outcomes and reason not in outcomes[key][1]
        ]

    def _read_postgres(self) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
        with embedded_postgres(self.home) as url:
            plain = url.replace("postgresql+psycopg://", "postgresql://")
            with psycopg.connect(plain) as connection:
                rows = connection.execute(
                    "SELECT external_id, id, title, price, in_stock, image_sha256 FROM products WHERE archived_at IS NULL"
                ).fetchall()
                told = connection.execute(
                    "SELECT external_id, status, reasons, in_postgres, in_qdrant FROM product_outcomes"
                ).fetchall()
        return {row[0]: tuple(row[1:]) for row in rows}, {row[0]: tuple(row[1:]) for row in told}

    def _read_points(self) -> list[dict[str, Any]]:
        with vector_store(Settings.read(), self.home) as client:
            points, _ = client.scroll(ALIAS, limit=100_000, with_payload=True, with_vectors=True)
        return [{"id": str(p.id), **(p.payload or {}), "vector": np.asarray(p.vector, np.float32)} for p in points]

    def _vector(self, sha256: str) -> np.ndarray:
        if sha256 not in self._vectors:
            data = next(data for data in self._bytes if hashlib.sha256(data).hexdigest() == sha256)
            self._vectors[sha256] = self._encoder.encode(render_blob(data, max_pixels=40_000_000)[None])[0]
        return self._vectors[sha256]

    @cached_property
    def _encoder(self) -> Any:
        checkpoint = find_checkpoint(self.model, home=self.home, pixel_spec=PIXEL_SPEC)
        return load_encoder(checkpoint, device="cpu", precision="fp32", batch_size=8)

    # --- the machine --------------------------------------------------------------------------------

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """Point the settings of this process, and of those it starts, at this world."""
        store = {
            "id": STORE,
            "url": self.shop.url,
            "consumer_key": "${CHAOS_KEY}",
            "consumer_secret": "${CHAOS_SECRET}",
            "allow_private_hosts": ["127.0.0.1"],
        }
        (self.folder / "stores.yaml").write_text(json.dumps({"stores": [store]}), "utf-8")
        ours = {
            "FASHION_STORES": str(self.folder / "stores.yaml"),
            "FASHION_HOME": str(self.folder / "home"),
            "FASHION_MODEL": self.model,
            "CHAOS_KEY": self._key.consumer_key,
            "CHAOS_SECRET": self._key.consumer_secret,
            **({"FASHION_QDRANT_URL": self.qdrant.url} if self.qdrant else {}),
        }
        before = dict(os.environ)
        for name in [name for name in os.environ if name.startswith(("FASHION_", "DAGSTER_"))]:
            del os.environ[name]
        os.environ.update(ours)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _differences(what: str, there: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """Name what differs between two states, by id."""
    keys = sorted(there.keys() | wanted.keys())
    return [
        f"{what} {key}: {there.get(key)!r}, not {wanted.get(key)!r}"
        for key in keys
        if there.get(key) != wanted.get(key)
    ]


@contextlib.contextmanager
def _served(shop: ModelShop) -> Iterator[str]:
    """Serve one model shop from a thread of this process, and yield its origin."""
    config = uvicorn.Config(
        app({shop.id: shop}), port=0, log_level="error", access_log=False, date_header=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
