"""The examination of one shop, step by step; what rests on something that failed is not tried."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fashion_pipeline.doctor.abilities import abilities, clock
from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed
from fashion_pipeline.doctor.keys import try_keys
from fashion_pipeline.doctor.probe import ProbeClient
from fashion_pipeline.doctor.products import Sample, take_sample
from fashion_pipeline.doctor.reach import reach
from fashion_pipeline.errors import WebError

_NO_ANSWER = "see that the shop is up, and not too slow"


async def examine(asking: ProbeClient, *, sample_size: int) -> AsyncIterator[Finding | Sample]:
    """Yield a finding as soon as there is one; at the end products for a look at their pictures.

    At most 25 requests, all of them GET.

    Args:
        asking: the shop.
        sample_size: products in the sample.
    """
    async for finding in reach(asking):
        yield finding
        if finding.verdict is Verdict.FAILED:
            return
    try:
        findings, answer = await try_keys(asking)
    except WebError as error:
        yield failed(Tried.KEYS, asking.why(error), _NO_ANSWER)
        return
    for finding in findings:
        yield finding
    yield clock(asking, answer)
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        return
    async for finding in abilities(asking):
        yield finding
    try:
        findings, sample = await take_sample(asking, sample_size)
    except WebError as error:
        yield failed(Tried.SPEED, f"a page of products: {asking.why(error)}", _NO_ANSWER)
        return
    for finding in findings:
        yield finding
    yield sample
