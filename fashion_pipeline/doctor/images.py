"""A sample of a shop's pictures, fetched and judged as the pipeline does, into a folder that is thrown away."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import httpx

from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed, ok, warning
from fashion_pipeline.errors import DecoderFailed
from fashion_pipeline.images.capacity import cores
from fashion_pipeline.images.fetch import fetch_one
from fashion_pipeline.images.measure import found_unreadable
from fashion_pipeline.images.quality import judge, measured
from fashion_pipeline.images.workers import decoders
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.records import FetchedImage, JudgedImage, Product
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.home import Home
from fashion_pipeline.stores import Quality, Store
from fashion_pipeline.web.client import Web

FEW = 0.1
"""The share of pictures that may be out of reach, or refused, without a word of advice."""

_TRIED = (Tried.PICTURES, Tried.QUALITY)

_SETTINGS = {
    Reason.TOO_SMALL: "min_side_px",
    Reason.FILE_TOO_SMALL: "min_file_bytes",
    Reason.FILE_TOO_LARGE: "max_file_bytes",
    Reason.TOO_MANY_PIXELS: "max_pixels",
    Reason.TOO_BLURRY: "min_sharpness",
}


@dataclass
class Looked:
    """What became of a sample until the time was over.

    Attributes:
        wanted: pictures in the sample.
        fetched: the fetch stage's rows, by external id.
        judged: measurements with the verdict of the store's thresholds, by external id.
    """

    wanted: int
    fetched: dict[str, FetchedImage] = field(default_factory=dict)
    judged: dict[str, JudgedImage] = field(default_factory=dict)

    @property
    def refused(self) -> dict[str, tuple[Reason, ...]]:
        """Why the gate would refuse pictures: after a look at them, or for being too large to fetch."""
        too_large = {key: row.outcome.reasons for key, row in self.fetched.items() if _is_too_large(row)}
        return too_large | {key: row.outcome.reasons for key, row in self.judged.items() if not row.outcome.ok}

    @property
    def lost(self) -> list[FetchedImage]:
        """Pictures that could not be had."""
        return [row for row in self.fetched.values() if not row.outcome.ok and not _is_too_large(row)]


async def look(products: Sequence[Product], *, store: Store, web: Web, clock: Clock, until: float) -> Looked:
    """Fetch and judge the first picture of each product that may be published.

    Args:
        products: with the gate's outcome.
        store: whose guard, limits and thresholds count.
        web: asks.
        clock: dates what comes.
        until: the event loop's time at which this ends, done or not.

    Raises:
        StorageFull: there is no room for the pictures.
        DecoderUnavailable: no process that decodes can be started.
    """
    wanted = [product for product in products if product.outcome.ok]
    looked = Looked(len(wanted))
    places = asyncio.Semaphore(cores())
    with tempfile.TemporaryDirectory(prefix="fashion-doctor-") as folder:
        blobs = Home(folder).blobs

        async def one(product: Product) -> None:
            row = await fetch_one(
                store=store,
                external_id=product.external_id,
                image=product.images[0],
                previous=None,
                web=web,
                blobs=blobs,
                clock=clock,
            )
            looked.fetched[product.external_id] = row
            if row.outcome.ok and row.sha256 is not None:
                async with places:
                    judged = await asyncio.to_thread(_judged, row.sha256, blobs, store.quality)
                looked.judged[product.external_id] = judged

        try:
            async with asyncio.timeout_at(until), asyncio.TaskGroup() as group:
                for product in wanted:
                    group.create_task(one(product))
        except TimeoutError:
            pass
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
    return looked


def findings(looked: Looked, *, store: Store, sampled: int, published: int | None) -> list[Finding]:
    """Say how many pictures are within reach, how many of these would be refused, and which setting decides.

    Args:
        looked: at the sample's pictures.
        store: whose thresholds count.
        sampled: products in the sample, publishable or not.
        published: products the shop has in all.
    """
    if not looked.wanted:
        return [Finding(tried, Verdict.NOT_TRIED, "no product of the sample may be published") for tried in _TRIED]
    found = [_reach(looked)]
    judged = len(looked.judged) + sum(map(_is_too_large, looked.fetched.values()))
    if not judged:
        return [*found, Finding(Tried.QUALITY, Verdict.NOT_TRIED, "there was no picture to look at")]
    return [*found, _quality(looked, store.quality, judged=judged, sampled=sampled, published=published)]


def _reach(looked: Looked) -> Finding:
    lost, late = looked.lost, looked.wanted - len(looked.fetched)
    had = len(looked.fetched) - len(lost)
    reasons = _counted(row.outcome.reasons[0] for row in lost)
    hosts = len({httpx.URL(row.url).host for row in looked.fetched.values() if row.outcome.ok})
    found = f"{had} of {looked.wanted} fetched"
    if hosts:
        size = median(row.size_bytes or 0 for row in looked.fetched.values() if row.outcome.ok)
        found = f"{found} from {hosts} host{'s' * (hosts > 1)}, median {size / 1000:,.0f} kB"
    said = [f"{reason} {count}" for reason, count in reasons.items()]
    said += [f"not in the time left {late}"] if late else []
    found += f"; lost: {', '.join(said)}" if said else ""
    counts = {reason.value: count for reason, count in reasons.items()}
    figures = {"wanted": looked.wanted, "fetched": had, "lost": counts, "late": late}
    if lost and len(lost) + late >= FEW * looked.wanted:
        typical = next(row for row in lost if row.outcome.reasons[0] is next(iter(reasons)))
        advice = f"look at the picture of product {typical.external_id}: {typical.outcome.detail}"
    elif late >= FEW * looked.wanted:
        advice = "the pictures come slowly: see what their host is short of, or give this command more --seconds"
    else:
        return ok(Tried.PICTURES, found, **figures)
    return (warning if had else failed)(Tried.PICTURES, found, advice, **figures)


def _quality(looked: Looked, quality: Quality, *, judged: int, sampled: int, published: int | None) -> Finding:
    refused = looked.refused
    reasons = _counted(reason for each in refused.values() for reason in each)
    said = ", ".join(f"{_shown(reason, quality)} {count}" for reason, count in reasons.items())
    found = f"{len(refused)} of {judged} would be refused{': ' * bool(said)}{said}"
    figures: dict[str, object] = {
        "judged": judged,
        "refused": len(refused),
        "by": {_SETTINGS.get(reason, reason.value): count for reason, count in reasons.items()},
    }
    if refused and published is not None and published > sampled:
        figures["estimate"] = round(published * len(refused) / sampled)
        found = f"{found}; about {figures['estimate']:,} of the shop's {published:,} products"
    if len(refused) < FEW * judged:
        return ok(Tried.QUALITY, found, **figures)
    decides, count = next(iter(reasons.items()))
    alone = sum(each == (decides,) for each in refused.values())
    if decides in _SETTINGS:
        name = _SETTINGS[decides]
        advice = (
            f"{len(refused)} of {judged} pictures would be refused, {count} of them by quality.{name} "
            f"({_number(getattr(quality, name))}; these have {_median(looked, decides)} in the median), {alone} by it "
            f"alone: {'lower' if name.startswith('min') else 'raise'} it for this store in stores.yaml, or upload "
            "better pictures"
        )
    else:
        key = next(key for key, each in refused.items() if decides in each)
        advice = f"no threshold decides: look at the picture of product {key}: {looked.judged[key].outcome.detail}"
    return (warning if len(refused) < judged else failed)(Tried.QUALITY, found, advice, **figures)


def _judged(sha256: str, blobs: Blobs, quality: Quality) -> JudgedImage:
    """Decode, measure and judge some bytes."""
    data = blobs.get(sha256)
    try:
        found, _ = decoders().measure(data, max_pixels=quality.max_pixels)
    except DecoderFailed as error:
        found = found_unreadable(error)
    row = measured(sha256, len(data), found)
    return replace(row, outcome=judge(row, quality))


def _is_too_large(row: FetchedImage) -> bool:
    return Reason.FILE_TOO_LARGE in row.outcome.reasons


def _shown(reason: Reason, quality: Quality) -> str:
    name = _SETTINGS.get(reason)
    return reason.value if name is None else f"{name} ({_number(getattr(quality, name))})"


def _counted(reasons: Iterable[Reason]) -> dict[Reason, int]:
    """Count reasons, the most frequent first, and in their own order where they are as frequent."""
    counts = Counter(reasons)
    return {
        reason: counts[reason] for reason in sorted(counts, key=lambda each: (-counts[each], list(Reason).index(each)))
    }


def _number(value: float) -> str:
    return f"{value:,.15g}"


def _median(looked: Looked, reason: Reason) -> str:
    """Return the median of what a threshold looks at, over the pictures that it refuses."""
    rows = [row for row in looked.judged.values() if reason in row.outcome.reasons]
    if reason is Reason.TOO_SMALL:
        return f"{median(min(row.width, row.height) for row in rows):,.0f} px"
    if reason is Reason.TOO_MANY_PIXELS:
        return f"{median(row.width * row.height for row in rows):,.0f} pixels"
    if reason is Reason.TOO_BLURRY:
        return f"{median(row.sharpness or 0 for row in rows):,.0f}"
    sizes = [row.size_bytes for row in rows]
    if reason is Reason.FILE_TOO_LARGE:
        sizes += [row.size_bytes or 0 for row in looked.fetched.values() if _is_too_large(row)]
    return f"{median(sizes):,.0f} bytes"
