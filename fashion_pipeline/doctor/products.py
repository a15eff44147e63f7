"""A page of products, timed; and products from all over the shop, with what the gate says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.records import Product
from fashion_pipeline.shop.answers import advice_on
from fashion_pipeline.shop.product import FIELDS, parse
from fashion_pipeline.shop.rest import PER_PAGE

SLOW_S = 20.0
"""A page that takes longer is spoken of; the pipeline waits 120 s for one."""

_PARTS = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """Products that the shop publishes, from its first to its newest.

    Attributes:
        products: as the pipeline reads them, with the gate's outcome.
        published: how many the shop has in all; None where it does not say.
    """

    products: tuple[Product, ...]
    published: int | None


async def take_sample(asking: ProbeClient, size: int) -> tuple[list[Finding], Sample]:
    """Ask for one whole page, and where the shop has more for parts of later ones.

    Args:
        asking: the shop.
        size: products wanted; 0 for none.

    Raises:
        WebError: the shop gave no answer.
    """
    first = await _page(asking, per_page=PER_PAGE, number=1)
    if first.rows is None:
        advice = advice_on(first.reply, store=asking.store)
        finding = failed(Tried.SPEED, f"a page of {PER_PAGE} products: {first.said}", advice)
        return [finding], Sample((), None)
    rows, total = list(first.rows), first.total
    findings = [_speed(first)]
    if total is not None and total > len(rows) == PER_PAGE and size:
        rows = _spread(rows, -(-size // _PARTS))
        per_page = max(1, -(-size // _PARTS))
        last = -(-total // per_page)
        for part in range(1, _PARTS):
            page = await _page(asking, per_page=per_page, number=1 + part * (last - 1) // (_PARTS - 1))
            rows += page.rows or []
    sample = Sample(_read(asking, _spread(_distinct(rows), size)), total)
    if size:
        findings.append(_gate(first, sample))
    return findings, sample


async def _page(asking: ProbeClient, *, per_page: int, number: int) -> Answer:
    return await asking.products(
        status="publish", orderby="id", order="asc", per_page=per_page, page=number, fields=FIELDS
    )


def _speed(page: Answer) -> Finding:
    count = len(page.rows or ())
    size = f"{len(page.reply.body) / 1000:,.0f} kB"
    found = f"a page of {count} products took {page.seconds:.2f} s, {size}"
    measured = {"products": count, "seconds": round(page.seconds, 3), "bytes": len(page.reply.body)}
    if page.total is not None and page.total > count > 0:
        found = f"{found}; the shop has {-(-page.total // PER_PAGE)} such pages"
    if page.seconds > SLOW_S:
        advice = (
            "the shop is slow: look for a plugin that changes its answers, and give it more memory or a faster database"
        )
        return warning(Tried.SPEED, found, advice, **measured)
    return ok(Tried.SPEED, found, **measured)


def _gate(first: Answer, sample: Sample) -> Finding:
    """Say how many of the sampled products may be published, and what is left out of a page."""
    count = len(sample.products)
    reasons = Counter(reason.value for product in sample.products for reason in product.outcome.reasons[:1])
    good = count - reasons.total()
    measured = {"sampled": count, "publishable": good, "refused": dict(reasons.most_common())}
    shown = len(first.rows or ())
    hidden = min(PER_PAGE, first.total or 0) - shown
    said = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    found = f"{good} of {count} published ones pass the gate" + (f"; refused: {said}" if said else "")
    if hidden > 0:
        found = f"{found}; {hidden} of {hidden + shown} are left out of a page"
        advice = "some products are hidden from the key's user: make a key for an administrator or shop manager"
        return warning(Tried.PRODUCTS, found, advice, hidden=hidden, **measured)
    if not good:
        advice = "no product of the sample may be published: look at the reasons in docs/outcomes.md"
        return warning(Tried.PRODUCTS, found, advice, **measured)
    return ok(Tried.PRODUCTS, found, **measured)


def _read(asking: ProbeClient, rows: Sequence[dict[str, Any]]) -> tuple[Product, ...]:
    """Read payloads as the pipeline does; without an id a row is no product."""
    store, now = asking.store, asking.now()
    products = []
    for row in rows:
        try:
            products.append(parse(row, store=store, currency=store.currency or "", now=now, first_seen_at=now))
        except ShopProtocolError:
            continue
    return tuple(products)


def _distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({str(row.get("id")): row for row in rows}.values())


def _spread(rows: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Return so many rows at even distances, the first and the last among them."""
    if len(rows) <= size:
        return list(rows)
    if size < 2:
        return list(rows[:size])
    return [rows[place * (len(rows) - 1) // (size - 1)] for place in range(size)]
