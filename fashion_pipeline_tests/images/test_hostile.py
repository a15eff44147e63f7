from __future__ import annotations

from collections import Counter

import pytest
from upath import UPath

from fashion_pipeline.images.decode import PIXEL_SPEC
from fashion_pipeline.images.formats import ALLOWED
from fashion_pipeline.images.quality import JudgeStorage, judge_images
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import JudgedImage
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.images.hostile import corpus
from fashion_pipeline_tests.images.hostile.case import Case

CORPUS = corpus()
LENIENT = Quality.model_validate({"min_side_px": 8, "min_file_bytes": 0, "min_sharpness": 0})
"""The default caps, without thresholds that small test files would fail."""

Judged = tuple[dict[str, JudgedImage], Home]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Judge the whole corpus in one run, like a shop with nothing else."""
    home = Home(UPath(tmp_path_factory.mktemp("home")))
    table, counts = judge_images(
        histories=[(home.blobs.put(case.data),) for case in CORPUS],
        previous=None,
        storage=JudgeStorage(blobs=home.blobs, pixels=home.pixels(PIXEL_SPEC)),
        quality=LENIENT,
        clock=HandClock(),
    )
    assert counts.decoded == len(CORPUS)
    return {row.sha256: row for row in table.rows}, home


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CORPUS])
def test_a_hostile_file_has_exactly_its_outcome(case: Case, judged: Judged) -> None:
    """Each hostile file is rendered as in a browser, or rejected for its own reason."""
    rows, home = judged
    row, pixels = rows[sha256_hex(case.data)], home.pixels(PIXEL_SPEC).get(sha256_hex(case.data))
    assert row.outcome.reasons == case.reasons, row.outcome.detail
    assert row.outcome.status is (Status.REJECTED if case.reasons else Status.OK)
    assert (pixels is None) is bool(case.reasons)
    if case.size is not None:
        assert (row.width, row.height) == case.size
    if case.animated is not None:
        assert row.animated is case.animated
    if case.transparent is not None:
        assert row.transparent is case.transparent
    if case.colour is not None and pixels is not None:
        shown = tuple(int(value) for value in pixels[112, 112])
        assert max(abs(a - b) for a, b in zip(shown, case.colour, strict=True)) < 12, shown


def test_the_corpus_holds_every_kind_of_file() -> None:
    """There are hundreds of different files, of every decoded format and for every rejection by content."""
    assert len({case.data for case in CORPUS}) == len({case.name for case in CORPUS}) == len(CORPUS) >= 400
    reasons = Counter(reason for case in CORPUS for reason in case.reasons)
    assert set(reasons) == {
        Reason.NOT_AN_IMAGE,
        Reason.FORMAT_NOT_ALLOWED,
        Reason.TRUNCATED,
        Reason.UNDECODABLE,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_SMALL,
    }
    assert min(reasons.values()) >= 5


def test_every_format_is_both_shown_and_refused(judged: Judged) -> None:
    """Each allowed format has files that pass and files that are rejected."""
    found = {(row.image_format, row.outcome.ok) for row in judged[0].values()}
    assert {(name, ok) for name in ALLOWED for ok in (True, False)} <= found
