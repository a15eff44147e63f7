"""What follows for the known products from what the shop was seen to say; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from fashion_pipeline.outcomes import Outcome, Reason, Status, failed, rejected
from fashion_pipeline.records import Product, is_redacted
from fashion_pipeline.shop.gallery import NO_VARIATIONS, Variations
from fashion_pipeline.shop.product import gate, parse, product_id
from fashion_pipeline.shop.rest import Payload
from fashion_pipeline.stores import Store

_UNPUBLISHED = frozenset({"draft", "pending", "future", "auto-draft"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What the shop said, product by product.

    Attributes:
        payloads: of products it has; of two with one id the later counts.
        gone: ids it says it has no product of.
        unreadable: ids it has, or may have, but does not let us read; with the reason.
        variations: of the products among ``payloads`` whose variations were read.
    """

    payloads: tuple[Payload, ...] = ()
    gone: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    variations: Mapping[str, Variations] = field(default_factory=dict)


@dataclass(slots=True)
class Merge:
    """Lays what was seen over the rows of the last read.

    Attributes:
        before: the rows of the last read, by id.
        now: the time of this read.
        known_first_seen: when the sinks first saw a product, by id.
        restarted: ids that came to name another product, and since when; a date that a sink knows
            from before that belongs to the former product. Grows in ``apply``.
    """

    store: Store
    before: Mapping[str, Product]
    now: datetime
    known_first_seen: Mapping[str, datetime]
    restarted: dict[str, datetime]

    def apply(self, seen: Seen, *, currency: str) -> dict[str, Product]:
        """Return all rows, by id: the seen ones anew, the others judged again by the gate."""
        after = {key: self._judged_again(row) for key, row in self.before.items()}
        for payload in seen.payloads:
            external_id = product_id(payload, store=self.store)
            first_seen_at = self._first_seen(external_id)
            variations = seen.variations.get(external_id, NO_VARIATIONS)
            before = self.before.get(external_id)
            product = parse(
                payload,
                store=self.store,
                currency=currency,
                now=self.now,
                first_seen_at=first_seen_at,
                variations=variations,
                images_before=before.images if before is not None else (),
            )
            if variations.problem:
                product = replace(product, outcome=_marked(product.outcome, self._wait(before, variations.problem)))
            if self._is_another(product):
                self.restarted[external_id] = self.now
                product = replace(product, first_seen_at=self.now)
            after[external_id] = product
        for external_id in seen.gone:
            row = after.get(external_id) or self._unknown(external_id, currency=currency)
            after[external_id] = replace(row, outcome=rejected(Reason.DELETED))
        for external_id, detail in seen.unreadable.items():
            after[external_id] = self._unreadable(external_id, detail, currency=currency)
        return after

    def keep_live(self, after: Mapping[str, Product], listed: Collection[str]) -> tuple[dict[str, Product], set[str]]:
        """Return the rows, and the ids of publishable products that would be removed or replaced.

        A row that is absent from the listing is among them: it would be removed once asked for.
        Where there is one, what was seen may be another shop: only publishable products that are the
        same ones are taken from it, and every other row stays.
        """
        held = {
            key
            for key, row in self.before.items()
            if row.outcome.ok and (key not in listed or not after[key].outcome.ok or self._is_another(after[key]))
        }
        if not held:
            return dict(after), held
        kept = {key: row if key in held else self._judged_again(row) for key, row in self.before.items()}
        same = {key for key, row in self.before.items() if row.outcome.ok} - held
        for key in after.keys() - same:
            if self.restarted.get(key) == self.now:
                del self.restarted[key]
        return kept | {key: after[key] for key in same}, held

    def _judged_again(self, row: Product) -> Product:
        """Apply the gate as the store sets it now; what was deleted stays so."""
        if is_gone(row):
            return row
        outcome = gate(row, accept_free=self.store.accept_free)
        if Reason.UNREADABLE in row.outcome.reasons:
            outcome = _marked(outcome, row.outcome) if row.status else row.outcome
        if Reason.AWAITING_CONSENT in row.outcome.reasons and outcome.ok:
            outcome = row.outcome
        return row if outcome == row.outcome else replace(row, outcome=outcome)

    def _unreadable(self, external_id: str, detail: str, *, currency: str) -> Product:
        """Keep what is known of a product, and when it is asked for again; of an unknown one, its id."""
        row = self.before.get(external_id)
        if row is not None and is_gone(row):
            return row
        if row is None:
            row = replace(self._unknown(external_id, currency=currency), outcome=rejected(Reason.UNREADABLE))
        wait = self._wait(row, detail)
        if not row.status:
            return replace(row, outcome=replace(wait, status=Status.REJECTED))
        return replace(row, outcome=_marked(gate(row, accept_free=self.store.accept_free), wait))

    def _wait(self, row: Product | None, detail: str) -> Outcome:
        """Return when a product is to be asked for again, ever more rarely while it cannot be read."""
        known = row is not None and Reason.UNREADABLE in row.outcome.reasons
        before = Outcome(Status.FAILED, attempts=row.outcome.attempts if row is not None and known else 0)
        return failed(Reason.UNREADABLE, detail=detail, before=before, now=self.now)

    def _unknown(self, external_id: str, *, currency: str) -> Product:
        """Return the row of a product of which only the id is known."""
        return parse(
            {"id": int(external_id)},
            store=self.store,
            currency=currency,
            now=self.now,
            first_seen_at=self._first_seen(external_id),
        )

    def _first_seen(self, external_id: str) -> datetime:
        """Return the earliest date that the table or a sink knows of the present product of this id."""
        dates = [self.now]
        if external_id in self.before:
            dates.append(self.before[external_id].first_seen_at)
        known, restarted = self.known_first_seen.get(external_id), self.restarted.get(external_id)
        if known is not None and (restarted is None or known >= restarted):
            dates.append(known)
        return min(dates)

    def _is_another(self, product: Product) -> bool:
        """Whether an id names another product than before: then its creation date differs.

        The creation date of a product that was not yet published is not final.
        """
        row = self.before.get(product.external_id)
        if row is None or row.status in _UNPUBLISHED:
            return False
        dates = (row.created_in_shop_at, product.created_in_shop_at)
        return None not in dates and dates[0] != dates[1]


def awaiting_consent(row: Product, detail: str) -> Product:
    """Say of a publishable product that it would be removed, and is kept until a person agrees."""
    if not row.outcome.ok:
        return row
    reasons = dict.fromkeys((Reason.AWAITING_CONSENT, *row.outcome.reasons))
    return replace(row, outcome=replace(row.outcome, reasons=tuple(reasons), detail=detail))


def is_gone(row: Product) -> bool:
    """Whether the shop has said that it has the product no more, or it was purged here."""
    return Reason.DELETED in row.outcome.reasons or is_redacted(row)


def _marked(outcome: Outcome, wait: Outcome) -> Outcome:
    """Add to an outcome that the product cannot be read at present; its verdict stays."""
    return replace(
        outcome,
        reasons=(*outcome.reasons, Reason.UNREADABLE),
        detail=wait.detail,
        attempts=wait.attempts,
        next_retry_at=wait.next_retry_at,
    )
