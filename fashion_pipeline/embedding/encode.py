"""Pixels to vectors: one encoder, and the stage that embeds what has no vector yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.outcomes import Clock, Reason, failed
from fashion_pipeline.records import EmbeddedImage, Table
from fashion_pipeline.storage.vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    import torch

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY = 4096
CHECKPOINT_S = 60.0
CUDA_BATCH = 256
CPU_BATCH = 16


class Encoder:
    """The image tower on one device. Not for several threads at once."""

    def __init__(self, tower: torch.nn.Module, *, device: torch.device, bf16: bool, batch_size: int | str) -> None:
        self.tower = tower
        self.device = device
        self.precision = "bf16" if bf16 else "fp32"
        automatic = CUDA_BATCH if device.type == "cuda" else CPU_BATCH
        self.batch_size = automatic if isinstance(batch_size, str) else batch_size

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Embed ``uint8[n, 224, 224, 3]`` (RGB) as ``float32[n, 768]``, L2 norm 1.

        A batch that does not fit into memory is halved, and stays halved.

        Raises:
            MemoryError: not even one image fits.
        """
        import numpy as np

        done: list[np.ndarray] = []
        start = 0
        while start < len(pixels):
            batch = pixels[start : start + self.batch_size]
            try:
                done.append(self._encode_batch(batch))
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if len(batch) == 1:
                    msg = f"{self.device} has no memory for one image; free it, or set FASHION_DEVICE=cpu"
                    raise MemoryError(msg) from error
                self.batch_size = max(1, len(batch) // 2)
                logger.warning("out of memory on %s: batches of %d from here on", self.device, self.batch_size)
                continue
            start += len(batch)
        return np.concatenate(done) if done else np.empty((0, 0), np.float32)

    def _encode_batch(self, pixels: np.ndarray) -> np.ndarray:
        import numpy as np
        import torch

        with torch.inference_mode():
            writable = np.require(pixels, requirements="W")  # torch warns of pixels read from a file as they are
            batch = torch.from_numpy(writable).to(self.device, non_blocking=True)
            # (x / 255 - 0.5) / 0.5, on the device: a quarter of the bytes travel.
            batch = batch.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)
            if self.precision == "bf16":
                batch = batch.to(torch.bfloat16)
            vectors = torch.nn.functional.normalize(self.tower(batch).float(), dim=-1)
            found: np.ndarray = vectors.cpu().numpy()
            return found


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass
class EmbedCounts:
    """What one run of the stage did: vectors made, and images that could not be read."""

    embedded: int = 0
    failed: int = 0


def _nothing(*_: Any) -> None:
    """Ignore progress."""


def embed_images(
    *,
    sha256s: Iterable[str],
    previous: Table[EmbeddedImage] | None,
    fingerprint: str,
    vectors: Vectors,
    read_pixels: Callable[[str], np.ndarray],
    encoder: Callable[[], Encoder],
    clock: Clock,
    embedded: Callable[[Sequence[str]], None] = _nothing,
    progress: Callable[[int, int], None] = _nothing,
) -> tuple[Table[EmbeddedImage], EmbedCounts]:
    """Give every digest a vector of this fingerprint; those that have one cost nothing.

    Args:
        sha256s: the bytes that passed the gate.
        previous: this stage's last table: its failures, for their retry counts and times; of what succeeded
            only in which parts it may lie.
        vectors: the model's parts, shared by all stores: a vector made for one serves the others.
        read_pixels: returns ``uint8[224, 224, 3]``; may raise FileNotFoundError, DamagedFile or UnreadableImage.
        encoder: called once, and only when something is to be embedded.
        embedded: told of the digests whose vectors have reached the disk.
        progress: told of (done, all).

    A killed run loses at most the vectors since the last part: ``CHECKPOINT_EVERY`` of them, or
    ``CHECKPOINT_S`` seconds.
    """
    import numpy as np

    wanted = sorted(set(sha256s))
    known = {row.sha256: row for row in previous.rows} if previous else {}
    places = vectors.find(wanted, first={row.part for row in known.values() if row.fingerprint == fingerprint})
    missing = [sha256 for sha256 in wanted if sha256 not in places]
    before = {sha256: row.outcome for sha256, row in known.items()}
    rows = {
        sha256: EmbeddedImage(sha256, fingerprint, places[sha256].part, places[sha256].index)
        for sha256 in wanted
        if sha256 in places
    }
    now = clock.now()
    held = {
        sha256: known[sha256] for sha256 in missing if sha256 in known and _must_wait(known[sha256], fingerprint, now)
    }
    rows |= held
    counts = EmbedCounts(failed=len(held))
    missing = [sha256 for sha256 in missing if sha256 not in held]
    waiting: list[tuple[str, np.ndarray]] = []

    def flush() -> None:
        if not waiting:
            return
        digests = [sha256 for sha256, _ in waiting]
        found = vectors.append(digests, np.stack([vector for _, vector in waiting]))
        for sha256, place in zip(digests, found, strict=True):
            rows[sha256] = EmbeddedImage(sha256, fingerprint, place.part, place.index)
        counts.embedded += len(waiting)
        waiting.clear()
        embedded(digests)

    flushed_at = time.monotonic()
    loaded = encoder() if missing else None
    while loaded is not None and missing:
        chunk, missing = missing[: loaded.batch_size], missing[loaded.batch_size :]
        readable, pixels = [], []
        for sha256 in chunk:
            try:
                pixels.append(read_pixels(sha256))
                readable.append(sha256)
            except (FileNotFoundError, DamagedFile) as error:
                outcome = failed(Reason.BLOB_MISSING, detail=str(error), before=before.get(sha256), now=clock.now())
                rows[sha256] = EmbeddedImage(sha256, fingerprint, "", -1, outcome)
                counts.failed += 1
            except UnreadableImage as error:  # the gate could read it: another decoder, or one that failed
                outcome = failed(error.reason, detail=str(error), before=before.get(sha256), now=clock.now())
                rows[sha256] = EmbeddedImage(sha256, fingerprint, "", -1, outcome)
                counts.failed += 1
        if pixels:
            waiting.extend(zip(readable, loaded.encode(np.stack(pixels)), strict=True))
        if len(waiting) >= CHECKPOINT_EVERY or time.monotonic() - flushed_at > CHECKPOINT_S:
            flush()
            flushed_at = time.monotonic()
        progress(len(wanted) - len(missing), len(wanted))
    flush()
    return Table(tuple(rows[sha256] for sha256 in wanted), {"fingerprint": fingerprint}), counts


def _must_wait(row: EmbeddedImage, fingerprint: str, now: datetime) -> bool:
    """Whether an image's decoder failed and is not to be tried yet; lost bytes may be back at any time."""
    outcome = row.outcome
    if row.fingerprint != fingerprint or outcome.ok or Reason.BLOB_MISSING in outcome.reasons:
        return False
    return outcome.next_retry_at is not None and outcome.next_retry_at > now
