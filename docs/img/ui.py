"""Use the Dagster UI and take screenshots: the graph, a launch, its success, the contact sheet.

    make ui                                   # in another terminal, before any demo; ready when it prints the address
    pip install playwright pillow
    python docs/img/ui.py --store atelier-nord

Chromium is the system's own (--chromium); nothing is downloaded. It fails if a step takes more than
two minutes.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from take import FLAGS

WAIT_MS = 120_000
ASSETS = (
    "raw_products",
    "fetched_images",
    "quality_passed",
    "embeddings",
    "postgres_products",
    "qdrant_points",
)


def main() -> int:
    """Click through, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:3000")
    parser.add_argument("--store", default="atelier-nord")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    group = f"{options.address}/locations/fashion_pipeline/asset-groups/fashion"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=options.chromium, args=FLAGS) as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{options.address}/runs")
        page.get_by_text("All", exact=True).first.wait_for()
        page.wait_for_timeout(1500)
        before = page.get_by_text("Success", exact=True).count()

        page.goto(group)
        for asset in ASSETS:
            page.get_by_text(asset, exact=True).first.wait_for()
        save(page, options.to / "ui-graph.png")

        page.get_by_role("button", name="Materialize all").click()
        page.get_by_text("Select a partition or create one").click()
        page.locator(f":text('{options.store}'):visible").first.click()
        page.keyboard.press("Escape")
        save(page, options.to / "ui-launch.png")
        page.get_by_role("button", name="Launch").last.click()
        expect(page.get_by_text("Launch runs to materialize")).to_have_count(0, timeout=WAIT_MS)

        page.goto(f"{options.address}/runs")
        page.get_by_text(f"partition: {options.store}").first.wait_for()
        expect(page.get_by_text("Success", exact=True)).to_have_count(before + 1, timeout=WAIT_MS)
        save(page, options.to / "ui-run.png")

        page.goto(f"{options.address}/assets/quality_passed?view=partitions&partition={options.store}")
        page.get_by_text("[Show Markdown]").first.wait_for()
        save(page, options.to / "ui-materialization.png")
        row = page.locator("tr", has_text=re.compile("pictures|images")).filter(has_text="[Show Markdown]")
        row.get_by_text("[Show Markdown]").first.click()
        page.locator("img[src^='data:image/']").first.wait_for()
        save(page, options.to / "ui-sheet.png")
    return 0


def save(page: Page, path: Path) -> None:
    """Write what the window shows, in 128 colours."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # the graph flies to its place
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(path, "PNG", optimize=True)
    sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
