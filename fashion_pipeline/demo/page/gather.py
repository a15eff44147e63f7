"""Fills the page's view from the pipeline's stores: outcomes, counts of both sinks, Qdrant's payloads, blobs.

No shop is contacted. The number of items is bounded here, so that the page stays small whatever the
stores hold; omitted items are counted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fashion_pipeline.demo.page.figures import STAGES, StoreState, store_figures
from fashion_pipeline.demo.page.thumbnails import Size, Thumbnails
from fashion_pipeline.demo.page.view import Group, Neighbour, PageView, Published, Query, Stopped, Thumbnail
from fashion_pipeline.embedding.load import TINY
from fashion_pipeline.images.sheet import spread
from fashion_pipeline.outcomes import GONE, Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.sinks.qdrant.collections import alias_name, alias_target
from fashion_pipeline.sinks.qdrant.search import more_like
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.stores import Quality

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# Together with the sizes below they keep the page under write.MAX_BYTES with the longest texts and
# the least compressible images; a test checks this.
STORES = 12
HERO = 6
ACCEPTED = 24
STOPPED = 300
STOPPED_THUMBNAILS = 110
QUERIES = 6
NEIGHBOURS = 4
TITLE_CHARACTERS = 120
DETAIL_CHARACTERS = 240

LARGE = Size(360, 8_000)
SMALL = Size(240, 6_000)

_GROUPS = {
    "raw_products": (
        "Rejected for the shop's data",
        "The product itself is incomplete or not public; its image was not fetched.",
    ),
    "fetched_images": ("Rejected while fetching", "The image's URL returned nothing that can be measured."),
    "quality_passed": ("Rejected by the quality gate", "The image was downloaded and measured."),
    "embeddings": ("Rejected while embedding", "The image passed, but no vector could be computed."),
    "consent": (
        "Waiting for consent",
        "So many products disappeared at once that it may be a mistake; they stay until a person agrees.",
    ),
    "on hold": ("On hold", "Retried automatically."),
    "gone": ("No longer in the shop", "Trashed or deleted there; not counted as rejected."),
}


def gather_page(
    states: Sequence[StoreState], *, client: QdrantClient, blobs: Blobs, model: str, made_at: datetime
) -> PageView:
    """Gather everything the page shows.

    Args:
        states: the stores, in the order to show them.
        client: used for payloads and neighbours, behind the alias ``products``.
        blobs: the images' bytes; words replace those that cannot be shown.
        model: the model's name; ``tiny`` makes the page say that it is untrained.
    """
    alias = alias_target(client)
    thumbnails = _ThumbnailSource(states, blobs)
    figures = [store_figures(state) for state in states]
    seconds = [one.seconds for one in figures if one.seconds is not None]
    shown = [] if alias is None else _payloads(client, _sample(states, ACCEPTED))
    asked = [] if alias is None else _payloads(client, _sample(states, QUERIES))
    return PageView(
        made_at=made_at,
        model=plain(model, TITLE_CHARACTERS),
        untrained=model == TINY,
        vectors=None if alias is None else alias.fingerprint,
        store_count=len(figures),
        stores=tuple(figures[:STORES]),
        products=sum(one.products for one in figures),
        published=sum(one.published for one in figures),
        rejected=sum(one.rejected for one in figures),
        on_hold=sum(one.on_hold for one in figures),
        gone=sum(one.gone for one in figures),
        seconds=sum(seconds) if seconds else None,
        hero=tuple(
            thumbnail
            for payload in spread(shown, HERO)
            if (thumbnail := thumbnails.published(payload, SMALL).thumbnail).uri
        ),
        accepted=tuple(thumbnails.published(payload, LARGE) for payload in shown),
        groups=tuple(_groups(states, thumbnails)),
        queries=tuple(_queries(client, asked, thumbnails)),
    )


# --- what is published ----------------------------------------------------------------------------


def _sample(states: Sequence[StoreState], count: int) -> list[UUID]:
    """Choose published products of all stores in turn, spread evenly within each store."""
    published = {
        state.store.id: [one.product_id for one in state.outcomes if one.status is Status.OK and one.in_qdrant]
        for state in states
    }
    rooms = share_out({store_id: len(found) for store_id, found in published.items()}, count)
    columns = [
        spread(found, rooms[store_id], phase=(number + 0.5) / len(published))
        for number, (store_id, found) in enumerate(published.items())
    ]
    return [product_id for row in zip_longest(*columns) for product_id in row if product_id is not None]


def _payloads(client: QdrantClient, product_ids: Sequence[UUID]) -> list[Mapping[str, Any]]:
    """Return the payloads of products' primary points, in the order asked for."""
    if not product_ids:
        return []
    records = client.retrieve(
        alias_name(client), ids=[str(product_id) for product_id in product_ids], with_payload=True
    )
    found = {str(record.id): record.payload or {} for record in records}
    return [found[str(product_id)] for product_id in product_ids if str(product_id) in found]


