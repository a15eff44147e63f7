"""Pixels to vectors: the encoder, and the stage that embeds images without a vector."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.outcomes import Clock, Outcome, Reason, failed
from fashion_pipeline.records import VECTOR_SIZE, EmbeddedImage, Table
from fashion_pipeline.storage.vectors import VectorRef, Vectors, sound

if TYPE_CHECKING:
    import numpy as np
    import torch

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY = 4096
CHECKPOINT_S = 60.0
CUDA_BATCH = 256
CPU_BATCH = 16


class Encoder:
    """The image tower on one device. Not thread-safe."""

    def __init__(self, tower: torch.nn.Module, *, device: torch.device, bf16: bool, batch_size: int | str) -> None:
        self.tower = tower
        self.device = device
        self.precision = "bf16" if bf16 else "fp32"
        default = CUDA_BATCH if device.type == "cuda" else CPU_BATCH
        self.batch_size = default if isinstance(batch_size, str) else batch_size

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Embed ``uint8[n, 224, 224, 3]`` (RGB) as ``float32[n, 768]``, L2 norm 1.

        A batch that does not fit into memory is halved, and the smaller size is kept.

        Raises:
            MemoryError: not even one image fits into memory.
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
                    msg = f"one image does not fit into the memory of {self.device}; free memory there, or set FASHION_DEVICE=cpu"
                    raise MemoryError(msg) from error
                self.batch_size = max(1, len(batch) // 2)
                logger.warning("out of memory on %s; the batch size is now %d", self.device, self.batch_size)
                continue
            start += len(batch)
        return np.concatenate(done) if done else np.empty((0, 0), np.float32)

    def _encode_batch(self, pixels: np.ndarray) -> np.ndarray:
        import numpy as np
        import torch

        with torch.inference_mode():
            writable = np.require(pixels, requirements="W")  # torch warns about read-only pixels from a file
            batch = torch.from_numpy(writable).to(self.device, non_blocking=True)
            # (x / 255 - 0.5) / 0.5, on the device: uint8 is a quarter of the bytes to copy.
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
    """What one run of the stage did.

    Attributes:
        embedded: vectors made.
        failed: images without a vector, because their pixels cannot be read at present, or the model failed.
    """

    embedded: int = 0
    failed: int = 0


def _nothing(*_: Any) -> None:
    """Ignore a call."""


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
        sha256s: digests of the bytes that passed the gate.
        previous: the stage's last table: it provides the retry times of failures, and the parts in which
            to look for vectors first.
        fingerprint: of the model that ``encoder`` loads.
        vectors: the model's parts, shared by all stores: a vector made for one serves the others.
        read_pixels: returns ``uint8[224, 224, 3]``; may raise FileNotFoundError, DamagedFile or UnreadableImage.
        encoder: loads the model; called once, and only if something has to be embedded.
        clock: decides whether a failure is due for a retry.
        embedded: called with the digests whose vectors have reached the disk.
        progress: called with (done, all).

    A killed run loses at most the vectors since the last part: ``CHECKPOINT_EVERY`` of them, or
    ``CHECKPOINT_S`` seconds.
    """
    wanted = sorted(set(sha256s))
    known = {row.sha256: row for row in previous.rows} if previous else {}
    refs = vectors.find(wanted, first={row.part for row in known.values() if row.fingerprint == fingerprint})
    waiting = _waiting(wanted, refs, known, fingerprint=fingerprint, now=clock.now())
    missing = [sha256 for sha256 in wanted if sha256 not in refs and sha256 not in waiting]
    run = _Embedding(
        fingerprint=fingerprint,
        vectors=vectors,
        clock=clock,
        before={sha256: row.outcome for sha256, row in known.items()},
        embedded=embedded,
        rows={sha256: _stored(sha256, fingerprint, ref) for sha256, ref in refs.items()} | waiting,
        counts=EmbedCounts(failed=len(waiting)),
    )
    if missing:
        for remaining in run.embed(missing, encoder(), read_pixels):
            progress(len(wanted) - remaining, len(wanted))
    return Table(tuple(run.rows[sha256] for sha256 in wanted), {"fingerprint": fingerprint}), run.counts


