"""What is wrong in the sinks: every kind of drift, counted, with a sample of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

SAMPLE = 5
"""So many examples of each kind are kept; all are counted."""


class Kind(StrEnum):
    """One kind of drift; ``text`` says it in plain words."""

    NO_TABLES = "no_tables", "the store's tables are missing: only a run with --sweep makes them again"
    ROW_MISSING = "row_missing", "PostgreSQL has no row of a product that passed"
    ROW_ARCHIVED = "row_archived", "the row is archived and should be live"
    ROW_UNWANTED = "row_unwanted", "the row is live and should be archived"
    ROW_WRONG = "row_wrong", "the row's columns differ from what the tables say"
    ROWS_DIGEST = "rows_digest", "the digest of the rows is another state's: the next run looks at every row"
    OUTCOME_WRONG = "outcome_wrong", "product_outcomes does not say what became of the product"
    NO_COLLECTION = "no_collection", "Qdrant has no collection of the store's model"
    POINT_MISSING = "point_missing", "Qdrant has no point of a picture that is shown"
    POINT_UNWANTED = "point_unwanted", "the point has no live row, or its picture is not shown any more"
    POINT_DUPLICATE = "point_duplicate", "the point shows a picture a second time, under another id"
    POINT_FOREIGN = "point_foreign", "the point says it is this store's, and belongs to none of its products"
    POINT_STRAY = "point_stray", "the point names a store that nothing else knows, or none"
    POINT_MODEL = "point_model", "the point names another model's fingerprint than its collection's"
    POINT_PICTURE = "point_picture", "the point was made of other bytes than the picture now shown"
    POINT_PAYLOAD = "point_payload", "the payload differs from what the tables say"
    POINT_VECTOR = "point_vector", "the vector is not the one that is stored for the picture"
    POINTS_DIGEST = "points_digest", "the digest of the points is another state's: the next run looks at every point"
    VECTOR_LOST = "vector_lost", "the stored vector cannot be read: the store's next run embeds it again"

    text: str

    def __new__(cls, value: str, text: str = "") -> Self:
        """Give each kind its plain words."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


NOT_REPAIRABLE = frozenset({Kind.NO_TABLES, Kind.VECTOR_LOST})
"""What only a run of the store can mend."""


@dataclass
class Drift:
    """What one look at a store found.

    Attributes:
        found: by kind, how often, and a few examples.
        withheld: products that are shown although they should not be, until a person agrees: no drift.
        rows, points: how many were compared.
        vectors: how many vectors were compared.
    """

    found: dict[Kind, tuple[int, list[str]]] = field(default_factory=dict)
    withheld: int = 0
    rows: int = 0
    points: int = 0
    vectors: int = 0

    def note(self, kind: Kind, example: object, *, times: int = 1) -> None:
        """Count one more of a kind."""
        count, examples = self.found.get(kind, (0, []))
        self.found[kind] = (count + times, examples if len(examples) >= SAMPLE else [*examples, str(example)])

    def __bool__(self) -> bool:
        """Whether there is any drift."""
        return bool(self.found)

    @property
    def repairable(self) -> bool:
        """Whether a repair would mend anything."""
        return bool(self.found.keys() - NOT_REPAIRABLE)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind was found."""
        return {kind.value: self.found[kind][0] for kind in Kind if kind in self.found}

    def as_json(self) -> dict[str, Any]:
        """Return what ``reconcile --json`` says of a store."""
        return {
            "drift": dict(self.counts),
            "examples": {kind.value: examples for kind, (_, examples) in self.found.items()},
            "withheld": self.withheld,
            "rows": self.rows,
            "points": self.points,
            "vectors": self.vectors,
        }

    def lines(self) -> Iterator[str]:
        """Yield what a person reads: each kind with its number and its examples."""
        for kind in Kind:
            if kind in self.found:
                count, examples = self.found[kind]
                more = ", …" if count > len(examples) else ""
                yield f"  {count:>6,} {kind.value}: {kind.text}: {', '.join(examples)}{more}"
