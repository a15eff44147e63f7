from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from fashion_pipeline.demo import garments, silhouettes
from fashion_pipeline.demo.media import FORMS, KINDS, PATTERNS, Garment, ProductImage, image_file
from fashion_pipeline_tests.demo.passing import passes, sharpness

DRESS = Garment("dress", "navy", "mustard", "striped", "linen", 5, (800, 1000))


def test_every_name_can_be_drawn() -> None:
    """The lists of kinds and patterns are those the artist knows."""
    assert set(KINDS) == set(silhouettes.OUTLINES)
    assert set(PATTERNS) == set(garments.PATTERNS)


def test_the_same_recipe_is_the_same_file(tmp_path: Path) -> None:
    """A recipe gives the same bytes each time it is drawn, and another seed gives others."""
    again = [image_file(ProductImage(DRESS), tmp_path / name) for name in ("one", "two")]
    other = image_file(ProductImage(Garment("dress", "navy", "mustard", "striped", "linen", 6, (800, 1000))), tmp_path)
    assert again[0] == again[1] != other


def test_a_drawn_image_is_kept(tmp_path: Path) -> None:
    """An image is drawn once; later the file in the folder is served."""
    image_file(ProductImage(DRESS), tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"kept")
    assert image_file(ProductImage(DRESS), tmp_path) == b"kept"


@pytest.mark.parametrize(
    "form", ["jpeg", "png", "webp", "transparent", "cmyk", "rotated", "animated gif", "animated webp"]
)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_good_forms_pass_the_gate(form: str, tmp_path: Path) -> None:
    """Unusual but good files pass the default thresholds."""
    assert passes(image_file(ProductImage(DRESS, form), tmp_path))


def test_each_faulty_form_has_its_one_fault(tmp_path: Path) -> None:
    """A faulty image fails for the reason in its name, and for no other."""
    files = {form: image_file(ProductImage(DRESS, form), tmp_path) for form in FORMS}
    blurred, tiny, small = (Image.open(io.BytesIO(files[form])) for form in ("blurred", "tiny", "small file"))
    assert sharpness(blurred) < 50
    assert min(blurred.size) >= 400
    assert len(files["blurred"]) >= 50_000
    assert min(tiny.size) < 400
    assert len(files["tiny"]) >= 50_000
    assert sharpness(tiny) >= 100
    assert len(files["small file"]) < 50_000
    assert min(small.size) >= 400
    assert sharpness(small) >= 100
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(files["truncated"])).load()
    for form in ("html", "svg"):
        assert len(files[form]) >= 50_000
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(files[form]))


def test_special_forms_are_what_they_say(tmp_path: Path) -> None:
    """Modes, frames and orientation are those the decoder has to cope with."""
    opened = {
        form: Image.open(io.BytesIO(image_file(ProductImage(DRESS, form), tmp_path)))
        for form in FORMS
        if form not in {"html", "svg"}
    }
    assert opened["cmyk"].mode == "CMYK"
    assert opened["rotated"].getexif()[0x0112] == 6
    assert opened["rotated"].size == (1000, 800)
    assert [getattr(opened[form], "n_frames", 1) for form in ("animated gif", "animated webp")] == [2, 2]
    assert opened["transparent"].info["transparency"]
    assert [opened[form].format for form in ("jpeg", "png", "webp")] == ["JPEG", "PNG", "WEBP"]
