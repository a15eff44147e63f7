"""Run the demo in a terminal of 100 columns, and take a screenshot of it.

    pip install playwright pillow pyte
    python docs/img/terminal.py --folder .demo

A pseudo-terminal runs the real command, pyte plays the terminal, and the system's own Chromium
(--chromium) draws its screen.
"""

from __future__ import annotations

import argparse
import html
import io
import os
import pty
import shutil
import sys
from pathlib import Path

import pyte
from PIL import Image
from playwright.sync_api import sync_playwright
from take import FLAGS

COLUMNS, LINES = 100, 60
COLOURS = {
    "default": "#d7dae0",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "brightblack": "#7f848e",
}
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1e2127; }}
pre {{ display: inline-block; margin: 0; padding: 20px 24px; color: #d7dae0;
       font: 14px/1.35 "DejaVu Sans Mono", monospace; }}
</style><pre>{}</pre>"""


def main() -> None:
    """Run, draw, and write ``terminal.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".demo"))
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65_536)
        stream.feed(data)
        return data

    os.environ.update(COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="xterm-256color")
    command = [sys.executable, "-m", "fashion_pipeline.cli", "demo", "--folder", str(options.folder)]
    if status := pty.spawn(command, read):
        sys.exit(os.waitstatus_to_exitcode(status))
    text = "$ make demo\n" + "\n".join(drawn(screen, line) for line in range(LINES)).rstrip()
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=options.chromium, args=FLAGS) as browser,
    ):
        page = browser.new_page(device_scale_factor=1.5)
        page.set_content(PAGE.format(text))
        image = Image.open(io.BytesIO(page.locator("pre").screenshot())).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(options.to / "terminal.png", "PNG", optimize=True)


def drawn(screen: pyte.Screen, line: int) -> str:
    """Return one line of the screen as HTML."""
    cells = [screen.buffer[line][column] for column in range(COLUMNS)]
    parts = []
    for cell in cells:
        colour = COLOURS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else COLOURS["default"])
        weight = ";font-weight:bold" if cell.bold else ""
        parts.append(f'<span style="color:{colour}{weight}">{html.escape(cell.data)}</span>')
    while parts and cells[len(parts) - 1].data == " ":
        parts.pop()
    return "".join(parts)


if __name__ == "__main__":
    main()
