"""What the page gathers, from a real (local) Qdrant and stored bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from fashion_pipeline.demo.page import gather
from fashion_pipeline.demo.page.figures import StoreState, store_figures
from fashion_pipeline.demo.page.gather import gather_page, plain, sentence, share_out
from fashion_pipeline.demo.page.view import PageView
from fashion_pipeline.demo.page.write import MAX_BYTES, write_page
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.image_progress import FINAL_STAGE
from fashion_pipeline.sinks.qdrant.collections import ensure_collection, move_alias
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, store, vector_of
from fashion_pipeline_tests.demo.page.markup import parse
from fashion_pipeline_tests.images.drawing import checks, encode

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
HALF_A_DRESS = encode(checks(120, 150))[:-900]


@pytest.fixture
def client(home: Home) -> Iterator[QdrantClient]:
    """Yield a client of an empty local Qdrant."""
    with local_qdrant(home) as opened:
        yield opened


@pytest.fixture
def blobs(home: Home) -> Blobs:
    """Return an empty place for bytes."""
    return home.blobs


def outcome(external_id: str, *reasons: Reason, store_id: str = "atelier-nord", **changes: Any) -> ProductOutcome:
    """Return a product's outcome; with a reason, the quality gate rejected it."""
    return replace(
        ProductOutcome(
            store_id=store_id,
            external_id=external_id,
            product_id=product_id(store_id, external_id),
            title=f"Garment {external_id}",
            stage="quality_passed" if reasons else FINAL_STAGE,
            status=Status.REJECTED if reasons else Status.OK,
            reasons=reasons,
            in_postgres=not reasons,
            in_qdrant=not reasons,
        ),
        **changes,
    )


def publish(client: QdrantClient, blobs: Blobs, outcomes: list[ProductOutcome]) -> None:
    """Give products a point each, with an image of its own."""
    from qdrant_client import models as qm

    collection = ensure_collection(client, FINGERPRINT, home_id="h")
    for number, one in enumerate(outcomes):
        sha256 = blobs.put(encode(checks(120, 150, seed=number)))
        payload = {
            "product_id": str(one.product_id), "store_id": one.store_id, "external_id": one.external_id,
            "title": one.title, "price": 1234.5, "currency": "EUR", "image_sha256": sha256, "is_primary": True,
        }  # fmt: skip
        point = qm.PointStruct(id=str(one.product_id), vector=vector_of(sha256).tolist(), payload=payload)
        client.upsert(collection.name, points=[point], wait=True)
    move_alias(client, collection)


def state(outcomes: list[ProductOutcome], store_id: str = "atelier-nord", **run: Any) -> StoreState:
    """Return a store of which these outcomes are known."""
    live = sum(one.in_qdrant for one in outcomes)
    return StoreState(store(store_id), live, live, outcomes, run)


def gathered(states: list[StoreState], client: QdrantClient, blobs: Blobs) -> PageView:
    """Gather a page."""
    return gather_page(states, client=client, blobs=blobs, model="tiny", made_at=WHEN)


def test_every_rejected_product_is_shown_with_its_reasons(client: QdrantClient, blobs: Blobs, tmp_path: Path) -> None:
    """Title, each reason in plain words, the measured values, and the image or why there is none."""
    small = blobs.put(encode(checks(300, 300)))
    cut_off = blobs.put(HALF_A_DRESS)
    rejected = [
        outcome("1", Reason.TOO_SMALL, Reason.TOO_BLURRY, detail="shorter side 300 px", image_sha256=small),
        outcome("2", Reason.TRUNCATED, detail="this JPEG ends before its end", image_sha256=cut_off),
        outcome("3", Reason.GONE, stage="fetched_images", next_retry_at=WHEN),
        outcome("4", Reason.NO_PRICE, stage="raw_products", title="Priceless <b>poncho</b>"),
        outcome("5", Reason.NO_IMAGE, stage="raw_products"),
        outcome("6", Reason.NOT_AN_IMAGE, image_sha256=blobs.put(b"<html>no</html>")),
        outcome("7", Reason.TOO_BLURRY, image_sha256="0" * 64),
        outcome("8", Reason.TLS_ERROR, stage="fetched_images", status=Status.FAILED),
    ]
    path = tmp_path / "demo.html"
    size = write_page(path, [state(rejected)], client=client, blobs=blobs, model="tiny", made_at=WHEN)
    assert size == path.stat().st_size <= MAX_BYTES
    markup = parse(path.read_text("utf-8"))
    for one in rejected:
        assert one.title in markup.texts
        assert all(f"{sentence(reason.text)}." in markup.texts for reason in one.reasons)
        assert not one.detail or sentence(one.detail) in markup.texts
    assert [image["alt"] for image in markup.all("img")] == ["Downloaded image: 300 by 300 pixels, JPEG"]
    for words in ("file truncated", "nothing received", "not fetched", "no image", "not an image", "bytes not kept"):
        assert words in markup.texts