def _queries(client: QdrantClient, asked: Iterable[Mapping[str, Any]], thumbnails: _ThumbnailSource) -> Iterable[Query]:
    for payload in asked:
        matches = more_like(client, UUID(str(payload["product_id"])), limit=NEIGHBOURS)
        yield Query(
            thumbnails.published(payload, SMALL),
            tuple(Neighbour(thumbnails.published(match.payload, SMALL), match.score) for match in matches),
        )


class _ThumbnailSource:
    """Makes thumbnails under each store's own pixel limit."""

    def __init__(self, states: Sequence[StoreState], blobs: Blobs) -> None:
        self.thumbnails = Thumbnails(blobs)
        self.max_pixels = {state.store.id: state.store.quality.max_pixels for state in states}

    def of(self, sha256: str, size: Size, store_id: str) -> Thumbnail:
        limit = self.max_pixels.get(store_id, Quality.model_validate({}).max_pixels)
        return self.thumbnails.of(sha256, size=size, max_pixels=limit)

    def published(self, payload: Mapping[str, Any], size: Size) -> Published:
        store_id = str(payload["store_id"])
        title = plain(str(payload["title"]), TITLE_CHARACTERS) or "Untitled"
        thumbnail = self.of(str(payload["image_sha256"]), size, store_id)
        price = f"{payload['price']:,.2f} {payload['currency']}"
        return Published(title, price, store_id, replace(thumbnail, alt=f"Image of {title}"))


# --- what is not ----------------------------------------------------------------------------------


def _groups(states: Sequence[StoreState], thumbnails: _ThumbnailSource) -> Iterable[Group]:
    members: dict[str, list[ProductOutcome]] = defaultdict(list)
    for state in states:
        for outcome in state.outcomes:
            if (name := group_of(outcome)) is not None:
                members[name].append(outcome)
    rooms = share_out({name: len(found) for name, found in members.items()}, STOPPED)
    drawn = 0
    for name, (title, explanation) in _GROUPS.items():
        shown = []
        for outcome in spread(members[name], rooms.get(name, 0)):
            thumbnail = Thumbnail(missing=_without_bytes(outcome))
            if outcome.image_sha256 is not None and name != "gone":
                if drawn < STOPPED_THUMBNAILS:
                    thumbnail = thumbnails.of(outcome.image_sha256, SMALL, outcome.store_id)
                else:
                    thumbnail = Thumbnail(missing="image omitted")
                drawn += thumbnail.uri is not None
            shown.append(_stopped(outcome, thumbnail))
        if shown:
            yield Group(title, explanation, len(members[name]), tuple(shown))


def group_of(outcome: ProductOutcome) -> str | None:
    """Name the group that a product is shown in; None for a published one."""
    if GONE & set(outcome.reasons):
        return "gone"
    if outcome.status is Status.OK:
        return None
    if outcome.status is Status.FAILED:
        return "on hold"
    return outcome.stage if outcome.stage in STAGES else "consent"


def share_out(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Give each what it wants if there is room; share equally what is scarce."""
    shares = {}
    for number, (name, wish) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        shares[name] = min(wish, room // (len(wanted) - number))
        room -= shares[name]
    return shares


def _stopped(outcome: ProductOutcome, thumbnail: Thumbnail) -> Stopped:
    title = plain(outcome.title, TITLE_CHARACTERS) or "Untitled"
    return Stopped(
        title=title,
        store_id=outcome.store_id,
        external_id=plain(outcome.external_id, 40),
        reasons=tuple(sentence(reason.text) for reason in outcome.reasons) or ("Waiting for an earlier stage",),
        detail=sentence(plain(outcome.detail, DETAIL_CHARACTERS)),
        again=outcome.next_retry_at,
        thumbnail=replace(thumbnail, alt=f"Downloaded image: {thumbnail.alt}") if thumbnail.uri else thumbnail,
    )


def _without_bytes(outcome: ProductOutcome) -> str:
    if GONE & set(outcome.reasons):
        return "gone from the shop"
    if Reason.NO_IMAGE in outcome.reasons:
        return "no image"
    if outcome.stage == "raw_products":
        return "not fetched"
    return "nothing received"


# --- words ----------------------------------------------------------------------------------------


def plain(text: str, most: int) -> str:
    """Return one line of at most ``most`` characters that any encoding supports."""
    text = text[: most * 8]  # avoids processing text that is cut off below
    kept = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"} else char for char in text)
    line = " ".join(kept.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def sentence(text: str) -> str:
    """Capitalize the first letter, unless the text begins with a URL."""
    return text if "://" in text.split(" ", 1)[0] else text[:1].upper() + text[1:]
