from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from fashion_pipeline.errors import DecoderUnavailable
from fashion_pipeline.images.decode import PIXEL_SPEC
from fashion_pipeline.images.gate import judge
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.quality import JudgeCounts, JudgeStorage, judge_images, measured, render_blob
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline.outcomes import OK, Reason, Status
from fashion_pipeline.records import JudgedImage, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.images.drawing import checks, encode, good, png
from fashion_pipeline_tests.images.garments import Shot, draw
from fashion_pipeline_tests.images.misbehaving import PROGRAM, Misdeed, misbehaving

DEFAULTS = Quality.model_validate({})


def quality(**values: float | str) -> Quality:
    """Return the default thresholds with changes."""
    return Quality.model_validate(values)


def test_a_good_image_passes() -> None:
    """A sharp JPEG of 600 x 500 and more than 50 KB passes the default gate, and its measurements are kept."""
    found, pixels = measure(good(), max_pixels=DEFAULTS.max_pixels)
    row = measured(sha256_hex(good()), len(good()), found)
    assert (row.width, row.height, row.image_format, row.problem) == (600, 500, "JPEG", None)
    assert row.size_bytes == len(good()) >= 50_000
    assert judge(row, DEFAULTS) == OK
    assert pixels is not None
    assert np.array_equal(pixels, render_blob(good(), max_pixels=DEFAULTS.max_pixels))


class Stage:
    """A home with stored bytes on which the stage runs repeatedly."""

    def __init__(self, root: Path, *images: bytes) -> None:
        self.home = Home(UPath(root))
        self.sha256s = [self.home.blobs.put(data) for data in images]
        self.pixels = self.home.pixels(PIXEL_SPEC)
        self.table: Table[JudgedImage] | None = None
        self.clock = HandClock()

    def run(
        self, thresholds: Quality = DEFAULTS, *, embedded: Sequence[str] = (), older: Sequence[str] = (), **more: Any
    ) -> JudgeCounts:
        """Run the stage on its own last table; ``older`` are the last image's earlier bytes."""
        self.table, counts = judge_images(
            histories=[*((sha256,) for sha256 in self.sha256s[:-1]), (self.sha256s[-1], *older)],
            previous=self.table,
            storage=JudgeStorage(blobs=self.home.blobs, pixels=self.pixels, embedded=lambda _: embedded),
            quality=thresholds,
            clock=self.clock,
            **more,
        )
        return counts

    def outcome(self, number: int) -> tuple[Status, tuple[Reason, ...]]:
        """Return the outcome of an image."""
        assert self.table is not None
        return self.table.rows[number].outcome.status, self.table.rows[number].outcome.reasons


def test_images_are_decoded_once(tmp_path: Path) -> None:
    """The second run decodes nothing, and rows keep the order of the images, each digest once."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), good(seed=1), b"<html>")
    assert stage.run() == JudgeCounts(images=3, decoded=3, passed=2, rejected=1)
    assert stage.table is not None
    assert [row.sha256 for row in stage.table.rows] == list(dict.fromkeys(stage.sha256s))
    before = stage.table
    assert stage.run() == JudgeCounts(images=3, decoded=0, passed=2, rejected=1)
    assert stage.table == before


def test_pixels_are_stored_for_images_that_pass_and_are_not_embedded(tmp_path: Path) -> None:
    """The one decode leaves the pixels that the embeddings stage will read, and no others."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), encode(checks(64, 64)))
    stage.run(embedded=stage.sha256s[1:2])
    assert [stage.pixels.get(sha256) is not None for sha256 in stage.sha256s] == [True, False, False]


def test_changed_thresholds_judge_again_without_decoding(tmp_path: Path) -> None:
    """With looser thresholds a small image passes, with tighter ones a good one does not; nothing is decoded."""
    stage = Stage(tmp_path, good(), encode(checks(300, 300), "PNG"))
    stage.run()
    assert stage.outcome(1) == (Status.REJECTED, (Reason.TOO_SMALL,))
    assert stage.run(quality(min_side_px=200)) == JudgeCounts(images=2, passed=2)
    assert stage.run(quality(min_side_px=1000)) == JudgeCounts(images=2, rejected=2)


def test_a_raised_pixel_cap_measures_only_what_it_refused(tmp_path: Path) -> None:
    """Only images that the old cap stopped and the new one allows are decoded again."""
    stage = Stage(tmp_path, good(), good(seed=2), png(20_000, 20_000))
    assert stage.run(quality(max_pixels=200_000)).rejected == 3
    assert stage.outcome(0)[1] == (Reason.TOO_MANY_PIXELS,)
    counts = stage.run()
    assert (counts.decoded, counts.passed) == (2, 2)
    assert stage.outcome(2)[1][0] is Reason.TOO_MANY_PIXELS


def test_lost_bytes_fail_temporarily_and_are_measured_once_restored(tmp_path: Path) -> None:
    """A missing or damaged blob is not a verdict on its image."""
    data = good()
    stage = Stage(tmp_path, data, good(seed=2))
    stage.home.blobs.path(stage.sha256s[0]).unlink()
    stage.home.blobs.path(stage.sha256s[1]).write_bytes(b"other")
    assert stage.run() == JudgeCounts(images=2, missing=2)
    assert stage.outcome(0) == (Status.FAILED, (Reason.BLOB_MISSING,))
    stage.home.blobs.put(data)
    assert stage.run() == JudgeCounts(images=2, decoded=1, passed=1, missing=1)


