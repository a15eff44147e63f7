"""Checks of what incremental reads and sweeps need of a shop, once the keys are accepted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.listing import cache, page_size
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.errors import WebError
from fashion_pipeline.shop.answers import advice_on, read_date

MAX_SKEW_S = 300
"""How far the shop's clock may differ without a warning."""
SIGNATURE_WINDOW_S = 900
"""How old a signature may be for WooCommerce."""

_OLDEST = (5, 8)
_NEVER = "2100-01-01T00:00:00"
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9A-Za-z-]{1,20}){0,4}")
_CURRENCY = re.compile(r"[A-Z]{3}")


def clock(probe: ProbeClient, answer: Answer) -> Finding:
    """Compare the shop's clock with this machine's."""
    date = read_date(answer.reply)
    if date is None:
        advice = "configure the shop's server to send a Date header: without it the cursor follows this machine's clock, which must then be right"
        return warning(Tried.CLOCK, "the shop sends no Date header", advice)
    skew_s = round((date - answer.asked_at).total_seconds())
    side = "ahead of" if skew_s > 0 else "behind"
    found = f"{_span(abs(skew_s))} {side} this machine's clock" if abs(skew_s) > 1 else "same as this machine's"
    if abs(skew_s) <= MAX_SKEW_S:
        return ok(Tried.CLOCK, found, skew_s=skew_s)
    advice = "correct the clock that is wrong, the shop's or this machine's"
    if abs(skew_s) > SIGNATURE_WINDOW_S and not probe.store.url.lower().startswith("https://"):
        return failed(Tried.CLOCK, found, f"{advice}: a signature is valid for 15 minutes", skew_s=skew_s)
    return warning(Tried.CLOCK, found, advice, skew_s=skew_s)


async def abilities(probe: ProbeClient) -> AsyncIterator[Finding]:
    """Yield a finding for each ability. A request without a response fails only its own check."""
    for tried, check in (
        (Tried.VERSION, _version),
        (Tried.CHANGES, _changes),
        (Tried.STATUSES, _statuses),
        (Tried.PAGES, _pages),
        (Tried.PAGE_SIZE, page_size),
        (Tried.CACHE, cache),
        (Tried.CURRENCY, _currency),
    ):
        try:
            yield await check(probe)
        except WebError as error:
            yield failed(tried, probe.why(error), "check that the shop is up and responds in time")


async def _version(probe: ProbeClient) -> Finding:
    """Check the version of WooCommerce, which only administrators and shop managers may read."""
    answer = await probe.api("system_status", {"_fields": "environment"})
    environment = answer.value.get("environment") if isinstance(answer.value, dict) else None
    versions = environment if answer.status == 200 and isinstance(environment, dict) else {}
    version = versions.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return ok(Tried.VERSION, "unknown: this key may not read the version", version=None)
    others = [
        f"{name} {value}"
        for name, key in (("WordPress", "wp_version"), ("PHP", "php_version"))
        if isinstance(value := versions.get(key), str) and _VERSION.fullmatch(value)
    ]
    found = f"{version} on {', '.join(others)}" if others else version
    if _number(version) < _OLDEST:
        return failed(Tried.VERSION, found, "update WooCommerce to 5.8 or newer", version=version)
    return ok(Tried.VERSION, found, version=version)


async def _changes(probe: ProbeClient) -> Finding:
    """Check that the shop can list what changed: that it documents ``modified_after``, and obeys it."""
    routes = await probe.get(f"{probe.store.url}/wp-json/wc/v3", auth=probe.auth)
    listed = "modified_after" in _arguments(routes)
    since = {"modified_after": _NEVER, "dates_are_gmt": "true"}
    answer = await probe.products(status="any", per_page=1, **since)
    if answer.rows is None:
        return failed(Tried.CHANGES, f"modified_after: {answer.said}", advice_on(answer.reply, store=probe.store))
    if not answer.rows and not answer.total:
        return ok(Tried.CHANGES, "modified_after works", modified_after=True)
    if listed:
        advice = "a plugin or a cache drops the parameter modified_after: exempt /wp-json/ from it"
        return failed(Tried.CHANGES, "modified_after is supported, but ignored", advice, modified_after=False)
    advice = "update WooCommerce to 5.8 or newer: this version cannot list what changed"
    return failed(Tried.CHANGES, "modified_after is not supported", advice, modified_after=False)


