"""Examines stores, a few at a time: the shop, then a sample of its images, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed, not_tried, worst
from fashion_pipeline.doctor.images import image_findings, inspect_images
from fashion_pipeline.doctor.probe import ProbeClient
from fashion_pipeline.doctor.shop import examine_shop
from fashion_pipeline.errors import FashionError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.services import Services
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Store

MAX_CONCURRENT_STORES = 4
MAX_RESPONSE_S = 15.0


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings about one store.

    Attributes:
        store: the store.
        findings: one for each check, in the order of ``Tried``.
        seconds: how long it took.
    """

    store: Store
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        finding = worst(self.findings)
        return finding.verdict if finding else Verdict.OK

    @property
    def advice(self) -> str:
        """One sentence that names the first thing to fix."""
        finding = worst(self.findings)
        if finding is None:
            return f"All is well: run fashion-pipeline ingest {self.store.id}."
        begin = "Fix first" if finding.verdict is Verdict.FAILED else "It works, but should be improved"
        others = sum(each.verdict is finding.verdict for each in self.findings) - 1
        return f"{begin}: {finding.advice}{f' ({others} more above)' if others else ''}."

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints for the store."""
        findings = [asdict(each) for each in self.findings]
        return {"verdict": self.verdict, "advice": self.advice, "seconds": round(self.seconds, 2), "findings": findings}


async def examine_stores(
    stores: Iterable[Store],
    settings: Settings,
    *,
    clock: Clock,
    seconds: float,
    images: int,
    report: Callable[[Examination], None],
) -> list[Examination]:
    """Examine stores, a few at a time.

    Args:
        stores: the stores.
        settings: for the User-Agent and the connections.
        clock: this machine's.
        seconds: time limit of each store.
        images: products whose images are inspected; 0 for none.
        report: called with each examination as soon as it is done, in the order of the stores.
    """
    slots = asyncio.Semaphore(MAX_CONCURRENT_STORES)

    async def examine(store: Store) -> Examination:
        async with slots:
            return await examine_store(store, settings, clock=clock, seconds=seconds, images=images)

    examinations = []
    async with asyncio.TaskGroup() as group:
        for task in [group.create_task(examine(store)) for store in stores]:
            examinations.append(await task)
            report(examinations[-1])
    return examinations


async def examine_store(store: Store, settings: Settings, *, clock: Clock, seconds: float, images: int) -> Examination:
    """Examine one store; see ``examine_stores``."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + seconds
    found: list[Finding] = []
    try:
        async with Services(settings).web(store, clock) as web:
            probe = ProbeClient(store, web, clock=clock, deadline_s=min(MAX_RESPONSE_S, seconds / 4))
            async with asyncio.timeout_at(until):
                sample = await examine_shop(probe, sample_size=images, report=found.append)
            if sample is not None and images:
                inspected = await inspect_images(sample.products, store=store, web=web, clock=clock, until=until)
                found += image_findings(inspected, sample, store=store)
    except TimeoutError:
        advice = "find out why the shop is slow, or give this command more --seconds"
        found.append(failed(_current(found), f"not done after {seconds:g} s", advice))
    except FashionError as error:
        found.append(failed(_current(found), str(error), "fix this, and run the doctor again"))
    is_broken = any(finding.verdict is Verdict.FAILED for finding in found)
    found += not_tried(found, "needs what failed" if is_broken else "not requested")
    in_order = sorted(found, key=lambda finding: list(Tried).index(finding.tried))
    return Examination(store, tuple(in_order), loop.time() - began)


def _current(found: Iterable[Finding]) -> Tried:
    """Return the check that was being made: the first without a finding."""
    done = {finding.tried for finding in found}
    return next((tried for tried in Tried if tried not in done), Tried.QUALITY)
