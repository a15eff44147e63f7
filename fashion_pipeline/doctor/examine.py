"""The examination of stores: the shop, then a sample of its pictures, within a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed, not_tried, worst
from fashion_pipeline.doctor.images import findings as picture_findings
from fashion_pipeline.doctor.images import look
from fashion_pipeline.doctor.probe import ProbeClient
from fashion_pipeline.doctor.products import Sample
from fashion_pipeline.doctor.shop import examine
from fashion_pipeline.errors import FashionError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.services import Services
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Store

STORES_AT_ONCE = 4
LONGEST_ANSWER_S = 15.0


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of one store.

    Attributes:
        findings: one for each thing, in the order of ``Tried``.
        seconds: that it took.
    """

    store: Store
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        finding = worst(self.findings)
        return finding.verdict if finding else Verdict.OK

    @property
    def advice(self) -> str:
        """One sentence that names the first thing to mend."""
        finding = worst(self.findings)
        if finding is None:
            return f"All is well: fashion-pipeline ingest {self.store.id} can begin."
        begin = "To mend first" if finding.verdict is Verdict.FAILED else "It works, and could be better"
        others = sum(each.verdict is finding.verdict for each in self.findings) - 1
        return f"{begin}: {finding.advice}{f' ({others} more above)' if others else ''}."

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` says of the store."""
        told = [asdict(each) for each in self.findings]
        return {"verdict": self.verdict, "advice": self.advice, "seconds": round(self.seconds, 2), "findings": told}


async def examine_stores(
    stores: Iterable[Store],
    settings: Settings,
    *,
    clock: Clock,
    seconds: float,
    pictures: int,
    show: Callable[[Examined], None],
) -> list[Examined]:
    """Examine stores, a few at a time.

    Args:
        stores: which.
        settings: User-Agent and connections.
        clock: this machine's.
        seconds: at most so many for each store.
        pictures: products whose pictures are looked at; 0 for none.
        show: called with each, in their order, as soon as it is done.
    """
    places = asyncio.Semaphore(STORES_AT_ONCE)

    async def one(store: Store) -> Examined:
        async with places:
            return await examine_store(store, settings, clock=clock, seconds=seconds, pictures=pictures)

    examined = []
    async with asyncio.TaskGroup() as group:
        for task in [group.create_task(one(store)) for store in stores]:
            examined.append(await task)
            show(examined[-1])
    return examined


async def examine_store(store: Store, settings: Settings, *, clock: Clock, seconds: float, pictures: int) -> Examined:
    """Examine one store; see ``examine_stores``."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + seconds
    found: list[Finding] = []
    try:
        async with Services(settings).web(store, clock) as web:
            asking = ProbeClient(store, web, clock=clock, deadline_s=min(LONGEST_ANSWER_S, seconds / 4))
            async with asyncio.timeout_at(until):
                sample = await _examine_shop(asking, pictures, found)
            if sample is not None and pictures:
                looked = await look(sample.products, store=store, web=web, clock=clock, until=until)
                found += picture_findings(looked, store=store, sampled=len(sample.products), published=sample.published)
    except TimeoutError:
        advice = "see why the shop is slow, or give this command more --seconds"
        found.append(failed(_next(found), f"not done after {seconds:g} s", advice))
    except FashionError as error:
        found.append(failed(_next(found), str(error), "see to that, and try again"))
    is_broken = any(finding.verdict is Verdict.FAILED for finding in found)
    found += not_tried(found, "needs what failed" if is_broken else "not asked for")
    in_order = sorted(found, key=lambda finding: list(Tried).index(finding.tried))
    return Examined(store, tuple(in_order), loop.time() - began)


async def _examine_shop(asking: ProbeClient, sample_size: int, found: list[Finding]) -> Sample | None:
    async for each in examine(asking, sample_size=sample_size):
        if isinstance(each, Sample):
            return each
        found.append(each)
    return None


def _next(found: Iterable[Finding]) -> Tried:
    """Return what was being tried."""
    done = {finding.tried for finding in found}
    return next((tried for tried in Tried if tried not in done), Tried.QUALITY)
