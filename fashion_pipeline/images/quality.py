"""Judge whether images are good enough: bytes are measured once, and judged again when thresholds change.

An image is decoded once, in a separate process. The decode gives its measurements and, if it
passes, the pixels that the embeddings stage reads.
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
from fashion_pipeline.images.gate import judge
from fashion_pipeline.images.measure import MEASURED_WITH, Findings
from fashion_pipeline.images.worker import memory_bound
from fashion_pipeline.images.workers import Decoders, decoders
from fashion_pipeline.outcomes import OK, Clock, Reason, Status, failed, rejected
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
    """What one run of the stage did.

    Attributes:
        images: all rows.
        decoded: images decoded in this run.
        passed: images that passed the thresholds.
        rejected: images that did not.
        failed: images whose decoder hung, crashed or exceeded its memory limit; retried when due.
        missing: images whose stored bytes are lost.
    """

    images: int = 0
    decoded: int = 0
    passed: int = 0
    rejected: int = 0
    failed: int = 0
    missing: int = 0


def _never(_: Collection[str]) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStorage:
    """Where the stage reads bytes and writes pixels.

    Attributes:
        blobs: the images' bytes.
        pixels: takes the model's pixels of images that pass.
        embedded: returns which of some digests have a vector already, so that they need no pixels.
    """

    blobs: Blobs
    pixels: Pixels
    embedded: Callable[[Collection[str]], Iterable[str]] = _never


def measured(sha256: str, size_bytes: int, found: Findings) -> JudgedImage:
    """Return the row of some bytes; its outcome covers decoding only, ``judge`` gives the verdict."""
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
        edge_blur_px=found.edge_blur_px,
        perceptual_hash=found.perceptual_hash,
        mirrored_hash=found.mirrored_hash,
        colours=found.colours,
        outcome=OK if problem is None else rejected(problem, detail=detail),
    )


def render_blob(data: bytes, *, max_pixels: int) -> np.ndarray:
    """Return the model's pixels of stored bytes, ``uint8[224, 224, 3]``, for images that the cache lacks.

    Raises:
        UnreadableImage: the bytes cannot be decoded.
        DecoderFailed: the decoder failed; it may be retried.
    """
    return decoders().render(data, max_pixels=max_pixels)


def judge_images(
    *,
    histories: Iterable[Sequence[str]],
    previous: Table[JudgedImage] | None,
    storage: JudgeStorage,
    quality: Quality,
    clock: Clock,
    decode_with: Decoders | None = None,
    checkpoint: Callable[[Table[JudgedImage]], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Table[JudgedImage], JudgeCounts]:
    """Judge the bytes of a store's images; only bytes that were never measured are decoded.

    Args:
        histories: for each image the digest of its bytes, then those of its earlier bytes, newest
            first (``FetchedImage.history``). Earlier bytes are judged only while newer ones cannot be.
        previous: the stage's last table.
        storage: where bytes are read and pixels written.
        quality: the store's thresholds.
        clock: times checkpoints, and decides whether a failure is due for a retry.
        decode_with: decoders other than this process's own.
        checkpoint: called from time to time with all rows so far.
        progress: called with (images done, all images).

    Returns:
        A row for each image's bytes, and for the earlier bytes that stand in for them.

    Raises:
        DecoderUnavailable: no decoder process can be started.
    """
    known = [tuple(history) for history in histories if history]
    current = list(dict.fromkeys(history[0] for history in known))
    judging = _Judging(
        rows={row.sha256: row for row in previous.rows} if previous is not None else {},
        storage=storage,
        quality=quality,
        clock=clock,
        decoders=decode_with or decoders(),
    )
    everything = [*current, *chain.from_iterable(known)]
    judging.judge(current, checkpoint=lambda: checkpoint(judging.table(everything)), progress=progress)
    stand_ins = [sha256 for history in known for sha256 in judging.stand_ins(history)]
    table = judging.table([*current, *stand_ins])
    return table, _count(table, decoded=judging.decoded)


def _count(table: Table[JudgedImage], *, decoded: int) -> JudgeCounts:
    missing = sum(row.problem == Reason.BLOB_MISSING for row in table.rows)
    statuses = Counter(row.outcome.status for row in table.rows)
    return JudgeCounts(
        images=len(table.rows),
        decoded=decoded - missing,  # lost bytes are tried in every run
        passed=statuses[Status.OK],
        rejected=statuses[Status.REJECTED],
        failed=statuses[Status.FAILED] - missing,
        missing=missing,
    )


class _Judging:
    """One run of the stage: its inputs, its rows so far, and the number of images decoded."""

    def __init__(
        self,
        *,
        rows: dict[str, JudgedImage],
        storage: JudgeStorage,
        quality: Quality,
        clock: Clock,
        decoders: Decoders,
    ) -> None:
        self.rows = rows
        self.decoded = 0
        self._storage = storage
        self._quality = quality
        self._clock = clock
        self._decoders = decoders
        self._workers = min(decoders.count, workers_for(memory_bound(quality.max_pixels)))
        self._slots = BoundedSemaphore(self._workers)
        self._embedded: set[str] = set()
        self._settled: set[str] = set()

    def table(self, sha256s: Iterable[str]) -> Table[JudgedImage]:
        """Return the known rows of some digests, each once."""
        return Table(tuple(self.rows[sha256] for sha256 in dict.fromkeys(sha256s) if sha256 in self.rows))

    def judge(
        self, sha256s: Sequence[str], *, checkpoint: Callable[[], None], progress: Callable[[int, int], None]
    ) -> None:
        """Give every digest a row of this run, with several decoders at work."""
        unmeasured = [sha256 for sha256 in sha256s if not self._is_known(sha256)]
        self._embedded.update(self._storage.embedded(unmeasured))
        self._settled.update(sha256s)
        saved, saved_at = 0, self._clock.now()
        for row in _in_threads(self._measure, unmeasured, threads=self._workers + 1):
            self.rows[row.sha256] = row
            self.decoded += 1
            progress(len(sha256s) - len(unmeasured) + self.decoded, len(sha256s))
            if self.decoded - saved >= CHECKPOINT_ITEMS or self._clock.now() - saved_at >= CHECKPOINT_EVERY:
                checkpoint()
                saved, saved_at = self.decoded, self._clock.now()

    def stand_ins(self, history: Sequence[str]) -> Iterator[str]:
        """Yield the digests of a history up to the newest one with a verdict, and judge those that need it."""
        for sha256 in history:
            if sha256 not in self._settled and not self._is_known(sha256):
                self._embedded.update(self._storage.embedded([sha256]))
                self.rows[sha256] = self._measure(sha256)
                self.decoded += 1
            self._settled.add(sha256)
            yield sha256
            if not self.rows[sha256].undecided:
                return

    def _is_known(self, sha256: str) -> bool:
        """Whether a row needs no decoding; if so, judge it by the current thresholds."""
        row = self.rows.get(sha256)
        if row is None or _needs_measuring(row, self._quality, self._clock.now()):
            return False
        if row.outcome.status is not Status.FAILED:
            self.rows[sha256] = replace(row, outcome=judge(row, self._quality))
        return True

    def _measure(self, sha256: str) -> JudgedImage:
        """Decode, measure and judge an image; store its pixels if the embeddings stage will read them."""
        try:
            data = self._storage.blobs.get(sha256)
        except (FileNotFoundError, DamagedFile) as error:
            name = type(error).__name__
            detail = f"the stored bytes cannot be read ({name}); the next run of fetched_images fetches them again"
            return self._failed(sha256, 0, Reason.BLOB_MISSING, detail)
        try:
            with self._slots:
                found, pixels = self._decoders.measure(data, max_pixels=self._quality.max_pixels)
        except DecoderFailed as error:
            return self._failed(sha256, len(data), error.reason, str(error))
        row = measured(sha256, len(data), found)
        row = replace(row, outcome=judge(row, self._quality))
        if row.outcome.ok and pixels is not None and sha256 not in self._embedded:
            self._storage.pixels.put(sha256, pixels)
        return row

    def _failed(self, sha256: str, size_bytes: int, reason: Reason, detail: str) -> JudgedImage:
        before = self.rows.get(sha256)
        row = measured(sha256, size_bytes, Findings(0, 0, "", problem=reason, problem_detail=detail))
        outcome = failed(reason, detail=detail, before=before.outcome if before else None, now=self._clock.now())
        return replace(row, outcome=outcome)


def _needs_measuring(row: JudgedImage, quality: Quality, now: datetime) -> bool:
    """Whether to measure: never done or done by another version, a retry is due, or the pixel cap was raised."""
    if row.measured_with != MEASURED_WITH or row.problem == Reason.BLOB_MISSING:
        return True
    if row.outcome.status is Status.FAILED:
        return row.outcome.next_retry_at is None or row.outcome.next_retry_at <= now
    return row.problem == Reason.TOO_MANY_PIXELS and row.width * row.height <= quality.max_pixels


def _in_threads(work: Callable[[str], JudgedImage], items: Iterable[str], *, threads: int) -> Iterator[JudgedImage]:
    """Yield results in order, with a few images per thread in memory at a time.

    With one thread more than workers, the next image's bytes are ready when a worker is.
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
