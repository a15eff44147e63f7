"""Merges what a read saw of a shop into the rows of the last read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from fashion_pipeline.outcomes import Outcome, Reason, Status, failed, rejected
from fashion_pipeline.records import Product, is_redacted
from fashion_pipeline.shop.gallery import NO_VARIATIONS, Variations
from fashion_pipeline.shop.product import gate, parse, problem_of, product_id
from fashion_pipeline.shop.rest import Payload
from fashion_pipeline.stores import Store

_UNPUBLISHED = frozenset({"draft", "pending", "future", "auto-draft"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read saw, product by product.

    Attributes:
        payloads: products that exist. Of two with one id the later counts.
        gone: ids of which the shop says that it has no product.
        unreadable: ids of products that exist, or may exist, and cannot be read; with the reason.
        variations: by product id, for the products whose variations were read.
    """

    payloads: tuple[Payload, ...] = ()
    gone: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    variations: Mapping[str, Variations] = field(default_factory=dict)


@dataclass(slots=True)
class Merge:
    """Merges what was seen into the rows of the last read.

    Attributes:
        store: decides about images and prices of 0.
        before: the rows of the last read, by id.
        now: the time of this read.
        known_first_seen: when the sinks first saw a product, by id.
        restarted: ids that began to name another product, and when. A date that a sink knows from
            before belongs to the former product. Grows in ``apply``.
    """

    store: Store
    before: Mapping[str, Product]
    now: datetime
    known_first_seen: Mapping[str, datetime]
    restarted: dict[str, datetime]

    def apply(self, seen: Seen, *, currency: str) -> dict[str, Product]:
        """Return all rows, by id: a new row for what was seen; the others, judged again by the gate."""
        after = {key: self._judged_again(row) for key, row in self.before.items()}
        for payload in seen.payloads:
            external_id = product_id(payload, store=self.store)
            if problem := problem_of(payload):
                after[external_id] = self._unreadable(external_id, problem, currency=currency)
                continue
            variations = seen.variations.get(external_id, NO_VARIATIONS)
            after[external_id] = self._parsed(payload, external_id, variations, currency=currency)
        for external_id in seen.gone:
            row = after.get(external_id) or self._unknown(external_id, currency=currency)
            after[external_id] = replace(row, outcome=rejected(Reason.DELETED))
        for external_id, detail in seen.unreadable.items():
            after[external_id] = self._unreadable(external_id, detail, currency=currency)
        return after

    def at_risk(self, after: Mapping[str, Product], listed: Collection[str]) -> set[str]:
        """Return the ids of publishable products that ``after`` would remove or replace.

        Args:
            after: from ``apply``.
            listed: ids in the listing. A product that is absent would be removed by a request for it.
        """

        def survives(key: str) -> bool:
            return key in listed and after[key].outcome.ok and not self._is_another(after[key])

        return {key for key, row in self.before.items() if row.outcome.ok and not survives(key)}

    def keep(self, at_risk: Collection[str], after: Mapping[str, Product]) -> dict[str, Product]:
        """Return the rows while removals wait for consent, because ``after`` may be of another shop.

        Only publishable products that are certainly the same are taken from ``after``. Every other
        row stays, and no product is added.
        """
        same = {key for key, row in self.before.items() if row.outcome.ok and key not in at_risk}
        for key in after.keys() - same:
            if self.restarted.get(key) == self.now:
                del self.restarted[key]
        kept = {key: row if key in at_risk else self._judged_again(row) for key, row in self.before.items()}
        return kept | {key: after[key] for key in same}

    def _parsed(self, payload: Payload, external_id: str, variations: Variations, *, currency: str) -> Product:
        """Return the row of a payload."""
        before = self.before.get(external_id)
        product = parse(
            payload,
            store=self.store,
            currency=currency,
            now=self.now,
            first_seen_at=self._first_seen(external_id),
            variations=variations,
            images_before=before.images if before is not None else (),
        )
        if variations.problem:
            product = replace(product, outcome=_marked(product.outcome, self._wait(before, variations.problem)))
        if self._is_another(product):
            self.restarted[external_id] = self.now
            product = replace(product, first_seen_at=self.now)
        return product

    def _judged_again(self, row: Product) -> Product:
        """Apply the gate with the store's present settings. A deleted product stays deleted."""
        if is_gone(row):
            return row
        outcome = gate(row, self.store)
        if Reason.UNREADABLE in row.outcome.reasons:
            outcome = _marked(outcome, row.outcome) if row.status else row.outcome
        if Reason.AWAITING_CONSENT in row.outcome.reasons and outcome.ok:
            outcome = row.outcome
        return row if outcome == row.outcome else replace(row, outcome=outcome)

    def _unreadable(self, external_id: str, detail: str, *, currency: str) -> Product:
        """Keep what is known of a product, and set its retry time. Of an unknown product, keep the id."""
        row = self.before.get(external_id)
        if row is not None and is_gone(row):
            return row
        if row is None:
            row = replace(self._unknown(external_id, currency=currency), outcome=rejected(Reason.UNREADABLE))
        wait = self._wait(row, detail)
        if not row.status:
            return replace(row, outcome=replace(wait, status=Status.REJECTED))
        return replace(row, outcome=_marked(gate(row, self.store), wait))

    def _wait(self, row: Product | None, detail: str) -> Outcome:
        """Return the failure that sets a product's retry time; the wait grows while it stays unreadable."""
        known = row is not None and Reason.UNREADABLE in row.outcome.reasons
        before = Outcome(Status.FAILED, attempts=row.outcome.attempts if row is not None and known else 0)
        return failed(Reason.UNREADABLE, detail=detail, before=before, now=self.now)

    def _unknown(self, external_id: str, *, currency: str) -> Product:
        """Return the row of a product of which nothing but the id is known."""
        return parse(
            {"id": int(external_id)},
            store=self.store,
            currency=currency,
            now=self.now,
            first_seen_at=self._first_seen(external_id),
        )

    def _first_seen(self, external_id: str) -> datetime:
        """Return the earliest date at which the table or a sink saw the product that has this id now."""
        dates = [self.now]
        if external_id in self.before:
            dates.append(self.before[external_id].first_seen_at)
        known, restarted = self.known_first_seen.get(external_id), self.restarted.get(external_id)
        if known is not None and (restarted is None or known >= restarted):
            dates.append(known)
        return min(dates)

    def _is_another(self, product: Product) -> bool:
        """Whether an id names another product than before, that is, whether its creation date differs.

        The creation date of an unpublished product is not final, and proves nothing.
        """
        row = self.before.get(product.external_id)
        if row is None or row.status in _UNPUBLISHED:
            return False
        dates = (row.created_in_shop_at, product.created_in_shop_at)
        return None not in dates and dates[0] != dates[1]


def awaiting_consent(row: Product, detail: str) -> Product:
    """Mark a publishable product as kept although it would be removed, until a person consents."""
    if not row.outcome.ok:
        return row
    reasons = dict.fromkeys((Reason.AWAITING_CONSENT, *row.outcome.reasons))
    return replace(row, outcome=replace(row.outcome, reasons=tuple(reasons), detail=detail))


def is_gone(row: Product) -> bool:
    """Whether the shop has confirmed that the product no longer exists, or it was purged here."""
    return Reason.DELETED in row.outcome.reasons or is_redacted(row)


def _marked(outcome: Outcome, wait: Outcome) -> Outcome:
    """Add to an outcome that the product cannot be read at present. Its status stays."""
    return replace(
        outcome,
        reasons=(*outcome.reasons, Reason.UNREADABLE),
        detail=wait.detail,
        attempts=wait.attempts,
        next_retry_at=wait.next_retry_at,
    )
