from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from fashion_pipeline.errors import StorageError
from fashion_pipeline.images.fetch import FetchCounts, fetch_images, fetch_one
from fashion_pipeline.images.jobs import GIVEN_UP_AFTER
from fashion_pipeline.outcomes import Reason, Status, rejected
from fashion_pipeline.records import FetchedImage, Image, Product, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.builders import image, local_store, product
from fashion_pipeline_tests.clock import MONDAY, HandClock
from fashion_pipeline_tests.web.server import Answer, Asked, Site

ONE, TWO = b"one" * 100, b"two" * 100


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


async def test_unchanged_images_cost_no_request(tmp_path: Path) -> None:
    """The first run stores the bytes, the second requests nothing."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        assert await stage.run() == FetchCounts(images=1, requests=1, fetched=1, bytes=300)
        assert stage.home.blobs.get(stage.row.shown_sha256 or "") == ONE
        assert await stage.run() == FetchCounts(images=1, kept=1)
    assert stage.asked() == ["/a.jpg"]


@pytest.mark.parametrize("image_id", ["1", "2"])
async def test_a_new_url_that_fails_for_a_week_keeps_the_last_good_image(tmp_path: Path, image_id: str) -> None:
    """The product is stale, its old image stays, and the new one is retried at most daily until it succeeds.

    WooCommerce gives a new image a new id; a plugin may keep the old one.
    """
    async with Site({"/a.jpg": Answer(ONE), "/b.jpg": Answer(status=503)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.products = [product("1", stage.image("/b.jpg", image_id=image_id))]
        tries = []
        for _ in range(7 * 24):
            await stage.run()
            tries.append(bool(stage.asked()))
            assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(ONE))
            stage.clock.advance(hours=1)
        assert stage.row.outcome.reasons == (Reason.HTTP_ERROR,)
        assert 1 <= sum(tries[-48:]) <= 4
        site.answers["/b.jpg"] = Answer(TWO)
        stage.clock.advance(days=1)
        await stage.run()
        assert (stage.row.stale, stage.row.shown_sha256, stage.row.outcome.attempts) == (False, sha256_hex(TWO), 0)


@pytest.mark.parametrize("announced", [True, False])
async def test_an_image_that_changes_while_its_host_answers_503_is_not_stale_for_ever(
    tmp_path: Path, *, announced: bool
) -> None:
    """An image replaced in place is stale at first, is retried once or twice a day, and is fetched in the end."""
    async with Site({"/a.jpg": tagged(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        site.answers["/a.jpg"] = Answer(status=503)
        if announced:
            stage.products = [product("1", stage.image("/a.jpg", modified_at=MONDAY + timedelta(hours=1)))]
        for _ in range(7):
            await _night(stage)
        assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(ONE))
        for hour in range(7 * 24):
            if hour == 5 * 24:
                stage.asked()
            stage.clock.advance(hours=1)
            await stage.run()
        assert (
            1 <= len(stage.asked()) / 4 <= 4
        )  # four attempts each; the wait has grown to between half a day and a day
        assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(ONE))
        site.answers["/a.jpg"] = tagged(TWO)
        stage.clock.advance(days=1)
        await stage.run()
        assert (stage.row.stale, stage.row.shown_sha256) == (False, sha256_hex(TWO))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_an_image_that_moved_is_followed(tmp_path: Path, status: int) -> None:
    """It keeps the URL that the shop lists, and is confirmed at its new address."""
    moved = Answer(status=status, headers={"Location": "/there.jpg"})
    async with Site({"/a.jpg": moved, "/there.jpg": tagged(ONE)}) as site:
        stage = Stage(tmp_path, site)
        assert await stage.run() == FetchCounts(images=1, requests=1, fetched=1, bytes=300)
        assert (stage.row.url, stage.row.shown_sha256) == (site.url("/a.jpg"), sha256_hex(ONE))
        assert await stage.run() == FetchCounts(images=1, kept=1)
        stage.clock.advance(days=7)
        assert await stage.run(sweep=True) == FetchCounts(images=1, requests=1, not_modified=1)
    assert stage.asked() == ["/a.jpg", "/there.jpg"] * 2


async def test_an_image_replaced_in_place_is_found_by_the_shops_date(tmp_path: Path) -> None:
    """The same URL with a later date in the shop is fetched again."""
    async with Site({"/a.jpg": [Answer(ONE), Answer(TWO)]}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.products = [product("1", stage.image("/a.jpg", modified_at=MONDAY + timedelta(hours=1)))]
        assert (await stage.run()).fetched == 1
        assert stage.row.sha256 == sha256_hex(TWO)


@pytest.mark.parametrize("validators", [True, False])
async def test_an_image_replaced_without_notice_is_found_within_seven_nights(
    tmp_path: Path, *, validators: bool
) -> None:
    """Revalidation finds it by a conditional GET, or by its bytes if the host sends no validators."""
    async with Site({"/a.jpg": tagged(ONE) if validators else Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        week = [await _night(stage) for _ in range(7)]
        assert sum(counts.requests for counts in week) == 1
        assert sum(counts.not_modified for counts in week) == int(validators)
        assert stage.row.sha256 == sha256_hex(ONE)
        site.answers["/a.jpg"] = tagged(TWO) if validators else Answer(TWO)
        for _ in range(7):
            await _night(stage)
        assert stage.row.sha256 == sha256_hex(TWO)


async def _night(stage: Stage) -> FetchCounts:
    stage.clock.advance(days=1)
    return await stage.run(sweep=True)


async def test_a_confirmation_sends_the_validators_and_downloads_nothing(tmp_path: Path) -> None:
    """A 304 downloads nothing and records the time."""
    async with Site({"/a.jpg": tagged(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.clock.advance(days=7)
        assert await stage.run(sweep=True) == FetchCounts(images=1, requests=1, not_modified=1)
        assert site.asked[-1].headers["if-none-match"] == stage.row.etag
    assert stage.row.checked_at == stage.clock.now()


async def test_a_missing_image_is_requested_weekly(tmp_path: Path) -> None:
    """A 404 is rejected as gone and requested once a week, until the image is back."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.clock.advance(days=8)
        site.answers["/a.jpg"] = Answer(status=404)
        await stage.run(sweep=True)
        assert (stage.row.outcome.status, stage.row.outcome.reasons) == (Status.REJECTED, (Reason.GONE,))
        assert stage.row.shown_sha256 is None
        stage.asked()
        nights = []
        for _ in range(14):
            await _night(stage)
            nights.append(len(stage.asked()))
        assert nights == [0, 0, 0, 0, 0, 0, 1] * 2
        site.answers["/a.jpg"] = Answer(ONE)
        stage.clock.advance(days=7)
        await stage.run()
        assert stage.row.shown_sha256 == sha256_hex(ONE)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_refusals_that_are_no_evidence_keep_the_image(tmp_path: Path, status: int) -> None:
    """A firewall's 403, a rate limit or a server error during revalidation keeps the image."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        site.answers["/a.jpg"] = Answer(status=status)
        stage.clock.advance(days=7)
        assert (await stage.run(sweep=True)).failed == 1
        assert (stage.row.stale, stage.row.shown_sha256) == (True, sha256_hex(ONE))


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (Answer(b""), Reason.EMPTY, Status.FAILED),
        (Answer(b"x", announced=300), Reason.TRUNCATED, Status.FAILED),
        (Answer(status=304), Reason.EMPTY, Status.FAILED),
        (Answer(ONE, headers={"Content-Encoding": "br"}), Reason.ENCODED, Status.REJECTED),
        (Answer(status=302, headers={"Location": "/a.jpg"}), Reason.TOO_MANY_REDIRECTS, Status.REJECTED),
        (Answer(status=302, headers={"Location": "http://169.254.169.254/"}), Reason.BLOCKED_ADDRESS, Status.REJECTED),
        (Answer(status=302, headers={"Location": "file:///etc/passwd"}), Reason.BAD_URL, Status.REJECTED),
        (Answer(status=302, headers={"Location": "http://xn--/a.jpg"}), Reason.BAD_URL, Status.REJECTED),
        (Answer(status=400), Reason.HTTP_ERROR, Status.REJECTED),
    ],
)
async def test_every_failure_has_an_outcome(tmp_path: Path, answer: Answer, reason: Reason, status: Status) -> None:
    """Whatever a host does, the image gets a reason, a message and a time for its retry."""
    async with Site({"/a.jpg": answer}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
    assert (stage.row.outcome.reasons, stage.row.outcome.status) == ((reason,), status)
    assert stage.row.outcome.detail
    assert stage.row.outcome.next_retry_at is not None


async def test_a_raised_byte_cap_fetches_only_what_it_admits(tmp_path: Path) -> None:
    """A file over the cap is requested again once the cap reaches its size, and not before."""
    async with Site({"/a.jpg": Answer(ONE), "/b.jpg": Answer(b"x" * 900)}) as site:
        stage = Stage(tmp_path, site, quality={"max_file_bytes": 100})
        stage.products.append(product("2", stage.image("/b.jpg")))
        assert (await stage.run()).rejected == 2
        stage.asked()
        stage.store = local_store(site.url(), quality={"max_file_bytes": 500})
        assert await stage.run() == FetchCounts(images=2, waiting=1, requests=1, fetched=1, bytes=300)
    assert stage.asked() == ["/a.jpg"]


async def test_a_stranger_reaches_nothing_private(tmp_path: Path) -> None:
    """An image on a private server is blocked without a request; once its host is allowed, the next run fetches it."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site, allow_private_hosts=())
        await stage.run()
        assert stage.row.outcome.reasons == (Reason.BLOCKED_ADDRESS,)
        assert stage.asked() == []
        stage.store = local_store(site.url())
        await stage.run()
        assert stage.row.outcome.ok


