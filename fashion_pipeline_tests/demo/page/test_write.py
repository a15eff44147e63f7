from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fashion_pipeline.demo.page import gather
from fashion_pipeline.demo.page.figures import SINKS, STAGES
from fashion_pipeline.demo.page.thumbnails import Size
from fashion_pipeline.demo.page.view import (
    Group,
    Neighbour,
    PageView,
    Published,
    Query,
    Stage,
    Stopped,
    StoreFigures,
    Thumbnail,
)
from fashion_pipeline.demo.page.write import MAX_BYTES, counted, render_page
from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.demo.page.markup import Markup, parse

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> \u202e\N{DRESS} جاكيت &amp; {{ 7 * 7 }}'
WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
THUMBNAIL = Thumbnail(uri="data:image/webp;base64,UklGRg==", width=4, height=5, alt="Image of a coat")


def product(title: str = "Black coat", thumbnail: Thumbnail = THUMBNAIL) -> Published:
    return Published(title, "19.90 EUR", "atelier-nord", replace(thumbnail, alt=f"Image of {title}"))


def stopped(title: str = "Blurred coat", detail: str = "Sharpness 30, at least 100 is needed") -> Stopped:
    return Stopped(title, "atelier-nord", "7", ("The image is not sharp enough",), detail, WHEN, THUMBNAIL)


def store(store_id: str = "atelier-nord") -> StoreFigures:
    names = [*STAGES.items(), *SINKS.items()]
    stages = tuple(Stage(name, asset, 9_999_999, 9_999_999, 99_999.99) for asset, name in names)
    return StoreFigures(store_id, 12, 10, 2, 1, 1, stages, 1.5, "This run: 12 downloaded.")


def page(**changes: object) -> PageView:
    whole = PageView(
        made_at=WHEN,
        model="tiny",
        untrained=True,
        vectors="f" * 16,
        store_count=1,
        stores=(store(),),
        products=12,
        published=10,
        rejected=2,
        on_hold=1,
        gone=1,
        seconds=1.5,
        hero=(THUMBNAIL,),
        accepted=(product(),),
        groups=(Group("Refused by the quality gate", "Measured.", 1, (stopped(),)),),
        queries=(Query(product(), (Neighbour(product(), 0.93),)),),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # each call names a field of its own type


@pytest.fixture
def hostile() -> Markup:
    """Return a page on which every text of a stranger is an attack."""
    return parse(
        render_page(
            page(
                model=HOSTILE,
                accepted=(product(HOSTILE),),
                groups=(Group("Rejected", "Measured.", 1, (stopped(HOSTILE, HOSTILE),)),),
                queries=(Query(product(HOSTILE), (Neighbour(product(HOSTILE), 0.5),)),),
            )
        )
    )


def test_a_title_is_text_and_nothing_else(hostile: Markup) -> None:
    """Markup in a title, a detail or a model's name is shown as typed and never becomes an element."""
    assert not hostile.all("script")
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:image/webp;base64,") for image in hostile.all("img"))
    shown = " ".join(HOSTILE.split())
    assert sum(shown in text for text in hostile.texts) >= 5
    assert f"Image of {HOSTILE}" in [image["alt"] for image in hostile.all("img")]


def test_a_title_brings_its_own_direction(hostile: Markup) -> None:
    """Right-to-left titles, and marks that turn the text around, stay inside their own element."""
    titles = [attributes for _, attributes in hostile.elements if attributes.get("class") == "title"]
    assert titles
    assert all(attributes["dir"] == "auto" for attributes in titles)


def test_the_page_fetches_nothing() -> None:
    """No script, no style sheet, no font, no address but a data: URI or a place in the page itself."""
    html = render_page(page())
    markup = parse(html)
    addresses = [
        attributes[name]
        for _, attributes in markup.elements
        for name in ("src", "href", "srcset", "action", "data", "poster", "ping", "style")
        if name in attributes
    ]
    assert addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in addresses)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in markup.elements}
    assert not re.search(r"url\(|@import|@font-face|https?://", html)


