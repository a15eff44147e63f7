"""Get the bytes of a store's pictures: what is new, what changed, what is due, and nothing else.

``plan`` says what each picture needs; this module asks for it, host by host, and writes down what
came of it. A picture that fails keeps its last good bytes until there is evidence against it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx

from fashion_pipeline.errors import HostUnavailable, WebError
from fashion_pipeline.images.answers import Bytes, row_after
from fashion_pipeline.images.jobs import Host, Job, by_host
from fashion_pipeline.images.plan import Picture, Step, next_step, pictures_of
from fashion_pipeline.outcomes import Clock, Reason, Status
from fashion_pipeline.records import FetchedImage, Image, Product, Table
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.guard import printable, redact

log = logging.getLogger(__name__)

DEADLINE_S = 60.0
MAX_REDIRECTS = 3
HOSTS_AT_ONCE = 8
CHECKPOINT_EVERY = timedelta(seconds=60)
CHECKPOINT_ITEMS = 2_000

_WHOLE = frozenset({200, 203, 304})
"""Statuses of a whole picture; 202 is what some firewalls give with a puzzle, 206 a part (RFC 9110, 15.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchCounts:
    """What one run of the stage did.

    Attributes:
        pictures: rows in all.
        kept: needed nothing.
        waiting: failed or refused before, and not to be tried yet.
        requests: URLs asked for; pictures that share a URL share a request.
        fetched: requests that brought bytes.
        not_modified: requests answered 304.
        failed, rejected: pictures that this run could not get, for now or until they change.
        given_up: of the failed, those not asked for because their host was failing.
        bytes: downloaded.
    """

    pictures: int = 0
    kept: int = 0
    waiting: int = 0
    requests: int = 0
    fetched: int = 0
    not_modified: int = 0
    failed: int = 0
    rejected: int = 0
    given_up: int = 0
    bytes: int = 0


async def fetch_images(
    *,
    store: Store,
    table: Table[Product],
    previous: Table[FetchedImage] | None,
    web: Web,
    blobs: Blobs,
    clock: Clock,
    sweep: bool,
    checkpoint: Callable[[Table[FetchedImage]], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Table[FetchedImage], FetchCounts]:
    """Bring the table of a store's pictures up to date.

    Args:
        store: whose ``images`` and ``quality.max_file_bytes`` count.
        table: the store's products; only those whose outcome is ok have pictures here.
        previous: the stage's last table.
        web: asks; its ``connections_per_host`` is the number of pictures of one host at a time.
        blobs: where bytes go.
        clock: tells what is due.
        sweep: also ask again for the pictures whose turn it is, whatever the shop says.
        checkpoint: called now and then with all rows known so far.
        progress: called with the number of pictures asked for so far, and of those to ask for.

    Raises:
        StorageFull: there is no room for a picture's bytes.
    """
    fetching = _Fetching(store=store, web=web, blobs=blobs, clock=clock, checkpoint=checkpoint, progress=progress)
    known = previous.rows if previous is not None else ()
    before = {(row.external_id, row.image_id): row for row in known}
    first = {row.external_id: row for row in sorted(known, key=lambda row: row.position, reverse=True)}
    for product in table.rows:
        for place, image in enumerate(pictures_of(product, store)):
            key = (product.external_id, image.image_id)
            shown = first[product.external_id].history if place == 0 and product.external_id in first else ()
            fetching.pictures.setdefault(key, Picture(product.external_id, image, before.get(key), shown))
    await fetching.plan(sweep=sweep)
    await fetching.run()
    return fetching.table(), FetchCounts(pictures=len(fetching.rows), **fetching.counts)


async def fetch_one(
    *,
    store: Store,
    external_id: str,
    image: Image,
    previous: FetchedImage | None,
    web: Web,
    blobs: Blobs,
    clock: Clock,
    sweep: bool = False,
) -> FetchedImage:
    """Bring one picture up to date, by the same rules as ``fetch_images``."""
    fetching = _Fetching(store=store, web=web, blobs=blobs, clock=clock)
    key = (external_id, image.image_id)
    fetching.pictures[key] = Picture(external_id, image, previous)
    await fetching.plan(sweep=sweep)
    await fetching.run()
    return fetching.rows[key]


class _Fetching:
    """One run of the stage: its plan, its rows so far, and its counts."""

    def __init__(
        self,
        *,
        store: Store,
        web: Web,
        blobs: Blobs,
        clock: Clock,
        checkpoint: Callable[[Table[FetchedImage]], None] = lambda _: None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self.store = store
        self.web = web
        self.blobs = blobs
        self.clock = clock
        self.checkpoint = checkpoint
        self.progress = progress
        self.pictures: dict[tuple[str, str], Picture] = {}
        self.rows: dict[tuple[str, str], FetchedImage] = {}
        self.counts: Counter[str] = Counter()
        self._hosts: list[Host] = []
        self._limits = Limits(
            max_bytes=store.quality.max_file_bytes,
            deadline_s=DEADLINE_S,
            max_redirects=MAX_REDIRECTS,
            again_when_slow=False,
        )
        self._to_ask = self._asked = self._saved = 0
        self._saved_at = clock.now()

    def table(self) -> Table[FetchedImage]:
        """Return the rows known so far, in the products' order."""
        return Table(tuple(self.rows[key] for key in self.pictures if key in self.rows))

    async def plan(self, *, sweep: bool) -> None:
        """Keep what needs nothing; make a job of every URL that has to be asked for."""
        known = {row.before.sha256 for row in self.pictures.values() if row.before and row.before.sha256}
        there = await asyncio.to_thread(_stored, self.blobs, known)
        now, jobs = self.clock.now(), dict[str, Job]()
        for key, picture in self.pictures.items():
            before = picture.before
            step = next_step(
                picture.image,
                before,
                blob_there=before is not None and before.sha256 in there,
                sweep=sweep,
                max_bytes=self._limits.max_bytes,
                now=now,
            )
            if before is not None:  # what a checkpoint holds until the answer has come
                self.rows[key] = replace(before, position=picture.image.position)
            if step in {Step.KEEP, Step.WAIT}:
                self.counts["kept" if step is Step.KEEP else "waiting"] += 1
                continue
            job = jobs.setdefault(picture.image.url, Job(picture.image.url))
            job.pictures.append(picture)
            job.steps.add(step)
            self._to_ask += 1
        self._hosts = by_host(jobs)

    async def run(self) -> None:
        """Do the jobs: a few hosts at a time, each with as many requests as ``web`` allows it."""
        hosts = asyncio.Semaphore(HOSTS_AT_ONCE)

        async def visit(host: Host) -> None:
            async with hosts, asyncio.TaskGroup() as group:
                for _ in range(min(self.web.connections_per_host, len(host.jobs))):
                    group.create_task(self._work(host))

        try:
            async with asyncio.TaskGroup() as group:
                for host in self._hosts:
                    group.create_task(visit(host))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _work(self, host: Host) -> None:
        loop = asyncio.get_running_loop()
        while host.jobs:
            job = host.jobs.popleft()
            if host.given_up is not None:
                self._skip(job, host.given_up)
                continue
            started = loop.time()
            answer = await self._ask(job)
            host.note(answer, seconds=loop.time() - started)
            for picture in job.pictures:
                self._write(picture, answer)

    async def _ask(self, job: Job) -> Bytes | WebError:
        self.counts["requests"] += 1
        headers = {"Accept": "image/*", **job.conditions}
        try:
            reply = await self.web.get(job.url, limits=self._limits, headers=headers, accept=_WHOLE.__contains__)
        except WebError as error:
            return error
        except ValueError as error:
            # Of a library, at what nobody has thought of: this picture's matter, not its store's.
            url = redact(job.url)
            log.exception("%s cannot be fetched", url)
            msg = f"{url} made {type(error).__name__}: {printable(error)}; that is a mistake of ours: report it; it is tried again"
            return HostUnavailable(msg, reason=Reason.UNREACHABLE, url=url)
        if reply.status == httpx.codes.NOT_MODIFIED and job.conditions:
            self.counts["not_modified"] += 1
            return Bytes(None, 0, reply.headers)
        if not reply.body:
            url = redact(job.url)
            msg = f"{url} answered {reply.status} with no bytes; open it in a browser; it is tried again later"
            return HostUnavailable(msg, reason=Reason.EMPTY, url=url, status=reply.status)
        self.counts["fetched"] += 1
        self.counts["bytes"] += len(reply.body)
        sha256 = await asyncio.to_thread(self.blobs.put, reply.body)
        return Bytes(sha256, len(reply.body), reply.headers)

    def _skip(self, job: Job, error: WebError) -> None:
        """Put off a host that is failing: what is known and good stays, the rest fails with it."""
        msg = f"not asked for: its host failed for other pictures just before ({error})"
        unasked = HostUnavailable(msg, reason=error.reason, url=error.url, retry_after_s=error.retry_after_s)
        for picture in job.pictures:
            if Step.CONFIRM in job.steps and picture.before is not None and picture.before.outcome.ok:
                self.counts["kept"] += 1
                self._count_one()
            else:
                self.counts["given_up"] += 1
                self._write(picture, unasked)

    def _write(self, picture: Picture, answer: Bytes | WebError) -> None:
        row = row_after(picture, answer, now=self.clock.now())
        self.rows[picture.external_id, picture.image.image_id] = row
        if not row.outcome.ok:
            self.counts["failed" if row.outcome.status is Status.FAILED else "rejected"] += 1
        self._count_one()

    def _count_one(self) -> None:
        self._asked += 1
        self.progress(self._asked, self._to_ask)
        now = self.clock.now()
        if self._asked - self._saved >= CHECKPOINT_ITEMS or now - self._saved_at >= CHECKPOINT_EVERY:
            self.checkpoint(self.table())
            self._saved, self._saved_at = self._asked, now


def _stored(blobs: Blobs, shas: Iterable[str]) -> set[str]:
    """Return the digests whose bytes are there; in threads, for an object store answers slowly."""
    wanted = list(shas)
    with ThreadPoolExecutor(16, "blobs") as pool:
        return {sha for sha, there in zip(wanted, pool.map(blobs.exists, wanted), strict=True) if there}


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group of groups: a full disk is one sentence, not a tree."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
