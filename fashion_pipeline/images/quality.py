"""Is an image good enough? Measured once per bytes, judged as often as the thresholds change.

The one decode of an image's life is ordered here, of a process of its own: it yields the
measurements, and for what passes the model-ready pixels that the embeddings stage reads.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from fashion_pipeline.errors import DamagedFile, DecoderFailed
from fashion_pipeline.images.capacity import workers_for
from fashion_pipeline.images.measure import MEASURED_WITH, Findings
from fashion_pipeline.images.worker import memory_bound
from fashion_pipeline.images.workers import Decoders, decoders
from fashion_pipeline.outcomes import OK, Clock, Outcome, Reason, Status, failed, rejected
from fashion_pipeline.records import JudgedImage, Table
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.pixels import Pixels
from fashion_pipeline.stores import Quality

if TYPE_CHECKING:
    import numpy as np

CHECKPOINT_EVERY = timedelta(seconds=60)
CHECKPOINT_ITEMS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCounts:
    """What one run of the stage did: images in all, decoded anew, and by verdict.

    Attributes:
        failed: their decoder hung, crashed or needed too much memory; tried again when they are due.
        missing: their bytes are lost.
    """

    images: int = 0
    decoded: int = 0
    passed: int = 0
    rejected: int = 0
    failed: int = 0
    missing: int = 0


def measured(sha256: str, size_bytes: int, found: Findings) -> JudgedImage:
    """Return the row of some bytes; its outcome speaks of decoding only, and ``judge`` gives the verdict."""
    problem, detail = found.problem, found.problem_detail
    return JudgedImage(
        sha256=sha256,
        size_bytes=size_bytes,
        width=found.width,
        height=found.height,
        image_format=found.image_format,
        animated=found.animated,
        transparent=found.transparent,
        sharpness=found.sharpness,
        problem=problem,
        problem_detail=detail,
        measured_with=MEASURED_WITH,
        outcome=OK if problem is None else rejected(problem, detail=detail),
    )


def render_blob(data: bytes, *, max_pixels: int) -> np.ndarray:
    """Return the model's pixels of stored bytes, ``uint8[224, 224, 3]``, where the cache has none.

    Raises:
        UnreadableImage: they cannot be decoded, or (DecoderFailed) not for the moment.
    """
    return decoders().render(data, max_pixels=max_pixels)


def judge(measured: JudgedImage, quality: Quality) -> Outcome:
    """Compare measurements with thresholds; every check that fails is named, with its figures."""
    found: list[tuple[Reason, str]] = []
    if measured.problem is not None:
        found.append((Reason(measured.problem), measured.problem_detail))
    elif measured.width * measured.height > quality.max_pixels:
        size = f"{measured.width} x {measured.height} pixels"
        found.append((Reason.TOO_MANY_PIXELS, f"{size}, at most {quality.max_pixels:,} are allowed"))
    side = min(measured.width, measured.height)
    if 0 < side < quality.min_side_px:
        found.append((Reason.TOO_SMALL, f"shorter side {side} px, at least {quality.min_side_px} are needed"))
    if measured.size_bytes < quality.min_file_bytes:
        bounds = f"{measured.size_bytes:,} bytes, at least {quality.min_file_bytes:,} are needed"
        found.append((Reason.FILE_TOO_SMALL, bounds))
    if measured.size_bytes > quality.max_file_bytes:
        bounds = f"{measured.size_bytes:,} bytes, at most {quality.max_file_bytes:,} are allowed"
        found.append((Reason.FILE_TOO_LARGE, bounds))
    if measured.sharpness is not None and measured.sharpness < quality.min_sharpness:
        figures = f"sharpness {measured.sharpness:.1f}, at least {quality.min_sharpness:g} is needed"
        found.append((Reason.TOO_BLURRY, figures))
    if not found:
        return OK
    return rejected(*(reason for reason, _ in found), detail="; ".join(detail for _, detail in found))


def judge_images(
    *,
    shas: Iterable[str],
    previous: Table[JudgedImage] | None,
    blobs: Blobs,
    pixels: Pixels,
    quality: Quality,
    clock: Clock,
    histories: Iterable[Sequence[str]] = (),
    decode_with: Decoders | None = None,
    workers: int | None = None,
    embedded: Callable[[Collection[str]], Iterable[str]] = lambda _: (),
    checkpoint: Callable[[Table[JudgedImage]], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Table[JudgedImage], JudgeCounts]:
    """Judge the bytes behind a store's images; only what was never measured is decoded.

    Args:
        shas: digests of the bytes to judge; the table returned has these rows, and those of
            the bytes that stand in for one of them.
        previous: measurements so far.
        blobs: where the bytes are.
        pixels: where the model's pixels go, for what passes and is not embedded.
        quality: the store's thresholds.
        clock: for checkpoints, and for when a failure is tried again.
        histories: what an image shows and what it showed before, newest first: while bytes cannot be
            judged for the moment, those before them are.
        decode_with: decoders other than this process's own.
        workers: images decoded at once; by default as many as there are cores and memory for.
        embedded: returns, of some bytes that are about to be decoded, those that need no pixels any more.
        checkpoint: called now and then with all rows known so far.
        progress: called with the number of images done, and in all.

    Raises:
        DecoderUnavailable: no process that decodes can be started.
    """
    kept = [tuple(history) for history in histories]
    workers = workers or workers_for(memory_bound(quality.max_pixels))
    wanted = list(dict.fromkeys(shas))
    judging = _Judging(
        rows={row.sha256: row for row in previous.rows} if previous is not None else {},
        blobs=blobs,
        pixels=pixels,
        quality=quality,
        clock=clock,
        decoders=decode_with or decoders(),
        places=BoundedSemaphore(workers),
        embedded=set(),
    )
    unmeasured = [sha for sha in wanted if not judging.is_known(sha)]
    judging.embedded.update(embedded(unmeasured))
    done, saved, saved_at = len(wanted) - len(unmeasured), 0, clock.now()
    for decoded, row in enumerate(_in_threads(judging.measure, unmeasured, threads=workers + 1), 1):
        judging.rows[row.sha256] = row
        progress(done + decoded, len(wanted))
        if decoded - saved >= CHECKPOINT_ITEMS or clock.now() - saved_at >= CHECKPOINT_EVERY:
            checkpoint(judging.table([*wanted, *chain.from_iterable(kept)]))
            saved, saved_at = decoded, clock.now()
    decoded, shown, settled = len(unmeasured), wanted.copy(), set(wanted)
    for history in kept:
        for sha in history:
            if sha not in settled and not judging.is_known(sha):
                judging.embedded.update(embedded([sha]))
                judging.rows[sha] = judging.measure(sha)
                decoded += 1
            settled.add(sha)
            shown.append(sha)
            if not judging.rows[sha].undecided:
                break
    table = judging.table(shown)
    missing = sum(row.problem == Reason.BLOB_MISSING for row in table.rows)
    found = Counter(row.outcome.status for row in table.rows)
    return table, JudgeCounts(
        images=len(table.rows),
        decoded=decoded - missing,
        passed=found[Status.OK],
        rejected=found[Status.REJECTED],
        failed=found[Status.FAILED] - missing,
        missing=missing,
    )


@dataclass(frozen=True, slots=True)
class _Judging:
    """One run of the stage: what it works with, and its rows so far."""

    rows: dict[str, JudgedImage]
    blobs: Blobs
    pixels: Pixels
    quality: Quality
    clock: Clock
    decoders: Decoders
    places: BoundedSemaphore
    embedded: set[str]

    def table(self, shas: Iterable[str]) -> Table[JudgedImage]:
        """Return the rows known of some bytes, each once."""
        return Table(tuple(self.rows[sha] for sha in dict.fromkeys(shas) if sha in self.rows))

    def is_known(self, sha: str) -> bool:
        """Whether a row needs no decoding; its verdict is then that of the present thresholds."""
        row = self.rows.get(sha)
        if row is None or _needs_measuring(row, self.quality, self.clock.now()):
            return False
        if row.outcome.status is not Status.FAILED:
            self.rows[sha] = replace(row, outcome=judge(row, self.quality))
        return True

    def measure(self, sha: str) -> JudgedImage:
        """Have an image decoded and measured, and judge it; its pixels go where they will be read."""
        try:
            data = self.blobs.get(sha)
        except (FileNotFoundError, DamagedFile) as error:
            name = type(error).__name__
            detail = f"the stored bytes cannot be read ({name}); the next run of fetched_images gets them again"
            return self._failed(sha, 0, Reason.BLOB_MISSING, detail)
        try:
            with self.places:
                found, image = self.decoders.measure(data, max_pixels=self.quality.max_pixels)
        except DecoderFailed as error:
            return self._failed(sha, len(data), error.reason, str(error))
        row = measured(sha, len(data), found)
        row = replace(row, outcome=judge(row, self.quality))
        if row.outcome.ok and image is not None and sha not in self.embedded:
            self.pixels.put(sha, image)
        return row

    def _failed(self, sha: str, size_bytes: int, reason: Reason, detail: str) -> JudgedImage:
        before = self.rows.get(sha)
        row = measured(sha, size_bytes, Findings(0, 0, "", problem=reason, problem_detail=detail))
        outcome = failed(reason, detail=detail, before=before.outcome if before else None, now=self.clock.now())
        return replace(row, outcome=outcome)


def _needs_measuring(row: JudgedImage, quality: Quality, now: datetime) -> bool:
    """Whether a row holds no measurements and may be tried, an older version's, or stopped at a cap since raised."""
    if row.measured_with != MEASURED_WITH or row.problem == Reason.BLOB_MISSING:
        return True
    if row.outcome.status is Status.FAILED:
        return row.outcome.next_retry_at is None or row.outcome.next_retry_at <= now
    return row.problem == Reason.TOO_MANY_PIXELS and row.width * row.height <= quality.max_pixels


def _in_threads(work: Callable[[str], JudgedImage], items: Iterable[str], *, threads: int) -> Iterator[JudgedImage]:
    """Yield results in order, with a few images per thread in memory at once.

    One thread more than there are workers has the next image's bytes ready when a worker is.
    """
    with ThreadPoolExecutor(threads, "decode") as pool:
        running: deque[Future[JudgedImage]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
