"""Times a page of products, and samples products of all ages to see what the gate refuses."""

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
"""A page that takes longer gets a warning; the pipeline waits 120 s for one."""

_PARTS = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """Published products, from the shop's oldest to its newest.

    Attributes:
        products: parsed as in the pipeline, with the gate's outcome.
        published: how many published products the shop has; None where it does not state a total.
    """

    products: tuple[Product, ...]
    published: int | None


async def take_sample(probe: ProbeClient, size: int) -> tuple[list[Finding], Sample]:
    """Request one whole page and, where the shop has more, parts of later pages.

    Args:
        probe: sends the requests.
        size: products in the sample; 0 for none.

    Returns:
        The findings about speed and products, and the sample.

    Raises:
        WebError: the shop did not respond.
    """
    first = await _page(probe, per_page=PER_PAGE, number=1)
    if first.rows is None:
        advice = advice_on(first.reply, store=probe.store)
        finding = failed(Tried.SPEED, f"a page of {PER_PAGE} products: {first.said}", advice)
        return [finding], Sample((), None)
    rows, total = list(first.rows), first.total
    findings = [_speed(first)]
    if total is not None and total > len(rows) == PER_PAGE and size:
        rows = _spread(rows, -(-size // _PARTS))
        per_page = max(1, -(-size // _PARTS))
        last = -(-total // per_page)
        for part in range(1, _PARTS):
            page = await _page(probe, per_page=per_page, number=1 + part * (last - 1) // (_PARTS - 1))
            rows += page.rows or []
    sample = Sample(_read(probe, _spread(_distinct(rows), size)), total)
    if size:
        findings.append(_gate(first, sample))
    return findings, sample


async def _page(probe: ProbeClient, *, per_page: int, number: int) -> Answer:
    return await probe.products(
        status="publish", orderby="id", order="asc", per_page=per_page, page=number, fields=FIELDS
    )


def _speed(page: Answer) -> Finding:
    count = len(page.rows or ())
    size = f"{len(page.reply.body) / 1000:,.0f} kB"
    found = f"a page of {count} products took {page.seconds:.2f} s, {size}"
    measured = {"products": count, "seconds": round(page.seconds, 3), "bytes": len(page.reply.body)}
    if page.total is not None and page.total > count > 0:
        found = f"{found}; the shop has {-(-page.total // PER_PAGE)} pages"
    if page.seconds > SLOW_S:
        advice = "the shop is slow: look for a plugin that slows the REST API down, or give the shop more memory or a faster database"
        return warning(Tried.SPEED, found, advice, **measured)
    return ok(Tried.SPEED, found, **measured)


def _gate(first: Answer, sample: Sample) -> Finding:
    """Report how many sampled products may be published, and how many a page omits."""
    count = len(sample.products)
    reasons = Counter(reason.value for product in sample.products for reason in product.outcome.reasons[:1])
    good = count - reasons.total()
    measured = {"sampled": count, "publishable": good, "refused": dict(reasons.most_common())}
    shown = len(first.rows or ())
    hidden = min(PER_PAGE, first.total or 0) - shown
    refused = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    found = f"{good} of {count} published products pass the gate" + (f"; refused: {refused}" if refused else "")
    if hidden > 0:
        found = f"{found}; {hidden} of {hidden + shown} are missing from a page"
        advice = "some products are hidden from the key's user: create a key for an administrator or a shop manager"
        return warning(Tried.PRODUCTS, found, advice, hidden=hidden, **measured)
    if not good:
        advice = "no sampled product may be published: docs/outcomes.md explains the reasons"
        return warning(Tried.PRODUCTS, found, advice, **measured)
    return ok(Tried.PRODUCTS, found, **measured)


def _read(probe: ProbeClient, rows: Sequence[dict[str, Any]]) -> tuple[Product, ...]:
    """Parse payloads as the pipeline does; a row without an id is not a product."""
    store, now = probe.store, probe.now()
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
    """Return ``size`` evenly spaced rows, including the first and the last."""
    if len(rows) <= size:
        return list(rows)
    if size < 2:
        return list(rows[:size])
    return [rows[place * (len(rows) - 1) // (size - 1)] for place in range(size)]