def test_products_gone_from_the_shop_are_shown_and_not_counted_as_rejected(client: QdrantClient, blobs: Blobs) -> None:
    """A trashed product has a group of its own, outside the sums."""
    view = gathered([state([outcome("1", Reason.TRASHED, stage="raw_products")])], client, blobs)
    assert (view.products, view.rejected, view.gone) == (0, 0, 1)
    assert [group.title for group in view.groups] == ["No longer in the shop"]


def test_what_waits_for_consent_has_its_own_group(client: QdrantClient, blobs: Blobs) -> None:
    """A removal that was held back is shown apart from a rejection."""
    held_back = outcome("1", Reason.AWAITING_CONSENT, stage=FINAL_STAGE, title="")
    view = gathered([state([held_back])], client, blobs)
    assert [(group.title, group.shown[0].title) for group in view.groups] == [("Waiting for consent", "Untitled")]


def test_published_products_come_from_qdrant_with_their_neighbours(client: QdrantClient, blobs: Blobs) -> None:
    """Price and title are the payload's; neighbours come nearest first, without the product itself."""
    north = [outcome(str(number)) for number in range(4)]
    south = [outcome(str(number), store_id="maison-sud") for number in range(3)]
    publish(client, blobs, north + south)
    view = gathered([state(north), state(south, "maison-sud")], client, blobs)
    assert {one.store_id for one in view.accepted} == {"atelier-nord", "maison-sud"}
    assert len(view.accepted) == 7
    assert {one.price for one in view.accepted} == {"1,234.50 EUR"}
    assert all(one.thumbnail.uri for one in view.accepted)
    assert len(view.queries) == gather.QUERIES
    for query in view.queries:
        scores = [near.score for near in query.neighbours]
        assert len(scores) == gather.NEIGHBOURS
        assert scores == sorted(scores, reverse=True)
        assert query.product.thumbnail not in [near.product.thumbnail for near in query.neighbours]
    assert view.vectors == FINGERPRINT


def test_a_product_that_left_qdrant_meanwhile_is_left_out(client: QdrantClient, blobs: Blobs) -> None:
    """Between reading the outcomes and asking Qdrant a product may go; the page is made without it."""
    there, gone = outcome("1"), outcome("2")
    publish(client, blobs, [there])
    view = gathered([state([there, gone])], client, blobs)
    assert [one.title for one in view.accepted] == [there.title]


def test_more_than_can_be_shown_is_counted(client: QdrantClient, blobs: Blobs) -> None:
    """Beyond the limit the page shows a sample, with the whole number, and every group keeps its share."""
    many = [outcome(str(number), Reason.TOO_BLURRY, image_sha256="0" * 64) for number in range(gather.STOPPED + 50)]
    few = [outcome("free", Reason.NO_PRICE, stage="raw_products")]
    view = gathered([state(few + many)], client, blobs)
    assert [(group.count, len(group.shown)) for group in view.groups] == [
        (1, 1),
        (gather.STOPPED + 50, gather.STOPPED - 1),
    ]
    assert view.rejected == gather.STOPPED + 51


