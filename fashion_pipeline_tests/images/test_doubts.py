"""A host in trouble sends for its good images what it would send for bad ones: that is no evidence yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.images.doubts import DIFFERENT_IMAGES
from fashion_pipeline.images.fetch import fetch_images
from fashion_pipeline.images.plan import BELIEVED_AFTER
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import FetchedImage, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.builders import product
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.fetching import Stage
from fashion_pipeline_tests.web.server import Answer, Site

GOOD = encode(checks(32, 32), "PNG")
STAND_IN = encode(checks(32, 32, seed=99), "PNG")
HTML = b"<!doctype html><title>Just a moment</title>"

PAGES = {
    "HTML with 200": Answer(HTML, headers={"Content-Type": "text/html"}),
    "HTML called an image": Answer(HTML, headers={"Content-Type": "image/jpeg"}),
    "JSON with 200": Answer(b'{"error": "database"}'),
    "text with 200": Answer(b"too many connections", headers={"Content-Type": "text/plain"}),
}
REPLIES = {
    "a redirect loop": (Answer(status=302, headers={"Location": "/a.jpg"}), Reason.TOO_MANY_REDIRECTS),
    "everything encoded": (Answer(GOOD, headers={"Content-Encoding": "br"}), Reason.ENCODED),
    "a captive portal": (Answer(status=302, headers={"Location": "http://10.0.0.1/"}), Reason.BLOCKED_ADDRESS),
    "a portal's port": (Answer(status=302, headers={"Location": "http://a.test:8443/"}), Reason.BLOCKED_PORT),
    "a portal's scheme": (Answer(status=302, headers={"Location": "portal:login"}), Reason.BAD_URL),
}
TROUBLE = REPLIES | {name: (answer, Reason.NOT_AN_IMAGE) for name, answer in PAGES.items()}
"""What a host may send for a good image in a bad night."""


@pytest.mark.parametrize("name", TROUBLE)
async def test_a_host_in_trouble_keeps_its_good_images(tmp_path: Path, name: str) -> None:
    """The last good image stays in use, stale, is retried soon, and is back in the first run after the trouble."""
    trouble, reason = TROUBLE[name]
    async with Site({"/a.jpg": Answer(GOOD)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        site.answers["/a.jpg"] = trouble
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
        assert (stage.row.outcome.status, stage.row.outcome.reasons) == (Status.FAILED, (reason,))
        assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(GOOD))
        for _ in range(30):
            stage.clock.advance(hours=2)
            await stage.run()
            assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(GOOD))
        site.answers["/a.jpg"] = Answer(GOOD)
        stage.clock.advance(days=1)
        await stage.run()
    assert stage.row.outcome.ok
    assert stage.row.doubtful_since is None


@pytest.mark.parametrize("name", REPLIES)
async def test_trouble_that_lasts_is_believed(tmp_path: Path, name: str) -> None:
    """After three days the image is rejected, and then looked at again daily, not weekly."""
    trouble, reason = TROUBLE[name]
    async with Site({"/a.jpg": Answer(GOOD)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        site.answers["/a.jpg"] = trouble
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
        for _ in range(9):
            stage.clock.advance(days=1)
            await stage.run()
            assert stage.row.shown_sha256 is None or stage.clock.now() - BELIEVED_AFTER < stage.row.doubtful_since  # type: ignore[operator]
        assert (stage.row.outcome.status, stage.row.outcome.reasons) == (Status.REJECTED, (reason,))
        assert stage.row.shown_sha256 is None
        site.answers["/a.jpg"] = Answer(GOOD)
        stage.clock.advance(days=1)
        await stage.run()
    assert stage.row.outcome.ok


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_that_lasts_is_stored_and_judged(tmp_path: Path, name: str) -> None:
    """After three days the page is what the shop has: the gate refuses it, and revalidation is weekly again."""
    async with Site({"/a.jpg": Answer(GOOD)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        site.answers["/a.jpg"] = PAGES[name]
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
        for _ in range(3):
            assert stage.row.shown_sha256 == sha256_hex(GOOD)
            stage.clock.advance(days=1)
            await stage.run()
        assert stage.row.shown_sha256 == sha256_hex(PAGES[name].body)
        stage.asked()
        stage.clock.advance(days=6)
        await stage.run()
        assert stage.asked() == []


async def test_a_page_for_a_new_image_is_requested_again_soon(tmp_path: Path) -> None:
    """It is judged like a file, but requested again after an hour, then later and later, until three days have passed."""
    async with Site({"/a.jpg": PAGES["HTML with 200"]}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        assert (stage.row.outcome.ok, stage.row.doubtful_since) == (True, stage.clock.now())
        tries = []
        for hour in range(24 * 10):
            await stage.run()
            tries += [hour] if stage.asked() and hour else []
            stage.clock.advance(hours=1)
        assert tries == [1, 2, 4, 8, 16, 32, 64, 128]
        site.answers["/a.jpg"] = Answer(GOOD)
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
    assert (stage.row.shown_sha256, stage.row.doubtful_since) == (sha256_hex(GOOD), None)


@pytest.mark.parametrize("name", REPLIES)
async def test_a_new_image_on_a_host_in_trouble_is_looked_at_again_soon(tmp_path: Path, name: str) -> None:
    """Without a good image to keep it is rejected, but its next look is minutes away, not a week."""
    async with Site({"/a.jpg": TROUBLE[name][0]}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        assert stage.row.outcome.status is Status.REJECTED
        site.answers["/a.jpg"] = Answer(GOOD)
        stage.clock.advance(minutes=5)
        await stage.run()
    assert stage.row.outcome.ok


async def test_a_server_error_between_does_not_restart_the_doubt(tmp_path: Path) -> None:
    """Three days of trouble are three days, whatever kind each reply has; a 503 alone is never believed."""
    async with Site({"/a.jpg": Answer(GOOD)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.clock.advance(days=7)
        for day in range(4):
            site.answers["/a.jpg"] = Answer(status=503) if day % 2 else TROUBLE["a redirect loop"][0]
            await stage.run(sweep=True)
            assert stage.row.stale
            stage.clock.advance(days=1)
        site.answers["/a.jpg"] = TROUBLE["everything encoded"][0]
        await stage.run()
    assert stage.row.outcome.status is Status.REJECTED


async def test_a_name_that_leads_nowhere_keeps_the_images_of_its_host(tmp_path: Path) -> None:
    """A name server that answers 0.0.0.0 for a known host proves nothing; a new image at a private name is rejected."""
    address = ["127.0.0.1"]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return tuple(address)

    async with Site({"/a.jpg": Answer(GOOD)}) as site:
        stage = Stage(tmp_path, site, allow_private_hosts=())

        async def run(*, allowed: bool, **more: Any) -> FetchedImage:
            hosts = ("cdn.test",) if allowed else ()
            guard = Guard(allow_private_hosts=hosts, allow_ports=(site.port,), resolver=resolve)
            async with Web(guard=guard, clock=stage.clock, user_agent="t") as web:
                stage.table, _ = await fetch_images(
                    store=stage.store,
                    table=Table(tuple(stage.products)),
                    previous=stage.table,
                    web=web,
                    blobs=stage.home.blobs,
                    clock=stage.clock,
                    sweep=True,
                    **more,
                )
            return stage.row

        stage.products = [product("1", _at(stage, "cdn.test"))]
        assert (await run(allowed=True)).outcome.ok
        stage.clock.advance(days=7)
        address[:] = ["0.0.0.0"]  # what a blocking name server answers
        row = await run(allowed=False)
        assert (row.stale, row.outcome.reasons) == (True, (Reason.BLOCKED_ADDRESS,))
        stage.products = [product("1", _at(stage, "intranet.test"))]
        row = await run(allowed=False)
    assert (row.shown_sha256, row.outcome.status) == (None, Status.REJECTED)


def _at(stage: Stage, host: str) -> Any:
    return stage.image("/a.jpg").__class__("1", f"http://{host}:{stage.site.port}/a.jpg", 0, None)


def gallery(root: Path, site: Site, count: int) -> Stage:
    """Return a store with this many products, each with an image of its own."""
    stage = Stage(root, site)
    stage.products = [product(f"{number}", stage.image(f"/{number}.png")) for number in range(count)]
    for number in range(count):
        site.answers[f"/{number}.png"] = Answer(encode(checks(32, 32, seed=number), "PNG"))
    return stage


def rows(stage: Stage) -> tuple[FetchedImage, ...]:
    """Return all rows."""
    assert stage.table is not None
    return stage.table.rows


async def test_the_same_bytes_for_different_images_are_the_hosts_trouble(tmp_path: Path) -> None:
    """A stand-in for every image is doubted, also where it arrived first or alone, and accepted once it has lasted."""
    async with Site() as site:
        stage = gallery(tmp_path, site, 6)
        await stage.run()
        good = [row.shown_sha256 for row in rows(stage)]
        site.answers.update(dict.fromkeys(site.answers, Answer(STAND_IN)))
        stage.clock.advance(days=7)
        counts = await stage.run(sweep=True)
        assert (counts.failed, counts.requests) == (6, 6)
        assert {row.outcome.reasons for row in rows(stage)} == {(Reason.SAME_BYTES,)}
        assert [row.shown_sha256 for row in rows(stage)] == good
        stage.products = [*stage.products[:1], product("new", stage.image("/0.png?new", image_id="9"))]
        stage.clock.advance(days=1)
        site.answers["/0.png?new"] = Answer(STAND_IN)
        await stage.run()
        first, new = rows(stage)
        assert (first.stale, first.shown_sha256) == (True, good[0])
        assert (new.outcome.status, new.outcome.reasons) == (Status.REJECTED, (Reason.SAME_BYTES,))
        for _ in range(4):
            stage.clock.advance(days=1)
            await stage.run()
        assert [row.shown_sha256 for row in rows(stage)] == [sha256_hex(STAND_IN)] * 2


async def test_a_host_that_recovers_from_a_stand_in_is_believed_at_once(tmp_path: Path) -> None:
    """The first good reply ends the doubt."""
    async with Site() as site:
        stage = gallery(tmp_path, site, DIFFERENT_IMAGES)
        answers = dict(site.answers)
        await stage.run()
        site.answers.update(dict.fromkeys(site.answers, Answer(STAND_IN)))
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
        site.answers.update(answers)
        stage.clock.advance(minutes=5)
        await stage.run()
    assert all(row.outcome.ok and row.doubted_sha256 is None for row in rows(stage))


async def test_one_image_replaced_under_several_urls_is_accepted(tmp_path: Path) -> None:
    """URLs that had the same bytes before may have the same bytes again: an image uploaded for each size."""
    async with Site() as site:
        stage = gallery(tmp_path, site, 5)
        site.answers.update(dict.fromkeys(site.answers, Answer(GOOD)))
        await stage.run()
        site.answers.update(dict.fromkeys(site.answers, Answer(STAND_IN)))
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
    assert {row.shown_sha256 for row in rows(stage)} == {sha256_hex(STAND_IN)}


async def test_a_file_that_is_no_page_is_left_to_the_decoder(tmp_path: Path) -> None:
    """Unknown bytes and drawings are what the shop has, so they are stored and judged."""
    for body in (b"\x00\x01 unknown", b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        async with Site({"/a.jpg": Answer(body, headers={"Content-Type": "image/svg+xml"})}) as site:
            stage = Stage(tmp_path, site)
            await stage.run()
        assert stage.row.outcome.ok
