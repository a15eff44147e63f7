from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from fashion_pipeline.errors import DecoderUnavailable
from fashion_pipeline.images.decode import PIXEL_SPEC
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.quality import JudgeCounts, judge, judge_images, measured, render_blob
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline.outcomes import OK, Reason, Status
from fashion_pipeline.records import JudgedImage, Table
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.images.drawing import checks, encode, good, png
from fashion_pipeline_tests.images.misbehaving import PROGRAM, Misdeed, misbehaving

DEFAULTS = Quality.model_validate({})
MEASURED = JudgedImage(
    sha256="a" * 64,
    size_bytes=100_000,
    width=800,
    height=600,
    image_format="JPEG",
    animated=False,
    transparent=False,
    sharpness=200.0,
    problem=None,
    problem_detail="",
    measured_with=1,
    outcome=OK,
)


def quality(**values: float) -> Quality:
    """Return thresholds with some changed."""
    return Quality.model_validate(values)


def test_a_good_image_passes() -> None:
    """A sharp JPEG of 600 x 500 and more than 50 KB passes the mission's gate, with its measurements kept."""
    found, pixels = measure(good(), max_pixels=DEFAULTS.max_pixels)
    row = measured(sha256_hex(good()), len(good()), found)
    assert (row.width, row.height, row.image_format, row.problem) == (600, 500, "JPEG", None)
    assert row.size_bytes == len(good()) >= 50_000
    assert judge(row, DEFAULTS) == OK
    assert pixels is not None
    assert np.array_equal(pixels, render_blob(good(), max_pixels=DEFAULTS.max_pixels))


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, ()),
        ({"width": 400, "height": 400}, ()),
        ({"width": 399}, (Reason.TOO_SMALL,)),
        ({"height": 399}, (Reason.TOO_SMALL,)),
        ({"size_bytes": 50_000}, ()),
        ({"size_bytes": 49_999}, (Reason.FILE_TOO_SMALL,)),
        ({"size_bytes": 10_000_000}, ()),
        ({"size_bytes": 10_000_001}, (Reason.FILE_TOO_LARGE,)),
        ({"sharpness": 100.0}, ()),
        ({"sharpness": 99.9}, (Reason.TOO_BLURRY,)),
        ({"width": 8_000, "height": 5_000}, ()),
        ({"width": 8_001, "height": 5_000}, (Reason.TOO_MANY_PIXELS,)),
        (
            {"width": 20, "size_bytes": 10, "sharpness": 1.0},
            (Reason.TOO_SMALL, Reason.FILE_TOO_SMALL, Reason.TOO_BLURRY),
        ),
        (
            {"problem": "truncated", "problem_detail": "cut", "width": 0, "height": 0, "sharpness": None},
            (Reason.TRUNCATED,),
        ),
        ({"problem": "not_an_image", "width": 0, "size_bytes": 300}, (Reason.NOT_AN_IMAGE, Reason.FILE_TOO_SMALL)),
    ],
)
def test_every_check_that_fails_is_listed(changes: dict[str, Any], reasons: tuple[Reason, ...]) -> None:
    """The thresholds themselves are allowed, and what breaks several is told all of them."""
    outcome = judge(replace(MEASURED, **changes), DEFAULTS)
    assert outcome.reasons == reasons
    assert outcome.ok is not bool(reasons)
    assert outcome.detail.count(";") == max(0, len(reasons) - 1)


def test_a_refusal_tells_its_figures() -> None:
    """A shop owner reads what was found and what is needed."""
    outcome = judge(replace(MEASURED, width=120, sharpness=12.34), DEFAULTS)
    assert outcome.detail == "shorter side 120 px, at least 400 are needed; sharpness 12.3, at least 100 is needed"


class Stage:
    """A home with stored bytes, on which the stage runs again and again."""

    def __init__(self, root: Path, *images: bytes) -> None:
        self.home = Home(UPath(root))
        self.shas = [self.home.blobs.put(data) for data in images]
        self.pixels = self.home.pixels(PIXEL_SPEC)
        self.table: Table[JudgedImage] | None = None
        self.clock = HandClock()

    def run(self, thresholds: Quality = DEFAULTS, **more: Any) -> JudgeCounts:
        """Run the stage on its own last table."""
        self.table, counts = judge_images(
            shas=self.shas,
            previous=self.table,
            blobs=self.home.blobs,
            pixels=self.pixels,
            quality=thresholds,
            clock=self.clock,
            **more,
        )
        return counts

    def outcome(self, number: int) -> tuple[Status, tuple[Reason, ...]]:
        """Return what became of an image."""
        assert self.table is not None
        return self.table.rows[number].outcome.status, self.table.rows[number].outcome.reasons


def test_images_are_decoded_once(tmp_path: Path) -> None:
    """The second run decodes nothing, and rows follow the order asked for, each digest once."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), good(seed=1), b"<html>")
    assert stage.run() == JudgeCounts(images=3, decoded=3, passed=2, rejected=1)
    assert stage.table is not None
    assert [row.sha256 for row in stage.table.rows] == list(dict.fromkeys(stage.shas))
    before = stage.table
    assert stage.run() == JudgeCounts(images=3, decoded=0, passed=2, rejected=1)
    assert stage.table == before


def test_pixels_are_left_for_what_passes_and_is_not_embedded(tmp_path: Path) -> None:
    """The one decode feeds the embeddings stage, and leaves nothing it will not read."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), encode(checks(64, 64)))
    stage.run(embedded=lambda _: stage.shas[1:2])
    assert [stage.pixels.get(sha) is not None for sha in stage.shas] == [True, False, False]


