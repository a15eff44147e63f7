"""The difference between what the sinks hold and what they should hold. It is decided here; nothing is read or written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import DesiredPoint, ProductOutcome, hash_of, product_id
from fashion_pipeline.sinks.image_progress import FINAL_STAGE
from fashion_pipeline.storage.files import digest, sha256_hex
from fashion_pipeline.storage.vectors import VectorRef

FREE_REMOVALS = 3
"""This many removals within seven days never need consent."""

FREE_SHARE = 0.2
"""Nor do removals of up to this share of a store's rows."""


@dataclass(frozen=True, slots=True)
class Removals:
    """What happens to live rows that are no longer desired; external ids.

    Attributes:
        archived: rows to archive.
        withheld: rows that stay until a person consents to their removal.
        kept: rows that stay because there is no evidence against them: their image fails for now, or
            the shop does not let them be read.
    """

    archived: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


def guard_removals(
    candidates: Collection[str],
    outcomes: Iterable[ProductOutcome],
    *,
    live: int,
    recently_archived: int,
    allow: bool,
) -> Removals:
    """Archive a product on evidence about itself, unless so many would go at once that it looks like a mistake.

    Args:
        candidates: live rows that are no longer desired.
        outcomes: the outcomes of the store's products. A rejection is evidence; a failure is not. A
            product without an outcome, as after the loss of a table, waits for consent.
        live: number of live rows, the candidates included.
        recently_archived: rows archived within the last seven days without consent. They count as
            removals, and as rows the store had.
        allow: a person has consented to any number of removals.
    """
    evidence = {outcome.external_id: _is_evidence(outcome) for outcome in outcomes}
    unknown = frozenset(candidates) - evidence.keys()
    refused = frozenset(external_id for external_id in candidates if evidence.get(external_id))
    kept = frozenset(candidates) - refused - unknown
    limit = max(FREE_REMOVALS, int(FREE_SHARE * (live + recently_archived)))
    if allow:
        return Removals(archived=refused | unknown, kept=kept)
    if len(refused) + recently_archived <= limit:
        return Removals(archived=refused, withheld=unknown, kept=kept)
    return Removals(withheld=refused | unknown, kept=kept)


def _is_evidence(outcome: ProductOutcome) -> bool:
    """Whether an outcome is evidence against its product; that the shop hides it for now is not."""
    return outcome.status is Status.REJECTED and set(outcome.reasons) != {Reason.UNREADABLE}


def await_consent(
    outcomes: Iterable[ProductOutcome], withheld: Collection[str], *, store_id: str
) -> tuple[ProductOutcome, ...]:
    """Return the outcomes, with those of withheld products marked as awaiting consent."""
    waiting = set(withheld)
    marked = []
    for outcome in outcomes:
        if outcome.external_id in waiting:
            waiting.discard(outcome.external_id)
            marked.append(replace(outcome, reasons=(Reason.AWAITING_CONSENT, *outcome.reasons)))
        else:
            marked.append(outcome)
    marked += [
        ProductOutcome(
            store_id=store_id,
            external_id=external_id,
            product_id=product_id(store_id, external_id),
            title="",
            stage=FINAL_STAGE,
            status=Status.REJECTED,
            reasons=(Reason.AWAITING_CONSENT,),
            detail="it is no longer in the shop's table",
        )
        for external_id in sorted(waiting)
    ]
    return tuple(marked)


PointId = UUID | int
"""A point's id in Qdrant: ours are UUIDs, others may be numbers."""


@dataclass(frozen=True, slots=True)
class AppliedPoint:
    """The fields of a point in Qdrant that are compared; None where its payload lacks one."""

    point_id: PointId
    product_id: str | None
    sha256: str | None
    fingerprint: str | None
    point_hash: str | None


@dataclass(frozen=True, slots=True)
class PointPlan:
    """The writes that bring one store's points to the desired state.

    Attributes:
        writes: points to send whole, with their vector.
        payloads: points whose vector stays and whose payload changes.
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
    """Compare one store's desired points with those in Qdrant.

    Args:
        live: ids of the store's live rows in PostgreSQL. A point of a product that is not desired
            stays while its row is live, because its removal may be waiting for consent.
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
    """Return the points of the live model's collection while another model's is built.

    Where the live model has a vector of an image, its point is the desired one. Where it has none,
    the point keeps the image it has, marked stale; a point that is new is left out.

    Args:
        desired: the store's points, with vectors of the model that is being built.
        applied: the store's points in the live model's collection.
        fingerprint: of the live model.
        places: where the live model's vectors of the desired images lie.
    """
    points: list[DesiredPoint] = []
    for point in desired:
        payload = {**point.payload, "fingerprint": fingerprint}
        if point.sha256 in places:
            points.append(_with_payload(point, payload, point.sha256, places[point.sha256]))
            continue
        there = applied.get(point.point_id)
        if there is None or there.fingerprint != fingerprint or there.sha256 is None:
            continue
        payload |= {"image_sha256": there.sha256, "stale": True}
        points.append(_with_payload(point, payload, there.sha256, places.get(there.sha256, _IN_QDRANT_ONLY)))
    return tuple(points)


_IN_QDRANT_ONLY = VectorRef("", -1)
"""The place of a vector that is not stored here."""


def _with_payload(point: DesiredPoint, payload: dict[str, Any], sha256: str, place: VectorRef) -> DesiredPoint:
    point_hash = hash_of(payload)
    return replace(
        point, place=place, sha256=sha256, payload={**payload, "point_hash": point_hash}, point_hash=point_hash
    )


def live_model_digest(
    desired: Sequence[DesiredPoint], *, collection: str, live: Collection[UUID], places: Mapping[str, VectorRef]
) -> str:
    """Return the digest of everything that decides the points of the live model's collection.

    These are the desired points, the images of which the live model has no vector, and the products
    that are not desired and whose rows are live. Equal digests: the collection needs no write.
    """
    waiting = sorted(map(str, set(live) - {point.product_id for point in desired}))
    without_vector = sorted(point.sha256 for point in desired if point.sha256 not in places)
    of_points = digest((str(point.point_id), point.point_hash) for point in desired)
    return sha256_hex("\n".join([collection, of_points, *without_vector, "", *waiting]).encode())
