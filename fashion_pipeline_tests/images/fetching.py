"""A store on a site, and the fetching stage run on it again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upath import UPath

from fashion_pipeline.images.fetch import FetchCounts, fetch_images
from fashion_pipeline.records import FetchedImage, Image, Product, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.builders import image, local_store, product
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.web.server import Answer, Asked, Site


def tagged(body: bytes) -> Any:
    """Return a script that answers 304 to a client with these bytes, as a good host does."""
    etag = f'"{sha256_hex(body)[:8]}"'

    def answer(asked: Asked) -> Answer:
        known = asked.headers.get("if-none-match") == etag
        return Answer(status=304) if known else Answer(body, headers={"ETag": etag})

    return answer


class Stage:
    """A store of one product with one image, /a.jpg, on which the stage runs repeatedly."""

    def __init__(self, root: Path, site: Site, **options: Any) -> None:
        self.home = Home(UPath(root))
        self.site = site
        self.store = local_store(f"{site.url()}", **options)
        self.clock = HandClock()
        self.products: list[Product] = [product("1", self.image("/a.jpg"))]
        self.table: Table[FetchedImage] | None = None

    def image(self, path: str, **values: Any) -> Image:
        """Return an image on the site."""
        return image(self.site.url(path), **values)

    async def run(self, *, sweep: bool = False, **more: Any) -> FetchCounts:
        """Run the stage on its own last table, like a new process."""
        async with self.web() as web:
            self.table, counts = await fetch_images(
                store=self.store,
                table=Table(tuple(self.products)),
                previous=self.table,
                web=web,
                blobs=self.home.blobs,
                clock=self.clock,
                sweep=sweep,
                **more,
            )
        return counts

    def web(self) -> Web:
        """Return the client of one run."""
        return Web(guard=Guard.of(self.store), clock=self.clock, user_agent="t")

    @property
    def row(self) -> FetchedImage:
        """The only row."""
        assert self.table is not None
        (row,) = self.table.rows
        return row

    def asked(self) -> list[str]:
        """Return the paths requested since the last call."""
        paths = self.site.paths()
        self.site.asked.clear()
        return paths