def test_changed_thresholds_judge_again_without_decoding(tmp_path: Path) -> None:
    """Measurements are enough: loosened, a small image passes; tightened, a good one does not."""
    stage = Stage(tmp_path, good(), encode(checks(300, 300), "PNG"))
    stage.run()
    assert stage.outcome(1) == (Status.REJECTED, (Reason.TOO_SMALL,))
    assert stage.run(quality(min_side_px=200)) == JudgeCounts(images=2, passed=2)
    assert stage.run(quality(min_side_px=1000)) == JudgeCounts(images=2, rejected=2)


def test_a_raised_pixel_cap_measures_just_what_it_refused(tmp_path: Path) -> None:
    """Only what the old cap stopped and the new one allows is decoded again."""
    stage = Stage(tmp_path, good(), good(seed=2), png(20_000, 20_000))
    assert stage.run(quality(max_pixels=200_000)).rejected == 3
    assert stage.outcome(0)[1] == (Reason.TOO_MANY_PIXELS,)
    counts = stage.run()
    assert (counts.decoded, counts.passed) == (2, 2)
    assert stage.outcome(2)[1][0] is Reason.TOO_MANY_PIXELS


def test_lost_bytes_fail_for_the_moment_and_are_measured_when_they_are_back(tmp_path: Path) -> None:
    """A missing or damaged blob is no verdict on its image."""
    data = good()
    stage = Stage(tmp_path, data, good(seed=2))
    stage.home.blobs.path(stage.shas[0]).unlink()
    stage.home.blobs.path(stage.shas[1]).write_bytes(b"other")
    assert stage.run() == JudgeCounts(images=2, missing=2)
    assert stage.outcome(0) == (Status.FAILED, (Reason.BLOB_MISSING,))
    stage.home.blobs.put(data)
    assert stage.run() == JudgeCounts(images=2, decoded=1, passed=1, missing=1)


def test_measurements_of_another_version_are_taken_again(tmp_path: Path) -> None:
    """A change of the measuring code reaches every image."""
    stage = Stage(tmp_path, good())
    stage.run()
    assert stage.table is not None
    stage.table = Table(tuple(replace(row, measured_with=0) for row in stage.table.rows))
    assert stage.run().decoded == 1


def test_an_image_that_no_one_shows_has_no_row(tmp_path: Path) -> None:
    """The table holds what was asked for, and nothing of last week."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2))
    stage.run()
    del stage.shas[0]
    assert stage.run().images == 1


def test_long_runs_save_what_they_know(tmp_path: Path) -> None:
    """Every minute a checkpoint holds the rows so far, in order, so that a killed run repeats little."""
    stage = Stage(tmp_path, *(encode(checks(64, 64, seed=seed)) for seed in range(5)))
    saved: list[int] = []
    stage.run(
        workers=1,
        checkpoint=lambda table: saved.append(len(table.rows)),
        progress=lambda _done, _total: stage.clock.advance(seconds=40),
    )
    assert saved == [2, 4]


def test_rows_survive_a_table(tmp_path: Path) -> None:
    """What was judged reads back equal from Parquet."""
    stage = Stage(tmp_path, good(), b"<html>", png(20_000, 20_000))
    stage.run()
    path = stage.home.table("quality_passed", "a")
    assert stage.table is not None
    write_table(path, stage.table, JudgedImage)
    assert read_table(path, JudgedImage) == stage.table


NEXT_DAY = {"days": 1, "seconds": 1}


@pytest.fixture(scope="module")
def broken() -> Iterator[Decoders]:
    """Yield decoders that do what some bytes tell them to, however bad."""
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
def test_a_decoder_that_fails_takes_one_image_with_it(
    tmp_path: Path, broken: Decoders, misdeed: Misdeed, reason: Reason
) -> None:
    """The others pass; the one is failed, waits for its time, is tried again when that has come, and waits longer."""
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
    """What an image showed before keeps its row, measured or not, up to the newest whose verdict is known."""
    stage = Stage(tmp_path, good(seed=1), good(seed=2), misbehaving(Misdeed.CRASH), misbehaving(Misdeed.HANG))
    oldest, older, crashing, hanging = stage.shas
    stage.shas = [hanging]
    counts = stage.run(decode_with=broken, histories=[(hanging, crashing, older, oldest)])
    assert counts == JudgeCounts(images=3, decoded=3, passed=1, failed=2)
    assert stage.table is not None
    assert [row.sha256 for row in stage.table.rows] == [hanging, crashing, older]
    assert stage.run(decode_with=broken, histories=[(hanging, crashing, older, oldest)]).decoded == 0


def test_refused_bytes_need_no_older_ones(tmp_path: Path) -> None:
    """A verdict is known: what was shown before does not come back."""
    stage = Stage(tmp_path, good(), b"<html>")
    stage.shas = [stage.shas[1]]
    assert stage.run(histories=[(stage.shas[0], sha256_hex(good()))]) == JudgeCounts(images=1, decoded=1, rejected=1)


def test_an_unchanged_run_starts_no_process(tmp_path: Path) -> None:
    """Workers start with the first image: where all are known, not even one that cannot start is missed."""
    stage, unable = Stage(tmp_path, good()), Decoders(1, program=("-c", "raise SystemExit"))
    with pytest.raises(DecoderUnavailable):
        stage.run(decode_with=unable)
    stage.run()
    assert stage.run(decode_with=unable).passed == 1
