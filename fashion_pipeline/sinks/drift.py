"""Drift: what is wrong in the sinks, counted by kind, with examples of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

SAMPLE = 5
"""Examples kept of each kind; every case is counted."""


class Kind(StrEnum):
    """One kind of drift; ``text`` describes it."""

    NO_TABLES = "no_tables", "the store's tables are missing; only a run with --sweep creates them again"
    ROW_MISSING = "row_missing", "PostgreSQL has no row for a product that passed"
    ROW_ARCHIVED = "row_archived", "the row is archived and should be live"
    ROW_UNWANTED = "row_unwanted", "the row is live and should be archived"
    ROW_WRONG = "row_wrong", "the row's columns differ from the tables"
    ROWS_DIGEST = "rows_digest", "the digest does not match the rows; the next run compares every row"
    OUTCOME_WRONG = "outcome_wrong", "product_outcomes does not hold the product's outcome"
    NO_COLLECTION = "no_collection", "Qdrant has no collection for the store's model"
    POINT_MISSING = "point_missing", "Qdrant has no point for a published image"
    POINT_UNWANTED = "point_unwanted", "the point has no live row, or its image is no longer published"
    POINT_DUPLICATE = "point_duplicate", "the point is a second one for its image, under another id"
    POINT_FOREIGN = "point_foreign", "the point names this store and belongs to none of its products"
    POINT_STRAY = "point_stray", "the point names an unknown store, or none"
    POINT_MODEL = "point_model", "the point's fingerprint is not that of its collection's model"
    POINT_IMAGE = "point_picture", "the point was made from other bytes than the image now published"
    POINT_PAYLOAD = "point_payload", "the payload differs from the tables"
    POINT_VECTOR = "point_vector", "the vector is not the one stored for the image"
    POINTS_DIGEST = "points_digest", "the digest does not match the points; the next run compares every point"
    VECTOR_LOST = "vector_lost", "the stored vector cannot be read; the store's next run embeds the image again"

    text: str

    def __new__(cls, value: str, text: str = "") -> Self:
        """Make a member from its value and its description."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


NOT_REPAIRABLE = frozenset({Kind.NO_TABLES, Kind.VECTOR_LOST})
"""Kinds that only a run of the store can repair."""


@dataclass
class Drift:
    """What one inspection of a store found.

    Attributes:
        found: by kind, the number of cases and a few examples.
        withheld: products that stay published until a person consents to their removal; they are no drift.
        rows, points, vectors: how many were compared.
    """

    found: dict[Kind, tuple[int, list[str]]] = field(default_factory=dict)
    withheld: int = 0
    rows: int = 0
    points: int = 0
    vectors: int = 0

    def note(self, kind: Kind, example: object, *, times: int = 1) -> None:
        """Count one or more cases of a kind, with an example."""
        count, examples = self.found.get(kind, (0, []))
        self.found[kind] = (count + times, examples if len(examples) >= SAMPLE else [*examples, str(example)])

    def __bool__(self) -> bool:
        """Whether there is any drift."""
        return bool(self.found)

    @property
    def repairable(self) -> bool:
        """Whether a repair would change anything."""
        return bool(self.found.keys() - NOT_REPAIRABLE)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind was found."""
        return {kind.value: self.found[kind][0] for kind in Kind if kind in self.found}

    def as_json(self) -> dict[str, Any]:
        """Return a store's drift as ``reconcile --json`` prints it."""
        return {
            "drift": dict(self.counts),
            "examples": {kind.value: examples for kind, (_, examples) in self.found.items()},
            "withheld": self.withheld,
            "rows": self.rows,
            "points": self.points,
            "vectors": self.vectors,
        }

    def lines(self) -> Iterator[str]:
        """Yield a line for each kind, with its number of cases and its examples."""
        for kind in Kind:
            if kind in self.found:
                count, examples = self.found[kind]
                more = ", …" if count > len(examples) else ""
                yield f"  {count:>6,} {kind.value}: {kind.text}: {', '.join(examples)}{more}"
