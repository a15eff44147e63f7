"""Fetch the bytes of a store's images that are new, changed or due, and no others.

``plan`` decides what each image needs; this module requests it, host by host, and records the
outcome. An image that fails keeps its last good bytes until there is evidence against it.
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
from fashion_pipeline.images.plan import ProductImage, Step, images_of, next_step
from fashion_pipeline.outcomes import Clock, Reason, Status
from fashion_pipeline.records import FetchedImage, Image, Product, Table
from fashion_pipeline.redaction import printable
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Limits, Web
from fashion_pipeline.web.guard import redact

log = logging.getLogger(__name__)

DEADLINE_S = 60.0
MAX_REDIRECTS = 3
MAX_HOSTS = 8
CHECKPOINT_EVERY = timedelta(seconds=60)
CHECKPOINT_ITEMS = 2_000

_COMPLETE = frozenset({200, 203, 304})
"""Statuses of a complete image; 202 comes with some firewalls' challenges, 206 is a part (RFC 9110, 15.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchCounts:
    """What one run of the stage did.

    Attributes:
        images: all rows.
        kept: images that needed nothing.
        waiting: images that failed or were rejected before, and are not due yet.
        requests: URLs requested; images that share a URL share a request.
        fetched: requests that returned bytes.
        not_modified: requests answered with 304.
        failed: images that this run could not fetch, to be retried.
        rejected: images that this run could not fetch, rejected until they change.
        given_up: failed images that were not requested because their host was failing.
        bytes: bytes downloaded.
    """

    images: int = 0
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
    """Bring the table of a store's images up to date.

    Args:
        store: its ``images`` and ``quality.max_file_bytes`` apply.
        table: the store's products; only images of products whose outcome is ok are fetched.
        previous: the stage's last table.
        web: sends requests; its ``connections_per_host`` limits concurrent requests to one host.
        blobs: stores the bytes.
        clock: the current time, by which images are due.
        sweep: also revalidate the images that are due, even if the shop lists them unchanged.
        checkpoint: called from time to time with all rows so far.
        progress: called with (images done, images to request).

    Raises:
        StorageFull: an image's bytes do not fit on the disk.
    """
    fetching = _Fetching(store=store, web=web, blobs=blobs, clock=clock, checkpoint=checkpoint, progress=progress)
    known = previous.rows if previous is not None else ()
    before = {(row.external_id, row.image_id): row for row in known}
    first = {row.external_id: row for row in sorted(known, key=lambda row: row.position, reverse=True)}
    for product in table.rows:
        for place, listed in enumerate(images_of(product, store)):
            key = (product.external_id, listed.image_id)
            stand_ins = first[product.external_id].history if place == 0 and product.external_id in first else ()
            fetching.images.setdefault(key, ProductImage(product.external_id, listed, before.get(key), stand_ins))
    await fetching.plan(sweep=sweep)
    await fetching.run()
    return fetching.table(), FetchCounts(images=len(fetching.rows), **fetching.counts)


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
    """Bring one image up to date, by the same rules as ``fetch_images``."""
    fetching = _Fetching(store=store, web=web, blobs=blobs, clock=clock)
    key = (external_id, image.image_id)
    fetching.images[key] = ProductImage(external_id, image, previous)
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
        self.images: dict[tuple[str, str], ProductImage] = {}
        self.rows: dict[tuple[str, str], FetchedImage] = {}
        self.counts: Counter[str] = Counter()
        self._hosts: list[Host] = []
        self._limits = Limits(
            max_bytes=store.quality.max_file_bytes,
            deadline_s=DEADLINE_S,
            max_redirects=MAX_REDIRECTS,
            again_when_slow=False,
        )
        self._to_do = self._done = self._saved = 0
        self._saved_at = clock.now()

    def table(self) -> Table[FetchedImage]:
        """Return the rows known so far, in the products' order."""
        return Table(tuple(self.rows[key] for key in self.images if key in self.rows))

    async def plan(self, *, sweep: bool) -> None:
        """Keep what needs nothing, and make a job for every URL that must be requested."""
        known = {row.before.sha256 for row in self.images.values() if row.before and row.before.sha256}
        stored = await asyncio.to_thread(_stored, self.blobs, known)
        now, jobs = self.clock.now(), dict[str, Job]()
        for key, image in self.images.items():
            before = image.before
            step = next_step(
                image.listed,
                before,
                blob_there=before is not None and before.sha256 in stored,
                sweep=sweep,
                max_bytes=self._limits.max_bytes,
                now=now,
            )
            if before is not None:  # what a checkpoint holds until the reply arrives
                self.rows[key] = replace(before, position=image.listed.position)
            if step in {Step.KEEP, Step.WAIT}:
                self.counts["kept" if step is Step.KEEP else "waiting"] += 1
                continue
            job = jobs.setdefault(image.listed.url, Job(image.listed.url))
            job.images.append(image)
            job.steps.add(step)
            self._to_do += 1
        self._hosts = by_host(jobs)

    async def run(self) -> None:
        """Do the jobs: a few hosts at a time, each with as many concurrent requests as ``web`` allows."""
        hosts = asyncio.Semaphore(MAX_HOSTS)

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
            reply = await self._request(job)
            host.record(reply, seconds=loop.time() - started)
            for image in job.images:
                self._record(image, reply)

    async def _request(self, job: Job) -> Bytes | WebError:
        self.counts["requests"] += 1
        headers = {"Accept": "image/*", **job.conditions}
        try:
            reply = await self.web.get(job.url, limits=self._limits, headers=headers, accept=_COMPLETE.__contains__)
        except WebError as error:
            return error
        except ValueError as error:
            # A library's error that this code does not expect: it must fail one image, not the store.
            url = redact(job.url)
            log.exception("%s cannot be fetched", url)
            msg = f"{url} caused {type(error).__name__}: {printable(error)}; this is a bug here: please report it; it is tried again later"
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
        """Skip a job whose host was given up: images with good bytes keep them, the others fail."""
        msg = f"not requested: its host failed for other images just before ({error})"
        given_up = HostUnavailable(msg, reason=error.reason, url=error.url, retry_after_s=error.retry_after_s)
        for image in job.images:
            if Step.CONFIRM in job.steps and image.before is not None and image.before.outcome.ok:
                self.counts["kept"] += 1
                self._count_one()
            else:
                self.counts["given_up"] += 1
                self._record(image, given_up)

    def _record(self, image: ProductImage, reply: Bytes | WebError) -> None:
        row = row_after(image, reply, now=self.clock.now())
        self.rows[image.external_id, image.listed.image_id] = row
        if not row.outcome.ok:
            self.counts["failed" if row.outcome.status is Status.FAILED else "rejected"] += 1
        self._count_one()

    def _count_one(self) -> None:
        self._done += 1
        self.progress(self._done, self._to_do)
        now = self.clock.now()
        if self._done - self._saved >= CHECKPOINT_ITEMS or now - self._saved_at >= CHECKPOINT_EVERY:
            self.checkpoint(self.table())
            self._saved, self._saved_at = self._done, now


def _stored(blobs: Blobs, sha256s: Iterable[str]) -> set[str]:
    """Return the digests whose bytes are stored; in threads, because an object store answers slowly."""
    wanted = list(sha256s)
    with ThreadPoolExecutor(16, "blobs") as pool:
        return {sha256 for sha256, exists in zip(wanted, pool.map(blobs.exists, wanted), strict=True) if exists}


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of nested groups, so that a full disk is one message, not a tree."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