@dataclass(slots=True)
class _Embedding:
    """One run of the stage: its rows so far, and the vectors that are not on the disk yet."""

    fingerprint: str
    vectors: Vectors
    clock: Clock
    before: Mapping[str, Outcome]
    embedded: Callable[[Sequence[str]], None]
    rows: dict[str, EmbeddedImage]
    counts: EmbedCounts
    _unwritten: dict[str, np.ndarray] = field(default_factory=dict)
    _written_at: float = field(default_factory=time.monotonic)

    def embed(
        self, sha256s: Sequence[str], encoder: Encoder, read_pixels: Callable[[str], np.ndarray]
    ) -> Iterator[int]:
        """Embed digests in batches, and write the last part; yield after each batch the number that remain."""
        import numpy as np

        for batch, remaining in _batches(sha256s, encoder):
            pixels = self._read(batch, read_pixels)
            if pixels:
                vectors = encoder.encode(np.stack(list(pixels.values())))
                usable = sound(vectors)
                self._unwritten.update(
                    (sha256, vector) for sha256, vector, ok in zip(pixels, vectors, usable, strict=True) if ok
                )
                for sha256 in (sha256 for sha256, ok in zip(pixels, usable, strict=True) if not ok):
                    self._fail(
                        sha256, Reason.BAD_VECTOR, f"not {VECTOR_SIZE} finite numbers of norm 1 ({encoder.device})"
                    )
            if len(self._unwritten) >= CHECKPOINT_EVERY or time.monotonic() - self._written_at > CHECKPOINT_S:
                self._write()
            yield remaining
        self._write()

    def _read(self, sha256s: Iterable[str], read_pixels: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
        """Return the pixels that can be read; the other digests get a failed row."""
        pixels: dict[str, np.ndarray] = {}
        for sha256 in sha256s:
            try:
                pixels[sha256] = read_pixels(sha256)
            except (FileNotFoundError, DamagedFile) as error:
                self._fail(sha256, Reason.BLOB_MISSING, error)
            except UnreadableImage as error:  # it passed the gate, so the decoder differs or failed
                self._fail(sha256, error.reason, error)
        return pixels

    def _fail(self, sha256: str, reason: Reason, error: Exception | str) -> None:
        outcome = failed(reason, detail=str(error), before=self.before.get(sha256), now=self.clock.now())
        self.rows[sha256] = EmbeddedImage(sha256, self.fingerprint, "", -1, outcome)
        self.counts.failed += 1

    def _write(self) -> None:
        """Write the new vectors as one part, then report their digests as embedded."""
        import numpy as np

        if self._unwritten:
            sha256s = list(self._unwritten)
            refs = self.vectors.append(sha256s, np.stack(list(self._unwritten.values())))
            for sha256, ref in zip(sha256s, refs, strict=True):
                self.rows[sha256] = _stored(sha256, self.fingerprint, ref)
            self.counts.embedded += len(sha256s)
            self._unwritten.clear()
            self.embedded(sha256s)
        self._written_at = time.monotonic()


def _stored(sha256: str, fingerprint: str, ref: VectorRef) -> EmbeddedImage:
    return EmbeddedImage(sha256, fingerprint, ref.part, ref.index)


def _batches(sha256s: Sequence[str], encoder: Encoder) -> Iterator[tuple[Sequence[str], int]]:
    """Yield (batch, number of digests after it); the batch size may fall while the encoder works."""
    start = 0
    while start < len(sha256s):
        batch = sha256s[start : start + encoder.batch_size]
        start += len(batch)
        yield batch, len(sha256s) - start


def _waiting(
    wanted: Iterable[str],
    refs: Mapping[str, VectorRef],
    known: Mapping[str, EmbeddedImage],
    *,
    fingerprint: str,
    now: datetime,
) -> dict[str, EmbeddedImage]:
    """Return the rows of digests without a vector whose retry is not due yet."""
    return {
        sha256: known[sha256]
        for sha256 in wanted
        if sha256 not in refs and sha256 in known and _must_wait(known[sha256], fingerprint, now)
    }


def _must_wait(row: EmbeddedImage, fingerprint: str, now: datetime) -> bool:
    """Whether an image's decoder failed and its retry is not due; lost bytes may be back at any time."""
    outcome = row.outcome
    if row.fingerprint != fingerprint or outcome.ok or Reason.BLOB_MISSING in outcome.reasons:
        return False
    return outcome.next_retry_at is not None and outcome.next_retry_at > now
