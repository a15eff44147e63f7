"""Compare the gates on drawn garments and on photographs, sharp and blurred by 2 and 4 px.

``make bench NAME=gate ARGS="--seeds 20"``

A sharp image that is refused is a false refusal, a blurred one that passes a false pass. The thresholds of the
edges gate were chosen on the even seeds; the odd ones and the photographs (of scikit-image and scikit-learn,
in their wheels) judge them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageFilter

from fashion_pipeline.images.gate import bits_per_pixel, judge
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.quality import measured
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.images.garments import SCENES, Shot, draw, encode

BLURS_PX = (0, 2, 4)
GATES = ("classic", "edges")
PHOTOS = {
    "skimage": [
        *("data/astronaut.png", "data/brick.png", "data/camera.png", "data/chelsea.png", "data/coffee.png"),
        *("data/coins.png", "data/grass.png", "data/gravel.png", "data/motorcycle_left.png"),
        *("data/motorcycle_right.png", "data/rocket.jpg"),
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}
"""Photographs only: no drawings, no text, nothing through a microscope or telescope, and no ``clock_motion``,
which is blurred already."""


@dataclass(frozen=True)
class Judged:
    """One file and what both gates make of it.

    Attributes:
        group: the scene, or "photograph".
        part: "tuned", "judged" or "photographs".
        name: of the image.
        blur_px: the blur it was given.
        sharpness: the classic measure.
        edge_blur_px: the edges gate's measure.
        bits: per pixel of the file, as JPEG, WebP or AVIF.
        passes: by gate.
    """

    group: str
    part: str
    name: str
    blur_px: int
    sharpness: float
    edge_blur_px: float
    bits: float
    passes: dict[str, bool]

    def is_wrong(self, gate: str) -> bool:
        """Whether a gate refuses what is sharp, or accepts what is not."""
        return self.passes[gate] is not (self.blur_px == 0)


def judged(image: Image.Image, *, group: str, part: str, name: str, seed: int, blur_px: int) -> Judged:
    """Encode, measure and judge an image; sizes below the gate's least one are allowed."""
    data, _ = encode(image, seed)
    found, _ = measure(data, max_pixels=40_000_000)
    row = measured(sha256_hex(data), len(data), found)
    passes = {gate: judge(row, Quality.model_validate({"gate": gate, "min_side_px": 1})).ok for gate in GATES}
    sharpness, blur = row.sharpness or 0, row.edge_blur_px or 0
    return Judged(group, part, name, blur_px, sharpness, blur, bits_per_pixel(row), passes)


def garment(scene: str, seed: int, blur_px: int) -> Judged:
    """Draw and judge a garment."""
    part = "judged" if seed % 2 else "tuned"
    image = draw(Shot(scene, seed, blur_px))
    turn = seed // 2  # each part has all formats
    return judged(image, group=scene, part=part, name=f"{scene} {seed}", seed=turn, blur_px=blur_px)


def photograph(path: Path, blur_px: int) -> Judged:
    """Judge a photograph that may be blurred first."""
    image = Image.open(path).convert("RGB")
    if blur_px:
        image = image.filter(ImageFilter.GaussianBlur(blur_px))
    seed = len(path.stem)
    return judged(image, group="photograph", part="photographs", name=path.name, seed=seed, blur_px=blur_px)


def photographs() -> Iterator[Path]:
    """Yield the photographs of the packages that are installed."""
    for package, paths in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            print(f"{package} is not installed: its photographs are left out")
            continue
        yield from (Path(spec.origin).parent / path for path in paths)


def figures(rows: list[Judged]) -> dict[str, object]:
    """Return the shares of false refusals and false passes of both gates."""
    sharp = [row for row in rows if not row.blur_px]
    blurred = [row for row in rows if row.blur_px]
    return {
        "sharp": len(sharp),
        "blurred": len(blurred),
        **{
            gate: {
                "false_refusals": round(sum(row.is_wrong(gate) for row in sharp) / max(1, len(sharp)), 4),
                "false_passes": round(sum(row.is_wrong(gate) for row in blurred) / max(1, len(blurred)), 4),
            }
            for gate in GATES
        },
    }


def table(rows: list[Judged]) -> Iterator[str]:
    """Yield a line for each group: the range of both measures by blur, and what each gate got wrong."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    head = "".join(f"{f'sharpness, {blur} px':>20}{f'edge blur, {blur} px':>20}" for blur in BLURS_PX)
    yield f"{'':16}{head}{'least bits':>12}{'classic wrong':>16}{'edges wrong':>14}"
    for group, found in groups.items():
        cells = ""
        for blur in BLURS_PX:
            of = [row for row in found if row.blur_px == blur]
            sharpness, edges = [row.sharpness for row in of], [row.edge_blur_px for row in of]
            cells += f"{f'{min(sharpness):.0f} to {max(sharpness):.0f}':>20}"
            cells += f"{f'{min(edges):.2f} to {max(edges):.2f}':>20}"
        wrong = [sum(row.is_wrong(gate) for row in found) for gate in GATES]
        least = min(row.bits for row in found if not row.blur_px)
        yield f"{group:16}{cells}{least:12.3f}{f'{wrong[0]} of {len(found)}':>16}{f'{wrong[1]} of {len(found)}':>14}"


def main() -> None:
    """Draw, judge, and print the table, the edges gate's mistakes and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12, help="seeds for each scene; even ones tune, odd ones judge")
    seeds = parser.parse_args().seeds
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tasks = [partial(garment, scene, seed, blur) for scene in SCENES for seed in range(seeds) for blur in BLURS_PX]
        tasks += [partial(photograph, path, blur) for path in photographs() for blur in BLURS_PX]
        rows = [task.result() for task in [pool.submit(task) for task in tasks]]
    for line in table(rows):
        print(line)
    for row in rows:
        if row.is_wrong("edges"):
            print(
                f"wrong by edges: {row.name} blurred by {row.blur_px} px: {row.edge_blur_px:.2f} px, {row.bits:.3f} bits"
            )
    tuned = [row for row in rows if row.part == "tuned"]
    sharpest = min(row.edge_blur_px for row in tuned if row.blur_px)
    softest = max(row.edge_blur_px for row in tuned if not row.blur_px)
    print(f"tuned on even seeds: sharp garments up to {softest:.2f} px, blurred ones from {sharpest:.2f} px")
    parts = {part: [row for row in rows if row.part == part] for part in ("tuned", "judged", "photographs")}
    limit = Quality.model_validate({}).max_edge_blur_px
    print(json.dumps({"seeds": seeds, "max_edge_blur_px": limit, **{part: figures(of) for part, of in parts.items()}}))


if __name__ == "__main__":
    main()
