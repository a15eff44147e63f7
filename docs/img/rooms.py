"""Draw the rooms of the package and the arrows between them, from the code itself.

    python docs/img/rooms.py        # writes rooms.svg beside this file

The floors are the layers of the import contract in pyproject.toml. The arrows are the imports in the
source, without those that follow from others (A to C is not drawn beside A to B to C), and without
those to the ground floor, which every room may use. A test fails when the image is out of date.
"""

from __future__ import annotations

import ast
import tomllib
from html import escape
from pathlib import Path

PACKAGE = "fashion_pipeline"
CHECKOUT = Path(__file__).resolve().parents[2]
GROUND = (("settings", "stores_file", "stores", "read_state"), ("records", "outcomes", "errors", "redaction"))
SHARED = frozenset(room for row in GROUND for room in row)
# For each room the middle of its box, in pixels, and its caption.
ROOMS = {
    "cli": (480, "the commands"),
    "api": (740, "the HTTP service"),
    "definitions": (250, "assembles defs"),
    "doctor": (480, "checks a shop"),
    "defs": (250, "Dagster's objects"),
    "demo": (710, "demo shops, page"),
    "stages": (250, "stages in order"),
    "services": (250, "opens connections"),
    "model_shop": (850, "simulated shop"),
    "shop": (135, "reads WooCommerce"),
    "images": (365, "fetch, decode, judge"),
    "embedding": (595, "FashionSigLIP"),
    "sinks": (825, "PostgreSQL, Qdrant"),
    "web": (250, "guarded HTTP client"),
    "local": (825, "embedded servers"),
    "storage": (595, "tables, blobs, vectors"),
    "settings": (165, "variables"),
    "stores_file": (375, "reads stores.yaml"),
    "stores": (585, "fields of a store"),
    "read_state": (795, "state of a read"),
    "records": (165, "rows of tables"),
    "outcomes": (375, "status, reasons"),
    "errors": (585, "every error"),
    "redaction": (795, "blanks secrets"),
}
WIDTH, BOX, HEIGHT, FLOOR, TOP = 960, 170, 50, 88, 24
STYLE = """
.paper{fill:#fff}.box{fill:#f3f5f9;stroke:#5b6b86}.domain{fill:#e3edfb;stroke:#2c5fa8}.ground{fill:#f8f8f5;stroke:#b9b9ad}
.name{font:600 15px ui-monospace,monospace;fill:#16202e}.words{font:12px system-ui,sans-serif;fill:#46536a}
.arrow{fill:none;stroke:#6b7b95;stroke-width:1.4}.tip{fill:#6b7b95}
@media (prefers-color-scheme:dark){
.paper{fill:#161b22}.box{fill:#222b38;stroke:#8191ad}.domain{fill:#1d3352;stroke:#79aef5}.ground{fill:#1d2128;stroke:#555d6b}
.name{fill:#eef2f8}.words{fill:#b6c1d2}.arrow{stroke:#8b9bb5}.tip{fill:#8b9bb5}}
""".strip()


def layers(checkout: Path = CHECKOUT) -> list[list[str]]:
    """Return the rooms of each layer of the import contract, the top one first."""
    contracts = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    stack = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip().rpartition(".")[2] for room in layer.replace("|", ":").split(":")] for layer in stack]


def imports(checkout: Path = CHECKOUT) -> dict[str, set[str]]:
    """Return for each room the other rooms that its modules import."""
    rooms = {room for layer in layers(checkout) for room in layer}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    package = checkout / PACKAGE
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room in rooms:
            names = {name for node in ast.walk(ast.parse(path.read_text("utf-8"))) for name in _imported(node)}
            found[room] |= ({name.split(".")[1] for name in names} & rooms) - {room}
    return found


def _imported(node: ast.AST) -> list[str]:
    """Return the dotted names below the package that one statement imports."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith(f"{PACKAGE}.")]


def arrows(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports that do not follow from others, sorted, without those to the ground floor."""

    def reach(room: str) -> set[str]:
        return found[room].union(*(reach(below) for below in found[room]))

    return sorted(
        (room, below)
        for room, direct in found.items()
        if room not in SHARED
        for below in direct
        if below not in SHARED and not any(below in reach(other) for other in direct - {below})
    )


def draw(checkout: Path = CHECKOUT) -> str:
    """Return the image as SVG."""
    floors = [floor for layer in layers(checkout) if (floor := [room for room in layer if room not in SHARED])]
    places = {room: (ROOMS[room][0], TOP + row * FLOOR) for row, floor in enumerate(floors) for room in floor}
    ground = TOP + len(floors) * FLOOR + 24
    lines = [_arrow(places[above], places[below]) for above, below in arrows(imports(checkout))]
    boxes = [_box(room, x, y) for room, (x, y) in places.items()]
    below = [
        _box(room, ROOMS[room][0], ground + row * (HEIGHT + 14)) for row, floor in enumerate(GROUND) for room in floor
    ]
    note = "Every room may use the ground floor. Arrows show imports; those that follow from others are not drawn."
    height = ground + 2 * HEIGHT + 62
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" aria-label="The rooms of fashion_pipeline and the imports between them">'
        ),
        f"<style>{STYLE}</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
        ),
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<rect class="ground" x="24" y="{ground - 14}" width="{WIDTH - 48}" height="{2 * HEIGHT + 42}" rx="8"/>',
        *lines,
        *boxes,
        *below,
        f'<text class="words" x="{WIDTH // 2}" y="{height - 12}" text-anchor="middle">{note}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return a curve from the lower edge of one box to the upper edge of another."""
    lean = max(-76, min(76, (end[0] - start[0]) // 4))
    x, y = start[0] + lean, start[1] + HEIGHT
    to_x, to_y = end[0] - lean, end[1] - 2
    bend = (to_y - y) // 2
    return (
        f'<path class="arrow" marker-end="url(#tip)" d="M{x} {y}C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}"/>'
    )


def _box(room: str, x: int, y: int, *, width: int = BOX) -> str:
    """Return one room: its name and its caption."""
    kind = "domain" if room in {"shop", "images", "embedding", "sinks"} else "box"
    return (
        f'<rect class="{kind}" x="{x - width // 2}" y="{y}" width="{width}" height="{HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x}" y="{y + 21}" text-anchor="middle">{room}</text>'
        f'<text class="words" x="{x}" y="{y + 39}" text-anchor="middle">{escape(ROOMS[room][1])}</text>'
    )


if __name__ == "__main__":
    Path(__file__).with_name("rooms.svg").write_text(draw(), "utf-8")
