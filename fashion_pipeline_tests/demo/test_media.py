from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from fashion_pipeline.demo import garments, silhouettes
from fashion_pipeline.demo.media import FORMS, KINDS, PATTERNS, Garment, ProductImage, image_file

DRESS = Garment("dress", "navy", "mustard", "striped", "linen", 5, (800, 1000))


def sharpness(image: Image.Image) -> float:
    """Variance of the 4-neighbour Laplacian of the grey image, its longer side at most 500 px."""
    grey = image.convert("L")
    grey.thumbnail((500, 500), Image.Resampling.LANCZOS)
    levels = np.pad(np.asarray(grey, np.float64), 1, mode="reflect")
    neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return float(np.var(neighbours - 4 * levels[1:-1, 1:-1]))


def upright(content: bytes) -> Image.Image:
    """Decode an image to RGB on white."""
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def passes(content: bytes) -> bool:
    """Whether an image passes the default thresholds, computed apart from the pipeline."""
    image = upright(content)
    return min(image.size) >= 400 and 50_000 <= len(content) <= 10_000_000 and sharpness(image) >= 100


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