def test_the_policy_names_the_style_that_is_there() -> None:
    """The page's own policy allows its one style element by digest, data: images, and nothing else."""
    html = render_page(page())
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(meta for meta in parse(html).all("meta") if "http-equiv" in meta)["content"]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_headings_step_down_one_at_a_time() -> None:
    """One h1, and no level skipped."""
    levels = [int(tag[1]) for tag, _ in parse(render_page(page())).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False))


def test_the_page_can_be_walked_without_seeing_it() -> None:
    """Landmarks, a skip link that lands, names for every section, alternatives for every image, scoped headers."""
    markup = parse(render_page(page()))
    ids = [attributes["id"] for _, attributes in markup.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in markup.elements}
    assert markup.all("a")[0]["href"] == "#main"
    assert all(link["href"][1:] in ids for link in markup.all("a"))
    assert all(section["aria-labelledby"] in ids for section in [*markup.all("section"), *markup.all("article")])
    assert all("alt" in image for image in markup.all("img"))
    assert all("scope" in header for header in markup.all("th"))
    assert markup.all("html") == [{"lang": "en"}]


def test_an_untrained_model_is_called_so() -> None:
    """With ``tiny`` the page says that the neighbours mean nothing for fashion; with another model it does not."""
    assert "untrained, generated on this machine" in render_page(page())
    assert "untrained" not in render_page(page(model="hf-hub:Marqo/marqo-fashionSigLIP", untrained=False))


def test_a_page_of_nothing_says_so() -> None:
    """No store, no product, no point: sentences, not empty grids."""
    texts = parse(
        render_page(
            page(
                store_count=0, stores=(), products=0, published=0, rejected=0, on_hold=0, gone=0, seconds=None,
                vectors=None, hero=(), accepted=(), groups=(), queries=(),
            )
        )
    ).texts  # fmt: skip
    assert {"No product is published yet.", "Every product is published.", "There is nothing to search yet."} <= set(
        texts
    )


def test_the_largest_page_is_small_enough_to_send() -> None:
    """The limits of what is gathered keep the page under its size with the longest texts and largest thumbnails."""
    title = '"' * gather.TITLE_CHARACTERS
    large, small = (worst_thumbnail(size) for size in (gather.LARGE, gather.SMALL))
    reasons = tuple(reason.text for reason in sorted(Reason, key=lambda reason: len(reason.text)))[-6:]
    rejected = [
        Stopped(
            title, "s" * 60, '"' * 40, reasons, '"' * gather.DETAIL_CHARACTERS, WHEN,
            replace(small, alt=title) if number < gather.STOPPED_THUMBNAILS else Thumbnail(missing="image omitted"),
        )
        for number in range(gather.STOPPED)
    ]  # fmt: skip
    near = Neighbour(product(title, small), -0.123)
    html = render_page(
        page(
            stores=tuple(store("s" * 60) for _ in range(gather.STORES)),
            hero=(small,) * gather.HERO,
            accepted=(product(title, large),) * gather.ACCEPTED,
            groups=(Group("Rejected", "Measured.", 10**6, tuple(rejected)),),
            queries=(Query(product(title, small), (near,) * gather.NEIGHBOURS),) * gather.QUERIES,
        )
    )
    assert len(html.encode()) <= MAX_BYTES


def worst_thumbnail(size: Size) -> Thumbnail:
    """Return a thumbnail of the most bytes allowed."""
    return Thumbnail("data:image/webp;base64," + base64.b64encode(bytes(size.max_bytes)).decode(), 999, 999, "", "")


@pytest.mark.parametrize(("number", "words"), [(0, "0 shops"), (1, "1 shop"), (1200, "1,200 shops")])
def test_one_is_singular(number: int, words: str) -> None:
    """A number agrees with its noun."""
    assert counted(number, "shop") == words
