"""Examines one shop, step by step. A check that depends on a failed one is not tried."""

from __future__ import annotations

from collections.abc import Callable

from fashion_pipeline.doctor.abilities import abilities, clock
from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed
from fashion_pipeline.doctor.keys import try_keys
from fashion_pipeline.doctor.probe import ProbeClient
from fashion_pipeline.doctor.products import Sample, take_sample
from fashion_pipeline.doctor.reach import reach
from fashion_pipeline.errors import WebError

NO_RESPONSE = "check that the shop is up and responds in time"


async def examine_shop(probe: ProbeClient, *, sample_size: int, report: Callable[[Finding], None]) -> Sample | None:
    """Examine a shop with at most 30 requests, all of them GET.

    Args:
        probe: sends the requests.
        sample_size: products in the sample; 0 for none.
        report: called with each finding as soon as it is known.

    Returns:
        Products whose images can be inspected; None if the examination ended before.
    """
    async for finding in reach(probe):
        report(finding)
        if finding.verdict is Verdict.FAILED:
            return None
    try:
        about_keys, answer = await try_keys(probe)
    except WebError as error:
        report(failed(Tried.KEYS, probe.why(error), NO_RESPONSE))
        return None
    for finding in (*about_keys, clock(probe, answer)):
        report(finding)
    if any(finding.verdict is Verdict.FAILED for finding in about_keys):
        return None
    async for finding in abilities(probe):
        report(finding)
    try:
        about_products, sample = await take_sample(probe, sample_size)
    except WebError as error:
        report(failed(Tried.SPEED, f"a page of products: {probe.why(error)}", NO_RESPONSE))
        return None
    for finding in about_products:
        report(finding)
    return sample
