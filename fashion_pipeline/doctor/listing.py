"""Checks that a listing is whole and of today: the size of pages, and copies of a cache."""

from __future__ import annotations

import secrets

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.shop.answers import advice_on
from fashion_pipeline.shop.rest import MAX_AGE_S, PER_PAGE, read_total

_SHOWN = "id,status,date_modified_gmt,price"
_CACHE_HEADERS = ("x-cache", "cf-cache-status", "x-litespeed-cache", "x-proxy-cache", "x-varnish-cache")
_EXEMPT = "exempt /wp-json/ from the cache in front of the shop"


async def page_size(probe: ProbeClient) -> Finding:
    """Check that the shop puts as many products on a page as it is asked for."""
    answer = await probe.products(status="any", orderby="id", order="desc", per_page=PER_PAGE, page=1)
    if answer.rows is None:
        return failed(Tried.PAGE_SIZE, answer.said, advice_on(answer.reply, store=probe.store))
    rows, total = len(answer.rows), answer.total or 0
    pages = read_total(answer.reply, "x-wp-totalpages") or 0
    if not rows or rows >= min(PER_PAGE, total):
        return ok(Tried.PAGE_SIZE, "pages are as large as asked for")
    if pages <= -(-total // PER_PAGE):
        exclude = ",".join(str(row.get("id")) for row in answer.rows)
        others = await probe.products(
            status="any", orderby="id", order="desc", per_page=PER_PAGE, page=1, exclude=exclude
        )
        if not others.rows:
            return ok(Tried.PAGE_SIZE, f"{total - rows:,} products are hidden from this key", hidden=total - rows)
    found = f"{rows} products on a page, although {PER_PAGE} are asked for"
    advice = f"find the theme or plugin that lowers per_page: a read takes {PER_PAGE // rows} times as many requests"
    return warning(Tried.PAGE_SIZE, found, advice, page_size=rows)


async def cache(probe: ProbeClient) -> Finding:
    """Check that no cache answers from the past: by its headers, and by a request that none has seen."""
    plain = await _newest(probe)
    again = await _newest(probe)
    fresh = await _newest(probe, exclude=10**15 + secrets.randbelow(10**15))
    for answer in (plain, again, fresh):
        if answer.rows is None:
            return failed(Tried.CACHE, answer.said, advice_on(answer.reply, store=probe.store))
    if plain.total is not None and (plain.rows, plain.total) != (fresh.rows, fresh.total):
        once_more = await _newest(probe, exclude=10**15 + secrets.randbelow(10**15))
        if once_more.rows == fresh.rows:
            return failed(Tried.CACHE, "a cache answers with products of the past", _EXEMPT, stale=True)
    age = again.reply.headers.get("age", "").strip()
    if age.isdecimal() and int(age[:9]) > MAX_AGE_S:
        return failed(Tried.CACHE, f"a cache answers with a copy that is {int(age[:9]):,} s old", _EXEMPT, stale=True)
    hit = next((name for name in _CACHE_HEADERS if "hit" in again.reply.headers.get(name, "").lower()), "")
    if hit or age.isdecimal():
        found = f"a cache keeps the shop's answers (header {hit or 'age'})"
        return warning(Tried.CACHE, found, _EXEMPT, stale=False)
    return ok(Tried.CACHE, "no cache answers in place of the shop", stale=False)


async def _newest(probe: ProbeClient, **params: int) -> Answer:
    """Ask for the first page as a sweep asks for it, with fewer fields; the same request each time."""
    return await probe.products(
        status="any", orderby="id", order="desc", per_page=PER_PAGE, page=1, fields=_SHOWN, **params
    )
