"""Fill the page's view from what the pipeline stored: outcomes, both sinks' counts, Qdrant's payloads, and blobs.

Nothing is asked of a shop. How much is shown is bounded here, so that the page stays small
whatever the stores hold; what is left out is counted.
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
from fashion_pipeline.demo.page.view import Group, Neighbour, PageView, Picture, Published, Query, Stopped
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
# the least compressible pictures; a test holds them to it.
STORES = 12
HERO = 6
ACCEPTED = 24
STOPPED = 300
STOPPED_PICTURES = 110
QUERIES = 6
NEIGHBOURS = 4
TITLE_CHARACTERS = 120
DETAIL_CHARACTERS = 240

LARGE = Size(360, 8_000)
SMALL = Size(240, 6_000)

_GROUPS = {
    "raw_products": ("Refused on the shop's own data", "The product itself lacks something; no picture was asked for."),
    "fetched_images": ("Refused while fetching", "The picture's address gave nothing that can be judged."),
    "quality_passed": ("Refused by the quality gate", "The bytes arrived and were measured."),
    "embeddings": ("Refused while embedding", "The picture passed, and no vector could be made of it."),
    "consent": ("Kept until a person agrees", "So many left at once that it may be a mistake."),
    "held up": ("Held up for now", "Tried again without anyone's help."),
    "left": ("No longer in the shop", "Trashed or deleted there; not counted as refused."),
}


def gather_page(
    states: Sequence[StoreState], *, client: QdrantClient, blobs: Blobs, model: str, made_at: datetime
) -> PageView:
    """Gather everything the page shows.

    Args:
        states: the stores, in the order to show them.
        client: asked for payloads and neighbours, behind the alias ``products``.
        blobs: the pictures' bytes; those that cannot be shown become words.
        model: the model's name; ``tiny`` makes the page say that it is untrained.
    """
    alias = alias_target(client)
    pictures = _Pictures(states, blobs)
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
        refused=sum(one.refused for one in figures),
        held_up=sum(one.held_up for one in figures),
        left=sum(one.left for one in figures),
        seconds=sum(seconds) if seconds else None,
        hero=tuple(
            picture for payload in spread(shown, HERO) if (picture := pictures.published(payload, SMALL).picture).uri
        ),
        accepted=tuple(pictures.published(payload, LARGE) for payload in shown),
        groups=tuple(_groups(states, pictures)),
        queries=tuple(_queries(client, asked, pictures)),
    )


# --- what is published ----------------------------------------------------------------------------


def _sample(states: Sequence[StoreState], count: int) -> list[UUID]:
    """Choose published products of every store in turn, each store's spread evenly and begun elsewhere."""
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


def _queries(client: QdrantClient, asked: Iterable[Mapping[str, Any]], pictures: _Pictures) -> Iterable[Query]:
    for payload in asked:
        matches = more_like(client, UUID(str(payload["product_id"])), limit=NEIGHBOURS)
        yield Query(
            pictures.published(payload, SMALL),
            tuple(Neighbour(pictures.published(match.payload, SMALL), match.score) for match in matches),
        )


class _Pictures:
    """The thumbnails, each decoded under its store's own limit of pixels."""

    def __init__(self, states: Sequence[StoreState], blobs: Blobs) -> None:
        self.thumbnails = Thumbnails(blobs)
        self.max_pixels = {state.store.id: state.store.quality.max_pixels for state in states}

    def of(self, sha256: str, size: Size, store_id: str) -> Picture:
        limit = self.max_pixels.get(store_id, Quality.model_validate({}).max_pixels)
        return self.thumbnails.of(sha256, size=size, max_pixels=limit)

    def published(self, payload: Mapping[str, Any], size: Size) -> Published:
        store_id = str(payload["store_id"])
        title = plain(str(payload["title"]), TITLE_CHARACTERS) or "Untitled"
        picture = self.of(str(payload["image_sha256"]), size, store_id)
        price = f"{payload['price']:,.2f} {payload['currency']}"
        return Published(title, price, store_id, replace(picture, alt=f"Picture of {title}"))


# --- what is not ----------------------------------------------------------------------------------


def _groups(states: Sequence[StoreState], pictures: _Pictures) -> Iterable[Group]:
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
            picture = Picture(missing=_without_bytes(outcome))
            if outcome.image_sha256 is not None and name != "left":
                if drawn < STOPPED_PICTURES:
                    picture = pictures.of(outcome.image_sha256, SMALL, outcome.store_id)
                else:
                    picture = Picture(missing="picture left out")
                drawn += picture.uri is not None
            shown.append(_stopped(outcome, picture))
        if shown:
            yield Group(title, explanation, len(members[name]), tuple(shown))


def group_of(outcome: ProductOutcome) -> str | None:
    """Name the group a product is told of in; None where it is published."""
    if GONE & set(outcome.reasons):
        return "left"
    if outcome.status is Status.OK:
        return None
    if outcome.status is Status.FAILED:
        return "held up"
    return outcome.stage if outcome.stage in STAGES else "consent"


def share_out(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Give each its wish while there is room, and what is scarce in equal shares."""
    shares = {}
    for number, (name, wish) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        shares[name] = min(wish, room // (len(wanted) - number))
        room -= shares[name]
    return shares


def _stopped(outcome: ProductOutcome, picture: Picture) -> Stopped:
    title = plain(outcome.title, TITLE_CHARACTERS) or "Untitled"
    return Stopped(
        title=title,
        store_id=outcome.store_id,
        external_id=plain(outcome.external_id, 40),
        reasons=tuple(sentence(reason.text) for reason in outcome.reasons) or ("Waiting for an earlier stage",),
        detail=sentence(plain(outcome.detail, DETAIL_CHARACTERS)),
        again=outcome.next_retry_at,
        picture=replace(picture, alt=f"The picture that came: {picture.alt}") if picture.uri else picture,
    )


def _without_bytes(outcome: ProductOutcome) -> str:
    if GONE & set(outcome.reasons):
        return "left the shop"
    if Reason.NO_IMAGE in outcome.reasons:
        return "no picture"
    if outcome.stage == "raw_products":
        return "not fetched"
    return "nothing came"


# --- words ----------------------------------------------------------------------------------------


def plain(text: str, most: int) -> str:
    """Return one line of at most ``most`` characters that any encoding can hold."""
    text = text[: most * 8]  # what is cut off below need not be walked through
    kept = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"} else char for char in text)
    line = " ".join(kept.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def sentence(text: str) -> str:
    """Begin with a capital letter, unless it begins with an address."""
    return text if "://" in text.split(" ", 1)[0] else text[:1].upper() + text[1:]