async def _statuses(probe: ProbeClient) -> Finding:
    """Check that unpublished and trashed products are listed and counted."""
    totals: dict[str, int] = {}
    for status in ("any", "trash"):
        answer = await probe.products(status=status, per_page=1)
        if answer.rows is None:
            advice = advice_on(answer.reply, store=probe.store)
            return failed(Tried.STATUSES, f"status={status}: {answer.said}", advice, **totals)
        if answer.total is None:
            advice = "configure the proxy in front of the shop to pass the header X-WP-Total: without it no sweep is complete, and nothing is removed"
            return warning(Tried.STATUSES, "the listing has no X-WP-Total", advice)
        totals[status] = answer.total
    found = f"{totals['any']:,} products of any status, {totals['trash']:,} in the trash"
    if not totals["any"]:
        advice = "the shop lists no product: check that it has some, and that the store's url is right"
        return warning(Tried.STATUSES, found, advice, **totals)
    return ok(Tried.STATUSES, found, **totals)


async def _pages(probe: ProbeClient) -> Finding:
    """Check that the second page has other products than the first."""
    pages = [
        await probe.products(status="any", orderby="id", order="asc", per_page=1, page=number) for number in (1, 2)
    ]
    for answer in pages:
        if answer.rows is None:
            return failed(Tried.PAGES, answer.said, advice_on(answer.reply, store=probe.store))
    first, second = ([row.get("id") for row in answer.rows or ()] for answer in pages)
    if not second:
        return ok(Tried.PAGES, "only one page")
    if first == second:
        advice = "a plugin or a cache drops the parameter page: exempt /wp-json/ from it"
        return failed(Tried.PAGES, "the second page repeats the first", advice)
    return ok(Tried.PAGES, "the second page differs from the first")


async def _currency(probe: ProbeClient) -> Finding:
    """Check the currency of the prices: the shop's, and that of stores.yaml."""
    read, problem = "", ""
    for path, key in (("settings/general/woocommerce_currency", "value"), ("data/currencies/current", "code")):
        answer = await probe.api(path, {"_fields": key})
        code = answer.value.get(key) if answer.status == 200 and isinstance(answer.value, dict) else None
        if isinstance(code, str) and _CURRENCY.fullmatch(code):
            read = code
            break
        problem = problem or answer.said
    listed = probe.store.currency
    if listed is None and not read:
        advice = "set currency: (such as EUR) for this store in stores.yaml, or create the key for a shop manager"
        return failed(Tried.CURRENCY, f"this key may not read it: {problem}", advice)
    if listed is not None and read and listed != read:
        advice = f"check which is right; currency: {listed} in stores.yaml is the one that is used"
        return warning(Tried.CURRENCY, f"{listed} in stores.yaml, {read} in the shop", advice, currency=listed)
    where = " in stores.yaml" if listed is not None else ""
    return ok(Tried.CURRENCY, f"{listed or read}{where}", currency=listed or read)


def _arguments(answer: Answer) -> set[str]:
    """Return the parameters of the listing of products, from the shop's public index."""
    found: set[str] = set()
    value = answer.value if isinstance(answer.value, dict) else {}
    routes = value.get("routes")
    route = routes.get("/wc/v3/products") if isinstance(routes, dict) else None
    endpoints = route.get("endpoints") if isinstance(route, dict) else None
    for endpoint in endpoints if isinstance(endpoints, list) else ():
        args = endpoint.get("args") if isinstance(endpoint, dict) else None
        found |= set(args) if isinstance(args, dict) else set()
    return found


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:2])
