"""Take screenshots of a demo.html, and check it with axe-core.

    pip install playwright pillow
    npm pack axe-core && tar xzf axe-core-*.tgz           # package/axe.min.js; only for --axe
    python docs/img/take.py .demo/demo.html --axe package/axe.min.js

Chromium is the system's own (--chromium); nothing is downloaded. The exit status is 1 if axe finds
a violation, the page requests anything outside itself, it scrolls sideways on a phone, or a
screenshot is too large. With --to FOLDER, the images in docs/img stay as they are.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

Scheme = Literal["light", "dark"]

MAX_BYTES = 400_000
SCREENS = {"desktop": (1280, 1400, 1.25), "phone": (360, 1400, 1.5)}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A part of the file's name, and the element at whose top the screenshot begins.
VIEWS = {"": "body", "-refused": ".stopped-list:has(img)", "-alike": "#alike"}


def main() -> int:
    """Take the screenshots, run the checks, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--axe", type=Path, help="axe.min.js")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    address = options.page.absolute().as_uri()
    found: list[str] = []
    with sync_playwright() as playwright:
        for screen in SCREENS:
            for scheme in SCHEMES:
                with playwright.chromium.launch(executable_path=options.chromium, args=FLAGS) as browser:
                    found += take(browser, address, screen=screen, scheme=scheme, folder=options.to)
                    if options.axe:
                        axe = options.axe.read_text("utf-8")
                        found += check(browser, address, screen=screen, scheme=scheme, axe=axe)
    sys.stdout.write("\n".join(found or ["nothing to complain about"]) + "\n")
    return 1 if found else 0


def take(browser: Browser, address: str, *, screen: str, scheme: Scheme, folder: Path) -> list[str]:
    """Write the screenshots of one screen, and return the problems of the page on it."""
    width, height, scale = SCREENS[screen]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    found: list[str] = []
    page.on("request", lambda request: _watch(request.url, address, found))
    page.on("console", lambda message: found.append(f"{screen}: the console says {message.text}"))
    page.goto(address)
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        found.append(f"{screen}: the page is {wide} px wide on a screen of {width}")
    for view, element in VIEWS.items():
        if view and (scheme, screen) != ("light", "desktop"):
            continue
        page.evaluate(
            "name => window.scrollTo(0, document.querySelector(name).getBoundingClientRect().top + scrollY - 96)",
            element,
        )
        data = small_png(page.screenshot())
        name = f"demo-{screen}{view}{'-dark' if scheme == 'dark' else ''}.png"
        if len(data) > MAX_BYTES:
            found.append(f"{name} has {len(data):,} bytes")
        (folder / name).write_bytes(data)
        sys.stdout.write(f"{name}: {len(data):,} bytes\n")
    return found


def check(browser: Browser, address: str, *, screen: str, scheme: Scheme, axe: str) -> list[str]:
    """Run axe-core's every rule and return its violations.

    The page's own policy forbids scripts; this browser ignores the policy.
    """
    width, height, _ = SCREENS[screen]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    page.evaluate(axe)
    report: dict[str, Any] = page.evaluate("axe.run(document)")
    sys.stdout.write(
        f"axe {report['testEngine']['version']}, {screen}, {scheme}: {len(report['violations'])} violations, "
        f"{len(report['incomplete'])} to look at, {len(report['passes'])} rules passed\n"
    )
    for rule in report["incomplete"]:
        sys.stdout.write(
            f"  to look at: {rule['id']} in {len(rule['nodes'])} places, e.g. {rule['nodes'][0]['html'][:120]}\n"
        )
    return [
        f"axe, {screen}, {scheme}: {rule['id']} ({rule['help']}) at {node['target']}"
        for rule in report["violations"]
        for node in rule["nodes"]
    ]


def small_png(data: bytes) -> bytes:
    """Return the PNG that is truest to the colours within the bound, or the smallest."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    plain = image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)
    dithered = image.quantize(palette=plain, dither=Image.Dither.FLOYDSTEINBERG)
    small = b""
    for candidate in (image, dithered, plain):
        buffer = io.BytesIO()
        candidate.save(buffer, "PNG", optimize=True)
        small = buffer.getvalue()
        if len(small) <= MAX_BYTES:
            break
    return small


def _watch(url: str, address: str, found: list[str]) -> None:
    if url != address and not url.startswith("data:"):
        found.append(f"the page asks for {url[:200]}")


if __name__ == "__main__":
    sys.exit(main())