def test_thumbnails_of_rejected_products_are_limited(client: QdrantClient, blobs: Blobs) -> None:
    """Past the limit a rejected product is shown without its image, and says so."""
    sha256 = blobs.put(encode(checks(300, 300)))
    count = gather.STOPPED_THUMBNAILS + 1
    rejected = [outcome(str(number), Reason.TOO_SMALL, image_sha256=sha256) for number in range(count)]
    shown = gathered([state(rejected)], client, blobs).groups[0].shown
    assert [one.thumbnail.missing for one in shown] == [*[""] * gather.STOPPED_THUMBNAILS, "image omitted"]


def test_the_stages_add_up() -> None:
    """What came through a stage is what came through the one before, less what stopped at it."""
    figures = store_figures(
        state(
            [
                outcome("1"),
                outcome("2", Reason.TOO_BLURRY),
                outcome("3", Reason.NO_PRICE, stage="raw_products"),
                outcome("4", Reason.TLS_ERROR, stage="fetched_images", status=Status.FAILED),
                outcome("5", Reason.DELETED, stage="raw_products"),
            ],
            seconds={"raw_products": 1.5, "quality_passed": 2.0},
            fetched=2,
            decoded=0,
        )
    )
    assert [(stage.products, stage.stopped, stage.seconds) for stage in figures.stages] == [
        (3, 1, 1.5),
        (2, 1, None),
        (1, 1, 2.0),
        (1, 0, None),
        (1, None, None),
        (1, None, None),
    ]
    assert (figures.products, figures.published, figures.rejected, figures.on_hold, figures.gone) == (4, 1, 2, 1, 1)
    assert figures.this_run == "This run: 2 downloaded."


def test_a_run_that_found_nothing_says_so() -> None:
    """A second run's page tells that nothing had to be done."""
    idle = store_figures(state([outcome("1")], fetched=0, decoded=0, seconds={})).this_run
    assert idle == "Nothing changed in this run: no download, no decode, no write."
    assert not store_figures(state([outcome("1")])).this_run


@pytest.mark.parametrize(
    ("wanted", "room", "shares"),
    [
        ({"a": 2, "b": 3}, 10, {"a": 2, "b": 3}),
        ({"a": 1, "b": 100, "c": 100}, 9, {"a": 1, "b": 4, "c": 4}),
        ({f"s{n}": 9 for n in range(5)}, 3, {"s0": 0, "s1": 0, "s2": 1, "s3": 1, "s4": 1}),
    ],
)
def test_scarce_room_is_shared(wanted: dict[str, int], room: int, shares: dict[str, int]) -> None:
    """Small wishes are met whole, large ones share the rest, and no room is given twice."""
    assert share_out(wanted, room) == shares


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  two\n lines\x00\t", "two lines"),
        ("a lone \ud800 half", "a lone half"),
        ("x" * 12, "x" * 12),
        ("x" * 13, "x" * 11 + "…"),
        ("جاكيت", "جاكيت"),
        ("", ""),
    ],
)
def test_a_text_is_one_short_line(text: str, line: str) -> None:
    """Control characters and halves of surrogates go, white space is one blank, and the end is cut."""
    assert plain(text, 12) == line


def test_an_address_keeps_its_first_letter() -> None:
    """A sentence begins with a capital; a URL at its beginning stays as it is."""
    assert sentence("shorter side 300 px") == "Shorter side 300 px"
    assert sentence("http://cdn.example/a.jpg answered 404") == "http://cdn.example/a.jpg answered 404"
    assert not sentence("")


def test_a_point_without_outcome_needs_no_store(client: QdrantClient, blobs: Blobs) -> None:
    """A neighbour of a store that is not on the page is shown all the same."""
    here = outcome("1")
    publish(client, blobs, [here, outcome("1", store_id="detached")])
    view = gathered([state([here])], client, blobs)
    assert [near.product.store_id for near in view.queries[0].neighbours] == ["detached"]
    assert isinstance(here.product_id, UUID)
