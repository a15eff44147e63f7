"""What the page shows: values only, ready to be read. Text in them is a stranger's until it is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail, or the words that stand where there is none.

    Attributes:
        uri: a ``data:`` URI made here from decoded pixels; None where nothing can be shown.
        width, height: pixels of the thumbnail.
        alt: what a screen reader says.
        missing: why there is no thumbnail, in two or three words.
    """

    uri: str | None = None
    width: int = 0
    height: int = 0
    alt: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A product in both sinks, as Qdrant's payload tells it."""

    title: str
    price: str
    store_id: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A product found, and the cosine of its vector with the one asked for."""

    product: Published
    score: float


@dataclass(frozen=True, slots=True)
class Query:
    """A product, and what Qdrant says looks like it, the nearest first."""

    product: Published
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A product that is not published: the reasons in plain words, with the figures behind them."""

    title: str
    store_id: str
    external_id: str
    reasons: tuple[str, ...]
    detail: str
    again: datetime | None
    picture: Picture


@dataclass(frozen=True, slots=True)
class Group:
    """Products that stopped at one place; ``shown`` may be fewer than ``count``."""

    title: str
    explanation: str
    count: int
    shown: tuple[Stopped, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One asset's figures for one store.

    Attributes:
        products: how many came through it.
        stopped: how many stopped at it; None for the sinks, at which nothing stops.
        seconds: what it took in this run; None where it did not run.
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
        products: what the shop offers; those it trashed or deleted are ``left``.
        this_run: a sentence of what this run did; ``""`` where nothing is known of a run.
    """

    store_id: str
    products: int
    published: int
    refused: int
    held_up: int
    left: int
    stages: tuple[Stage, ...]
    seconds: float | None
    this_run: str


@dataclass(frozen=True, slots=True)
class PageView:
    """The whole page.

    Attributes:
        untrained: the vectors are those of ``tiny``, which never saw a garment.
        vectors: the fingerprint of the model that readers get; None before the first point.
        hero: a few published pictures for the head of the page.
    """

    made_at: datetime
    model: str
    untrained: bool
    vectors: str | None
    store_count: int
    stores: tuple[StoreFigures, ...]
    products: int
    published: int
    refused: int
    held_up: int
    left: int
    seconds: float | None
    hero: tuple[Picture, ...]
    accepted: tuple[Published, ...]
    groups: tuple[Group, ...]
    queries: tuple[Query, ...]