async def test_an_unexpected_error_costs_one_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A library's unexpected error fails that image only, and its traceback is logged."""

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        if host == "odd.example":
            msg = "half an\x1b[2J address"
            raise ValueError(msg)
        return ("127.0.0.1",)

    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        stage.products.append(product("2", image("http://odd.example/b.jpg")))
        odd = Guard(allow_private_hosts=("127.0.0.1",), resolver=resolve)
        async with Web(guard=odd, clock=stage.clock, user_agent="t") as web:
            stage.web = lambda: web  # type: ignore[method-assign]
            counts = await stage.run()
    assert (counts.fetched, counts.failed) == (1, 1)
    assert stage.table is not None
    (outcome,) = (row.outcome for row in stage.table.rows if row.external_id == "2")
    assert (outcome.status, outcome.reasons) == (Status.FAILED, (Reason.UNREACHABLE,))
    assert "http://odd.example/b.jpg caused ValueError: half an\N{REPLACEMENT CHARACTER}[2J address" in outcome.detail
    assert "Traceback" in caplog.text


async def test_a_lost_blob_is_fetched_again(tmp_path: Path) -> None:
    """An image whose stored bytes are lost does not count as unchanged."""
    async with Site({"/a.jpg": tagged(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.home.blobs.path(sha256_hex(ONE)).unlink()
        assert (await stage.run()).fetched == 1
        assert stage.home.blobs.get(sha256_hex(ONE)) == ONE


async def test_products_that_stop_or_vanish_have_no_rows(tmp_path: Path) -> None:
    """An image has a row only while its product is publishable and lists it."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.products = [product("1", stage.image("/a.jpg"), outcome=rejected(Reason.NO_PRICE))]
        assert await stage.run() == FetchCounts()


async def test_all_images_are_fetched_if_the_store_says_so(tmp_path: Path) -> None:
    """With ``images: all`` every image has its row and its outcome, in the shop's order."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site, images="all")
        images = stage.image("/a.jpg"), stage.image("/none.jpg", image_id="2", position=1)
        stage.products = [product("1", *images)]
        await stage.run()
        assert stage.table is not None
        assert [(row.image_id, row.outcome.ok) for row in stage.table.rows] == [("1", True), ("2", False)]


async def test_images_with_one_url_share_a_request(tmp_path: Path) -> None:
    """Two products with the same file cost one download and one blob."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        stage.products.append(product("2", stage.image("/a.jpg")))
        assert await stage.run() == FetchCounts(images=2, requests=1, fetched=1, bytes=300)
        assert stage.table is not None
        assert {row.sha256 for row in stage.table.rows} == {sha256_hex(ONE)}


async def test_a_dead_host_does_not_delay_a_store(tmp_path: Path) -> None:
    """After eight failures in a row the rest fails without a request; good images stay as they were."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        stage.asked()
        site.answers["/a.jpg"] = Answer(status=500)
        stage.clock.advance(days=7)
        paths = [f"/{number}.jpg" for number in range(50)]
        site.answers.update(dict.fromkeys(paths, Answer(status=500)))
        stage.products = [
            *(product(path, stage.image(path)) for path in paths),
            product("1", stage.image("/a.jpg")),
        ]
        counts = await stage.run(sweep=True)
        assert GIVEN_UP_AFTER <= counts.requests <= GIVEN_UP_AFTER + 4
        assert (counts.failed, counts.given_up, counts.kept) == (50, 50 - counts.requests, 1)
        assert stage.table is not None
        assert stage.table.rows[-1].outcome.ok
        assert "not requested" in stage.table.rows[-2].outcome.detail
        assert "/a.jpg" not in stage.asked()


async def test_long_runs_write_checkpoints(tmp_path: Path) -> None:
    """A checkpoint holds the finished rows, and the last run's rows for the others."""
    async with Site() as site:
        stage = Stage(tmp_path, site)
        stage.products = [product(f"{number}", stage.image(f"/{number}.jpg")) for number in range(6)]
        saved: list[Table[FetchedImage]] = []
        seen: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            seen.append((done, total))
            stage.clock.advance(seconds=25)

        await stage.run(checkpoint=saved.append, progress=progress)
    assert [len(table.rows) for table in saved] == [3, 6]
    assert seen == [(number, 6) for number in range(1, 7)]


async def test_a_disk_error_is_one_error(tmp_path: Path) -> None:
    """The run ends with the storage's own error, not with a group of task errors."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        (tmp_path / "blobs").write_bytes(b"where a directory should be")
        with pytest.raises(StorageError, match="blobs"):
            await stage.run()


async def test_one_image_follows_the_same_rules(tmp_path: Path) -> None:
    """A single image can be updated without its store: it is fetched once, then kept."""
    async with Site({"/a.jpg": Answer(ONE)}) as site:
        stage = Stage(tmp_path, site)
        row: FetchedImage | None = None
        async with stage.web() as web:
            for _ in range(2):
                row = await fetch_one(
                    store=stage.store,
                    external_id="1",
                    image=stage.image("/a.jpg"),
                    previous=row,
                    web=web,
                    blobs=stage.home.blobs,
                    clock=stage.clock,
                )
        assert row is not None
        assert row.shown_sha256 == sha256_hex(ONE)
    assert stage.asked() == ["/a.jpg"]


async def test_rows_survive_a_table(tmp_path: Path) -> None:
    """Fetched, rejected and failed rows read back equal from Parquet."""
    async with Site({"/a.jpg": tagged(ONE), "/b.jpg": Answer(status=503)}) as site:
        stage = Stage(tmp_path, site)
        stage.products += [product("2", stage.image("/b.jpg")), product("3", stage.image("/c.jpg"))]
        await stage.run()
    assert stage.table is not None
    path = stage.home.table("fetched_images", "a")
    write_table(path, stage.table, FetchedImage)
    assert read_table(path, FetchedImage) == stage.table
