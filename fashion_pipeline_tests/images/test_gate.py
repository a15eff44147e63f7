from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fashion_pipeline.images.gate import judge
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.quality import measured
from fashion_pipeline.outcomes import OK, Outcome, Reason
from fashion_pipeline.records import JudgedImage
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.images.garments import Shot, draw, encode

EDGES, CLASSIC = Quality.model_validate({}), Quality.model_validate({"gate": "classic"})
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
    edge_blur_px=0.8,
)


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
def test_the_classic_gate_lists_every_failed_check(changes: dict[str, Any], reasons: tuple[Reason, ...]) -> None:
    """A value equal to its threshold passes, and an image that fails several checks lists them all."""
    outcome = judge(replace(MEASURED, **changes), CLASSIC)
    assert outcome.reasons == reasons
    assert outcome.ok is not bool(reasons)
    assert outcome.detail.count(";") == max(0, len(reasons) - 1)


def test_a_rejection_states_its_figures() -> None:
    """The detail states what was measured and what is needed."""
    outcome = judge(replace(MEASURED, width=120, sharpness=12.34), CLASSIC)
    assert outcome.detail == "shorter side 120 px, at least 400 are needed; sharpness 12.3, at least 100 is needed"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, ()),
        ({"sharpness": 2.0, "size_bytes": 4_000}, ()),
        ({"edge_blur_px": 1.4}, ()),
        ({"edge_blur_px": 1.41}, (Reason.TOO_BLURRY,)),
        ({"edge_blur_px": None}, ()),
        ({"size_bytes": 3_000}, ()),
        ({"size_bytes": 2_999}, (Reason.FILE_TOO_SMALL,)),
        ({"size_bytes": 600, "image_format": "WEBP"}, ()),
        ({"size_bytes": 599, "image_format": "WEBP"}, (Reason.FILE_TOO_SMALL,)),
        ({"size_bytes": 300, "image_format": "AVIF"}, ()),
        ({"size_bytes": 299, "image_format": "AVIF"}, (Reason.FILE_TOO_SMALL,)),
        ({"size_bytes": 10_000_001}, (Reason.FILE_TOO_LARGE,)),
        ({"width": 399}, (Reason.TOO_SMALL,)),
        ({"width": 8_001, "height": 5_000, "size_bytes": 1_000_000}, (Reason.TOO_MANY_PIXELS,)),
        ({"problem": "not_an_image", "width": 0, "size_bytes": 300, "edge_blur_px": None}, (Reason.NOT_AN_IMAGE,)),
    ],
)
def test_the_edges_gate_judges_blur_and_bits_per_pixel(changes: dict[str, Any], reasons: tuple[Reason, ...]) -> None:
    """Neither detail nor bytes alone decide: blur in pixels does, and bytes by pixels and format."""
    assert judge(replace(MEASURED, **changes), EDGES).reasons == reasons


def test_a_rejection_by_edges_states_its_figures() -> None:
    """The detail states the blur, the bits per pixel of the format, and what is allowed."""
    outcome = judge(replace(MEASURED, edge_blur_px=2.04, size_bytes=500, image_format="WEBP"), EDGES)
    assert outcome.detail == (
        "500 bytes of WEBP for 800 x 600 pixels: 0.00833 bits per pixel, at least 0.01 are needed; "
        "edges blurred by 2.04 px, at most 1.4 px are allowed"
    )


def drawn(scene: str, seed: int, blur_px: float = 0) -> JudgedImage:
    """Return the measurements of a drawn garment's file."""
    data, _ = encode(draw(Shot(scene, seed, blur_px)), seed)
    found, _ = measure(data, max_pixels=EDGES.max_pixels)
    return measured(sha256_hex(data), len(data), found)


def verdicts(row: JudgedImage) -> tuple[Outcome, Outcome]:
    """Return the verdicts of the edges gate and of the classic one."""
    return judge(row, EDGES), judge(row, CLASSIC)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "seed"), [("white on white", 2), ("black on black", 5), ("beige knit", 3), ("sheer", 5), ("leather", 2)]
)
def test_a_plain_garment_passes_sharp_and_not_blurred(scene: str, seed: int) -> None:
    """JPEG, WebP or AVIF: crisp edges pass however little else there is; the same edges blurred by 2 or 4 px do not."""
    sharp = drawn(scene, seed)
    assert judge(sharp, EDGES) == OK
    for blur_px in (2, 4):
        blurred = judge(drawn(scene, seed, blur_px), EDGES)
        assert blurred.reasons == (Reason.TOO_BLURRY,)


def test_the_classic_gate_refuses_what_is_plain() -> None:
    """Why the edges gate is the default: the classic one refuses a sharp white garment, for want of detail and of bytes."""
    by_edges, by_classic = verdicts(drawn("white on white", 2))
    assert by_edges == OK
    assert by_classic.reasons == (Reason.FILE_TOO_SMALL, Reason.TOO_BLURRY)


@pytest.mark.parametrize(
    ("values", "gate"),
    [
        ({}, "edges"),
        ({"min_side_px": 300}, "edges"),
        ({"min_sharpness": 50}, "classic"),
        ({"min_file_bytes": 20_000}, "classic"),
        ({"min_file_bytes": 20_000, "gate": "edges"}, "edges"),
    ],
)
def test_a_classic_threshold_keeps_the_classic_gate(values: dict[str, Any], gate: str) -> None:
    """A file from before there were two gates keeps its meaning; whoever names a gate gets it."""
    assert Quality.model_validate(values).gate == gate
