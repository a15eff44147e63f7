"""The fetching stage against every hostile URL and reply: the outcome of the image, and of its last good bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from fashion_pipeline.images import fetch
from fashion_pipeline.images.fetch import fetch_images, fetch_one
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import FetchedImage, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.builders import fetched, image, local_store, product
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.web.hostile import ANSWERS, CAP_BYTES, IMAGE, SLOW, URLS, Internet
from fashion_pipeline_tests.web.server import Site

REFUSED = {
    Reason.BAD_URL,
    Reason.BLOCKED_ADDRESS,
    Reason.BLOCKED_PORT,
    Reason.TOO_MANY_REDIRECTS,
    Reason.GONE,
    Reason.ENCODED,
    Reason.FILE_TOO_LARGE,
}
"""Reasons of rejections; any other reason is a temporary failure."""


async def test_every_hostile_url_affects_its_own_product_only(tmp_path: Path) -> None:
    """A run over a shop with only hostile URLs fetches what it can, reaches nothing private, and ends."""
    home, clock = Home(UPath(tmp_path)), HandClock()
    shop = local_store("https://shop.example", allow_private_hosts=())
    products = Table(tuple(product(f"{number}", image(url)) for number, url in enumerate(URLS)))
    async with Internet() as internet:
        guard = Guard.of(shop, resolver=internet.resolve)
        table: Table[FetchedImage] | None = None
        for days in (0, 2, 7):
            clock.advance(days=days)
            async with Web(guard=guard, clock=clock, user_agent="t", transport=internet) as web:
                table, _ = await fetch_images(
                    store=shop, table=products, previous=table, web=web, blobs=home.blobs, clock=clock, sweep=days > 0
                )
            outcomes = {row.url: row.outcome for row in table.rows if "binds.example" not in row.url or not days}
            reasons = {url: next(iter(outcome.reasons), None) for url, outcome in outcomes.items()}
            assert reasons == {url: reason for url, reason in URLS.items() if url in outcomes}
            for outcome in outcomes.values():
                assert outcome.ok or (outcome.status is Status.REJECTED) == (outcome.reasons[0] in REFUSED)
                assert outcome.ok or outcome.next_retry_at is not None
        assert internet.private.asked == []
    assert table is not None
    known = Table(tuple(row for row in table.rows if "\ud800" not in row.url and "\udfff" not in row.url))
    write_table(home.table("fetched_images", "a"), known, FetchedImage)
    assert read_table(home.table("fetched_images", "a"), FetchedImage) == known


async def test_every_hostile_reply_keeps_or_drops_the_last_good_image(tmp_path: Path) -> None:
    """A rejection drops the last good bytes, a temporary failure keeps them, and a new image replaces them."""
    home, clock = Home(UPath(tmp_path)), HandClock()
    before = fetched(url="https://shop.test/before.jpg", sha256=sha256_hex(b"before"))
    site = Site({f"/{number}": answer for number, (answer, _) in enumerate(ANSWERS.values())})
    async with site:
        shop = local_store(site.url(), quality={"max_file_bytes": CAP_BYTES})
        async with Web(guard=Guard.of(shop), clock=clock, user_agent="t") as web:
            for number, (name, (_, reason)) in enumerate(ANSWERS.items()):
                row = await fetch_one(
                    store=shop,
                    external_id="1",
                    image=image(site.url(f"/{number}")),
                    previous=before,
                    web=web,
                    blobs=home.blobs,
                    clock=clock,
                )
                assert (name, next(iter(row.outcome.reasons), None)) == (name, reason)
                came = sha256_hex(b"x" * CAP_BYTES if "cap" in name else IMAGE)
                stays = None if reason in REFUSED else before.last_good_sha256
                assert (name, row.shown_sha256) == (name, came if reason is None else stays)
                assert row.outcome.detail.isprintable()
                assert len(row.outcome.detail) < 1_000
                assert len(row.etag or "") < 1_000


async def test_an_image_that_exceeds_the_deadline_is_not_retried_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One deadline per run is enough: the image is retried when it is due."""
    monkeypatch.setattr(fetch, "DEADLINE_S", 0.05)
    clock = HandClock()
    async with Site({"/a.jpg": SLOW["a body that drips"]}) as site:
        shop = local_store(site.url())
        async with Web(guard=Guard.of(shop), clock=clock, user_agent="t") as web:
            row = await fetch_one(
                store=shop,
                external_id="1",
                image=image(site.url("/a.jpg")),
                previous=None,
                web=web,
                blobs=Home(UPath(tmp_path)).blobs,
                clock=clock,
            )
        assert (row.outcome.status, row.outcome.reasons) == (Status.FAILED, (Reason.TOO_SLOW,))
        assert site.paths() == ["/a.jpg"]
