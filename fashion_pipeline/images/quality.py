"""Is a picture good enough? Measured once per bytes, judged as often as the thresholds change.

The one decode of a picture's life happens here: it yields the measurements, and for what passes
the model-ready pixels that the embeddings stage reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.images.decode import decode, render
from fashion_pipeline.outcomes import OK, Clock, Outcome, Reason, failed, rejected
from fashion_pipeline.records import JudgedImage, Table
from fashion_pipeline.settings import Quality
from fashion_pipeline.storage import Blobs, Pixels, sha256_hex

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MEASURED_WITH = 1
"""Version of the measurements; a higher one measures everything again."""

SHARPNESS_SIDE_PX = 500

CHECKPOINT_EVERY = timedelta(seconds=60)
CHECKPOINT_ITEMS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCounts:
    """What one run of the stage did: pictures in all, decoded anew, and by verdict."""

    pictures: int = 0
    decoded: int = 0
    passed: int = 0
    rejected: int = 0
    missing: int = 0


def measure(data: bytes, *, max_pixels: int) -> tuple[JudgedImage, np.ndarray | None]:
    """Decode once, and return the measurements and the model's pixels, ``uint8[224, 224, 3]``.

    The outcome speaks of decoding only; ``judge`` gives the verdict. The pixels are None for what
    cannot be decoded.
    """
    sha256 = sha256_hex(data)
    try:
        decoded = decode(data, max_pixels=max_pixels)
    except UnreadableImage as error:
        return JudgedImage(
            sha256=sha256,
            size_bytes=len(data),
            width=error.width,
            height=error.height,
            image_format=error.image_format,
            animated=False,
            transparent=False,
            sharpness=None,
            problem=error.reason,
            problem_detail=str(error),
            measured_with=MEASURED_WITH,
            outcome=rejected(error.reason, detail=str(error)),
        ), None
    return JudgedImage(
        sha256=sha256,
        size_bytes=len(data),
        width=decoded.width,
        height=decoded.height,
        image_format=decoded.image_format,
        animated=decoded.animated,
        transparent=decoded.transparent,
        sharpness=sharpness(decoded.image),
        problem=None,
        problem_detail="",
        measured_with=MEASURED_WITH,
        outcome=OK,
    ), render(decoded.image)


def render_blob(data: bytes, *, max_pixels: int) -> np.ndarray:
    """Return the model's pixels of stored bytes, ``uint8[224, 224, 3]``, where the cache has none.

    Raises:
        UnreadableImage: they cannot be decoded.
    """
    return render(decode(data, max_pixels=max_pixels).image)


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture, its longer side brought to at most 500 px.

    The 4-neighbour kernel with a reflected border (101): the figure that
    ``cv2.Laplacian(grey, cv2.CV_64F).var()`` gives, without OpenCV. Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", 2000.
    """
    import numpy as np
    from PIL import Image

    grey = image.convert("L")
    scale = SHARPNESS_SIDE_PX / max(grey.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    padded = np.pad(np.asarray(grey, np.int16), 1, mode="reflect")
    centre = padded[1:-1, 1:-1]
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * centre
    return float(laplacian.var(dtype=np.float64))


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
    workers: int = 2,
    is_embedded: Callable[[str], bool] = lambda _: False,
    checkpoint: Callable[[Table[JudgedImage]], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Table[JudgedImage], JudgeCounts]:
    """Judge the bytes behind a store's pictures; only what was never measured is decoded.

    Args:
        shas: digests of the bytes to judge; the table returned has exactly these rows.
        previous: measurements so far.
        blobs: where the bytes are.
        pixels: where the model's pixels go, for what passes and is not embedded.
        quality: the store's thresholds.
        clock: for checkpoints, and for when missing bytes are looked for again.
        workers: threads that decode; Pillow and numpy release the interpreter's lock.
        is_embedded: whether bytes need no pixels any more.
        checkpoint: called now and then with all rows known so far.
        progress: called with the number of pictures done, and in all.
    """
    wanted = tuple(dict.fromkeys(shas))
    rows = {row.sha256: row for row in previous.rows} if previous is not None else {}
    rows = {sha: rows[sha] for sha in wanted if sha in rows}
    unmeasured = [sha for sha in wanted if sha not in rows or _needs_measuring(rows[sha], quality)]
    for sha in rows.keys() - set(unmeasured):
        rows[sha] = replace(rows[sha], outcome=judge(rows[sha], quality))

    def measure_one(sha: str) -> JudgedImage:
        try:
            data = blobs.get(sha)
        except (FileNotFoundError, DamagedFile) as error:
            return _missing(sha, error, rows.get(sha), clock.now())
        row, picture = measure(data, max_pixels=quality.max_pixels)
        row = replace(row, outcome=judge(row, quality))
        if row.outcome.ok and picture is not None and not is_embedded(sha):
            pixels.put(sha, picture)
        return row

    done, saved, saved_at = len(wanted) - len(unmeasured), 0, clock.now()
    for decoded, row in enumerate(_in_threads(measure_one, unmeasured, workers=workers), 1):
        rows[row.sha256] = row
        progress(done + decoded, len(wanted))
        if decoded - saved >= CHECKPOINT_ITEMS or clock.now() - saved_at >= CHECKPOINT_EVERY:
            checkpoint(_table(rows, wanted))
            saved, saved_at = decoded, clock.now()
    table = _table(rows, wanted)
    missing = sum(row.problem == Reason.BLOB_MISSING for row in table.rows)
    passed = sum(row.outcome.ok for row in table.rows)
    return table, JudgeCounts(
        pictures=len(wanted),
        decoded=len(unmeasured) - missing,
        passed=passed,
        rejected=len(wanted) - passed - missing,
        missing=missing,
    )


def _needs_measuring(row: JudgedImage, quality: Quality) -> bool:
    """Whether a row holds no measurements, an older version's, or stopped at a cap since raised."""
    if row.measured_with != MEASURED_WITH or row.problem == Reason.BLOB_MISSING:
        return True
    return row.problem == Reason.TOO_MANY_PIXELS and row.width * row.height <= quality.max_pixels


def _missing(sha256: str, error: Exception, before: JudgedImage | None, now: datetime) -> JudgedImage:
    detail = f"the stored bytes cannot be read ({type(error).__name__}); the next run of fetched_images gets them again"
    return JudgedImage(
        sha256=sha256,
        size_bytes=0,
        width=0,
        height=0,
        image_format="",
        animated=False,
        transparent=False,
        sharpness=None,
        problem=Reason.BLOB_MISSING,
        problem_detail=detail,
        measured_with=MEASURED_WITH,
        outcome=failed(Reason.BLOB_MISSING, detail=detail, before=before.outcome if before else None, now=now),
    )


def _table(rows: dict[str, JudgedImage], order: Iterable[str]) -> Table[JudgedImage]:
    return Table(tuple(rows[sha] for sha in order if sha in rows))


def _in_threads(work: Callable[[str], JudgedImage], items: Iterable[str], *, workers: int) -> Iterator[JudgedImage]:
    """Yield results in order, with a few pictures per thread in memory at once."""
    with ThreadPoolExecutor(workers, "decode") as pool:
        running: deque[Future[JudgedImage]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= 2 * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