def test_measurements_of_another_version_are_taken_again(tmp_path: Path) -> None:
    """Rows of a version that measured less are measured once more from the stored bytes, and keep their verdict."""
    stage = Stage(tmp_path, good())
    stage.run()
    assert stage.table is not None
    complete = stage.table
    older = (replace(row, measured_with=1, edge_blur_px=None, perceptual_hash="", colours=()) for row in complete.rows)
    stage.table = Table(tuple(older))
    assert stage.run(embedded=stage.sha256s) == JudgeCounts(images=1, decoded=1, passed=1)
    assert stage.table == complete
    assert stage.run().decoded == 0


def test_another_gate_judges_again_without_decoding(tmp_path: Path) -> None:
    """Both measures are stored, so that a change of the gate costs no decode."""
    stage = Stage(tmp_path, encode(draw(Shot("white on white", 2)), "WEBP"))
    stage.run(quality(gate="classic"))
    assert stage.outcome(0) == (Status.REJECTED, (Reason.FILE_TOO_SMALL, Reason.TOO_BLURRY))
    assert stage.run(quality(gate="edges")) == JudgeCounts(images=1, passed=1)


def test_an_unused_image_has_no_row(tmp_path: Path) -> None:
    """The table holds the current images only."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2))
    stage.run()
    del stage.sha256s[0]
    assert stage.run().images == 1


def test_long_runs_write_checkpoints(tmp_path: Path) -> None:
    """A checkpoint every minute holds the rows so far, so that a killed run repeats little."""
    stage = Stage(tmp_path, *(encode(checks(64, 64, seed=seed)) for seed in range(5)))
    saved: list[int] = []
    one = Decoders(1)
    stage.run(
        decode_with=one,
        checkpoint=lambda table: saved.append(len(table.rows)),
        progress=lambda _done, _total: stage.clock.advance(seconds=40),
    )
    one.close()
    assert saved == [2, 4]


def test_rows_survive_a_table(tmp_path: Path) -> None:
    """Judged rows read back equal from Parquet."""
    stage = Stage(tmp_path, good(), b"<html>", png(20_000, 20_000))
    stage.run()
    path = stage.home.table("quality_passed", "a")
    assert stage.table is not None
    write_table(path, stage.table, JudgedImage)
    assert read_table(path, JudgedImage) == stage.table


NEXT_DAY = {"days": 1, "seconds": 1}


@pytest.fixture(scope="module")
def broken() -> Iterator[Decoders]:
    """Yield decoders that misbehave as the bytes prescribe."""
    decoders = Decoders(2, deadline_s=0.5, program=PROGRAM)
    yield decoders
    decoders.close()


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        (Misdeed.HANG, Reason.DECODER_TIMEOUT),
        (Misdeed.CRASH, Reason.DECODER_CRASHED),
        (Misdeed.EAT, Reason.DECODER_MEMORY),
    ],
)
def test_a_failing_decoder_costs_one_image(tmp_path: Path, broken: Decoders, misdeed: Misdeed, reason: Reason) -> None:
    """The other images pass; the failed one is retried when it is due, and then waits longer."""
    stage = Stage(tmp_path, good(seed=1), misbehaving(misdeed), good(seed=2))
    assert stage.run(decode_with=broken) == JudgeCounts(images=3, decoded=3, passed=2, failed=1)
    assert stage.outcome(1) == (Status.FAILED, (reason,))
    before = stage.table
    assert stage.run(decode_with=broken) == JudgeCounts(images=3, passed=2, failed=1)
    assert stage.table == before
    stage.clock.advance(**NEXT_DAY)
    assert stage.run(decode_with=broken).decoded == 1
    assert stage.table is not None
    assert stage.table.rows[1].outcome.attempts == 2


def test_older_bytes_are_judged_while_newer_ones_cannot_be(tmp_path: Path, broken: Decoders) -> None:
    """An image's earlier bytes are judged from the newest on, up to the first with a verdict."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), misbehaving(Misdeed.CRASH), misbehaving(Misdeed.HANG))
    oldest, older, crashing, hanging = stage.sha256s
    stage.sha256s = [hanging]
    counts = stage.run(decode_with=broken, older=(crashing, older, oldest))
    assert counts == JudgeCounts(images=3, decoded=3, passed=1, failed=2)
    assert stage.table is not None
    assert [row.sha256 for row in stage.table.rows] == [hanging, crashing, older]
    assert stage.run(decode_with=broken, older=(crashing, older, oldest)).decoded == 0


def test_rejected_bytes_need_no_older_ones(tmp_path: Path) -> None:
    """After a rejection, the image's earlier bytes do not come back."""
    stage = Stage(tmp_path, good(), b"<html>")
    stage.sha256s = [stage.sha256s[1]]
    assert stage.run(older=(sha256_hex(good()),)) == JudgeCounts(images=1, decoded=1, rejected=1)


def test_an_unchanged_run_starts_no_process(tmp_path: Path) -> None:
    """Workers start with the first decode: if all images are known, even decoders that cannot start do no harm."""
    stage, unable = Stage(tmp_path, good()), Decoders(1, program=("-c", "raise SystemExit"))
    with pytest.raises(DecoderUnavailable):
        stage.run(decode_with=unable)
    stage.run()
    assert stage.run(decode_with=unable).passed == 1
