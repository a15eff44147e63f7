"""The page's contents as plain values. Their text comes from shops and must be escaped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail, or the words shown in its place.

    Attributes:
        uri: a ``data:`` URI made here from decoded pixels; None where nothing can be shown.
        width, height: pixels of the thumbnail.
        alt: text for screen readers.
        missing: why there is no thumbnail, in two or three words.
    """

    uri: str | None = None
    width: int = 0
    height: int = 0
    alt: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A product in both sinks, from Qdrant's payload."""

    title: str
    price: str
    store_id: str
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A similar product, and the cosine of its vector with that of the query."""

    product: Published
    score: float


@dataclass(frozen=True, slots=True)
class Query:
    """A product, and the products that Qdrant finds most similar, nearest first."""

    product: Published
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A product that is not published: its reasons and the measured values."""

    title: str
    store_id: str
    external_id: str
    reasons: tuple[str, ...]
    detail: str
    again: datetime | None
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class Group:
    """Products that stopped at the same stage; ``shown`` may be fewer than ``count``."""

    title: str
    explanation: str
    count: int
    shown: tuple[Stopped, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One asset's figures for one store.

    Attributes:
        products: how many passed it.
        stopped: how many stopped at it; None for the sinks, where none stop.
        seconds: its duration in this run; None where it did not run.
    """

    name: str
    asset: str
    products: int
    stopped: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """One store from its shop to both sinks.

    Attributes:
        products: products in the shop; trashed and deleted ones are ``gone``.
        this_run: a sentence about the work of this run; ``""`` if there was none.
    """

    store_id: str
    products: int
    published: int
    rejected: int
    on_hold: int
    gone: int
    stages: tuple[Stage, ...]
    seconds: float | None
    this_run: str


@dataclass(frozen=True, slots=True)
class PageView:
    """The whole page.

    Attributes:
        untrained: the vectors come from ``tiny``, an untrained model.
        vectors: the fingerprint of the live model; None before the first point.
        hero: a few published images for the head of the page.
    """

    made_at: datetime
    model: str
    untrained: bool
    vectors: str | None
    store_count: int
    stores: tuple[StoreFigures, ...]
    products: int
    published: int
    rejected: int
    on_hold: int
    gone: int
    seconds: float | None
    hero: tuple[Thumbnail, ...]
    accepted: tuple[Published, ...]
    groups: tuple[Group, ...]
    queries: tuple[Query, ...]
