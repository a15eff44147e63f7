"""What the shop can do, once the keys are accepted: what an incremental read and a sweep need of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.errors import WebError
from fashion_pipeline.shop.answers import advice_on, read_date

MOST_SKEW_S = 300
"""How far the shop's clock may be away without a word."""
SIGNATURE_WINDOW_S = 900

_OLDEST = (5, 8)
_NEVER = "2100-01-01T00:00:00"
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9A-Za-z-]{1,20}){0,4}")
_CURRENCY = re.compile(r"[A-Z]{3}")


def clock(asking: ProbeClient, answer: Answer) -> Finding:
    """Compare the shop's clock with this machine's."""
    date = read_date(answer.reply)
    if date is None:
        advice = "have the shop's server send a Date header: until then the cursor follows this machine's clock, so keep it right"
        return warning(Tried.CLOCK, "the shop sends no Date header", advice)
    skew_s = round((date - answer.asked_at).total_seconds())
    side = "ahead of" if skew_s > 0 else "behind"
    found = f"{_span(abs(skew_s))} {side} this machine's" if abs(skew_s) > 1 else "the same as this machine's"
    if abs(skew_s) <= MOST_SKEW_S:
        return ok(Tried.CLOCK, found, skew_s=skew_s)
    advice = "set the clock that is wrong, the shop's or this machine's"
    if abs(skew_s) > SIGNATURE_WINDOW_S and not asking.store.url.lower().startswith("https://"):
        return failed(Tried.CLOCK, found, f"{advice}: a signature is good for 15 minutes", skew_s=skew_s)
    return warning(Tried.CLOCK, found, advice, skew_s=skew_s)


async def abilities(asking: ProbeClient) -> AsyncIterator[Finding]:
    """Yield what the shop can do; a question that is not answered fails for itself."""
    for tried, look in (
        (Tried.VERSION, _version),
        (Tried.CHANGES, _changes),
        (Tried.STATUSES, _statuses),
        (Tried.PAGES, _pages),
        (Tried.CURRENCY, _currency),
    ):
        try:
            yield await look(asking)
        except WebError as error:
            yield failed(tried, asking.why(error), "see that the shop is up, and not too slow")


async def _version(asking: ProbeClient) -> Finding:
    """Ask which WooCommerce it is; that is told to administrators and shop managers only."""
    answer = await asking.api("system_status", {"_fields": "environment"})
    environment = answer.value.get("environment") if isinstance(answer.value, dict) else None
    told = environment if answer.status == 200 and isinstance(environment, dict) else {}
    version = told.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return ok(Tried.VERSION, "its version is not told to this key", version=None)
    others = [
        f"{name} {value}"
        for name, key in (("WordPress", "wp_version"), ("PHP", "php_version"))
        if isinstance(value := told.get(key), str) and _VERSION.fullmatch(value)
    ]
    found = f"{version} on {', '.join(others)}" if others else version
    if _number(version) < _OLDEST:
        return failed(Tried.VERSION, found, "update WooCommerce to 5.8 or newer", version=version)
    return ok(Tried.VERSION, found, version=version)


async def _changes(asking: ProbeClient) -> Finding:
    """See whether the shop can be asked what changed: whether it says so, and whether it does."""
    routes = await asking.get(f"{asking.store.url}/wp-json/wc/v3", auth=asking.auth)
    listed = "modified_after" in _arguments(routes)
    since = {"modified_after": _NEVER, "dates_are_gmt": "true"}
    answer = await asking.products(status="any", per_page=1, **since)
    if answer.rows is None:
        return failed(Tried.CHANGES, f"modified_after: {answer.said}", advice_on(answer.reply, store=asking.store))
    if not answer.rows and not answer.total:
        return ok(Tried.CHANGES, "modified_after is obeyed", modified_after=True)
    if listed:
        advice = "a plugin or a cache drops the parameter modified_after: exempt /wp-json/ from it"
        return failed(Tried.CHANGES, "modified_after is known, and ignored", advice, modified_after=False)
    advice = "update WooCommerce to 5.8 or newer: this one cannot be asked what changed"
    return failed(Tried.CHANGES, "modified_after is not known, and ignored", advice, modified_after=False)


async def _statuses(asking: ProbeClient) -> Finding:
    """See whether unpublished products and the trash are shown, and counted."""
    totals: dict[str, int] = {}
    for status in ("any", "trash"):
        answer = await asking.products(status=status, per_page=1)
        if answer.rows is None:
            advice = advice_on(answer.reply, store=asking.store)
            return failed(Tried.STATUSES, f"status={status}: {answer.said}", advice, **totals)
        if answer.total is None:
            advice = "let the header X-WP-Total pass the proxy in front of the shop: without it no sweep is complete, and nothing is removed"
            return warning(Tried.STATUSES, "the listing has no X-WP-Total", advice)
        totals[status] = answer.total
    found = f"{totals['any']:,} products of any status, {totals['trash']:,} in the trash"
    if not totals["any"]:
        advice = "the shop shows no product: see that it has some, and that the store's url is right"
        return warning(Tried.STATUSES, found, advice, **totals)
    return ok(Tried.STATUSES, found, **totals)


async def _pages(asking: ProbeClient) -> Finding:
    """See whether a second page holds other products than the first."""
    pages = [
        await asking.products(status="any", orderby="id", order="asc", per_page=1, page=number) for number in (1, 2)
    ]
    for answer in pages:
        if answer.rows is None:
            return failed(Tried.PAGES, answer.said, advice_on(answer.reply, store=asking.store))
    first, second = ([row.get("id") for row in answer.rows or ()] for answer in pages)
    if not second:
        return ok(Tried.PAGES, "there is only one")
    if first == second:
        advice = "a plugin or a cache drops the parameter page: exempt /wp-json/ from it"
        return failed(Tried.PAGES, "the second page is the first one again", advice)
    return ok(Tried.PAGES, "the second page is another than the first")


async def _currency(asking: ProbeClient) -> Finding:
    """See which currency prices are in: the shop's word, and that of stores.yaml."""
    read, said = "", ""
    for path, key in (("settings/general/woocommerce_currency", "value"), ("data/currencies/current", "code")):
        answer = await asking.api(path, {"_fields": key})
        code = answer.value.get(key) if answer.status == 200 and isinstance(answer.value, dict) else None
        if isinstance(code, str) and _CURRENCY.fullmatch(code):
            read = code
            break
        said = said or answer.said
    listed = asking.store.currency
    if listed is None and not read:
        advice = "set currency: (such as EUR) for this store in stores.yaml, or make the key for a shop manager"
        return failed(Tried.CURRENCY, f"this key may not read it: {said}", advice)
    if listed is not None and read and listed != read:
        advice = f"see which is right, and correct currency: {listed} in stores.yaml, which is used"
        return warning(Tried.CURRENCY, f"{listed} in stores.yaml, {read} in the shop", advice, currency=listed)
    where = " in stores.yaml" if listed is not None else ""
    return ok(Tried.CURRENCY, f"{listed or read}{where}", currency=listed or read)


def _arguments(answer: Answer) -> set[str]:
    """Return the parameters of the listing of products, as the shop's own index tells a stranger."""
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
