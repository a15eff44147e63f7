"""The difference between what the sinks should hold and what they hold. Deciding only; nothing is read or written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import FINAL_STAGE, DesiredPoint, ProductOutcome, hash_of, product_id
from fashion_pipeline.storage.vectors import VectorRef

FREE_REMOVALS = 3
"""So many removals in seven days never need consent."""

FREE_SHARE = 0.2
"""Nor does this share of a store's rows."""


@dataclass(frozen=True, slots=True)
class Removals:
    """What becomes of live rows that are not desired any more; external ids.

    Attributes:
        archived: those that leave.
        withheld: those that stay until a person agrees.
        kept: those that stay because nothing speaks against them: their picture fails for the
            moment, or the shop does not let them be read.
    """

    archived: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


def guard_removals(
    leaving: Collection[str],
    outcomes: Iterable[ProductOutcome],
    *,
    live: int,
    recently_archived: int,
    allow: bool,
) -> Removals:
    """Let a product leave on evidence about itself, unless so many leave at once that it looks like a mistake.

    Args:
        leaving: live rows that are not desired any more.
        outcomes: what became of the store's products. A refusal is evidence; a failure is not. A
            product without an outcome, as after the loss of a table, waits for a person.
        live: rows live now, the leaving ones included.
        recently_archived: rows archived within the last seven days, without consent; they count
            as removals, and as rows the store had.
        allow: whether a person has agreed.
    """
    told = {outcome.external_id: _is_evidence(outcome) for outcome in outcomes}
    unknown = frozenset(leaving) - told.keys()
    refused = frozenset(external_id for external_id in leaving if told.get(external_id))
    kept = frozenset(leaving) - refused - unknown
    limit = max(FREE_REMOVALS, int(FREE_SHARE * (live + recently_archived)))
    if allow:
        return Removals(archived=refused | unknown, kept=kept)
    if len(refused) + recently_archived <= limit:
        return Removals(archived=refused, withheld=unknown, kept=kept)
    return Removals(withheld=refused | unknown, kept=kept)


def _is_evidence(outcome: ProductOutcome) -> bool:
    """Whether an outcome speaks against its product; that the shop hides it at present does not."""
    return outcome.status is Status.REJECTED and set(outcome.reasons) != {Reason.UNREADABLE}


def await_consent(
    outcomes: Iterable[ProductOutcome], withheld: Collection[str], *, store_id: str
) -> tuple[ProductOutcome, ...]:
    """Say of the products that were held back that they wait for a person."""
    waiting = set(withheld)
    told = []
    for outcome in outcomes:
        if outcome.external_id in waiting:
            waiting.discard(outcome.external_id)
            told.append(replace(outcome, reasons=(Reason.AWAITING_CONSENT, *outcome.reasons)))
        else:
            told.append(outcome)
    told += [
        ProductOutcome(
            store_id=store_id,
            external_id=external_id,
            product_id=product_id(store_id, external_id),
            title="",
            stage=FINAL_STAGE,
            status=Status.REJECTED,
            reasons=(Reason.AWAITING_CONSENT,),
            detail="the shop's table does not know it any more",
        )
        for external_id in sorted(waiting)
    ]
    return tuple(told)


PointId = UUID | int
"""A point's id in Qdrant: ours are UUIDs, a stranger's may be numbers."""


@dataclass(frozen=True, slots=True)
class AppliedPoint:
    """What Qdrant holds of one point, as far as it is compared; None where its payload lacks it."""

    point_id: PointId
    product_id: str | None
    sha256: str | None
    fingerprint: str | None
    point_hash: str | None


@dataclass(frozen=True, slots=True)
class PointPlan:
    """What it takes to make one store's points right.

    Attributes:
        writes: points to send whole, with their vector.
        payloads: points whose vector stands and whose payload changes.
        deletes: ids of points to delete.
    """

    writes: tuple[DesiredPoint, ...] = ()
    payloads: tuple[DesiredPoint, ...] = ()
    deletes: tuple[PointId, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.writes or self.payloads or self.deletes)


def plan_points(
    desired: Sequence[DesiredPoint], applied: Mapping[PointId, AppliedPoint], *, live: Collection[UUID]
) -> PointPlan:
    """Compare one store's points with what Qdrant holds of it.

    Args:
        live: ids of the store's live rows in PostgreSQL. A point of a product that is not desired
            stays while its row does, because its removal may be waiting for consent.
    """
    writes, payloads = [], []
    for point in desired:
        there = applied.get(point.point_id)
        if there is None or (there.sha256, there.fingerprint) != (point.sha256, point.payload["fingerprint"]):
            writes.append(point)
        elif there.point_hash != point.point_hash:
            payloads.append(point)
    wanted = {point.point_id for point in desired}
    products = {str(point.product_id) for point in desired}
    kept = {str(identity) for identity in live} - products
    deletes = (
        point_id for point_id, there in applied.items() if point_id not in wanted and there.product_id not in kept
    )
    return PointPlan(tuple(writes), tuple(payloads), tuple(sorted(deletes, key=str)))


def points_for_live_model(
    desired: Sequence[DesiredPoint],
    applied: Mapping[PointId, AppliedPoint],
    *,
    fingerprint: str,
    places: Mapping[str, VectorRef],
) -> tuple[DesiredPoint, ...]:
    """Return what the collection of another model should hold while readers still see it.

    Where that model has no vector of a picture, its point keeps the picture it has, marked stale; a
    product that is new has none there.

    Args:
        desired: the store's points, with vectors of the model that is being built.
        places: where the other model's vectors lie.
    """
    shown: list[DesiredPoint] = []
    for point in desired:
        payload = {**point.payload, "fingerprint": fingerprint}
        sha256: str | None = point.sha256
        if sha256 not in places:
            there = applied.get(point.point_id)
            sha256 = None if there is None or there.fingerprint != fingerprint else there.sha256
            payload |= {"image_sha256": sha256, "stale": True}
        if sha256 is None:
            continue
        point_hash = hash_of(payload)
        place = places.get(sha256, _NOWHERE)
        payload["point_hash"] = point_hash
        shown.append(replace(point, place=place, sha256=sha256, payload=payload, point_hash=point_hash))
    return tuple(shown)


_NOWHERE = VectorRef("", -1)
"""Of a vector that is in Qdrant only."""
