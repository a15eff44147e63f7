"""Fetches and judges a sample of a shop's images as the pipeline does, in a temporary folder."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import httpx

from fashion_pipeline.doctor.findings import Finding, Tried, Verdict, failed, ok, warning
from fashion_pipeline.doctor.products import Sample
from fashion_pipeline.errors import DecoderFailed
from fashion_pipeline.images.capacity import cores
from fashion_pipeline.images.fetch import fetch_one
from fashion_pipeline.images.gate import bits_per_pixel, judge
from fashion_pipeline.images.measure import found_unreadable
from fashion_pipeline.images.quality import measured
from fashion_pipeline.images.workers import decoders
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.records import FetchedImage, JudgedImage, Product
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.home import Home
from fashion_pipeline.stores import Quality, Store
from fashion_pipeline.web.client import Web

FEW = 0.1
"""The share of images that may be lost, or refused, without a warning."""

_TRIED = (Tried.IMAGES, Tried.QUALITY)

_SETTINGS = {
    Reason.TOO_SMALL: "min_side_px",
    Reason.FILE_TOO_SMALL: "min_file_bytes",
    Reason.FILE_TOO_LARGE: "max_file_bytes",
    Reason.TOO_MANY_PIXELS: "max_pixels",
    Reason.TOO_BLURRY: "min_sharpness",
}
_EDGES_SETTINGS = {
    **_SETTINGS,
    Reason.FILE_TOO_SMALL: "min_bits_per_pixel",
    Reason.TOO_BLURRY: "max_edge_blur_px",
}


@dataclass
class InspectedImages:
    """The images of a sample, as far as the time allowed.

    Attributes:
        wanted: images in the sample.
        fetched: rows of the fetch stage, by external id.
        judged: rows of the quality gate, by external id.
    """

    wanted: int
    fetched: dict[str, FetchedImage] = field(default_factory=dict)
    judged: dict[str, JudgedImage] = field(default_factory=dict)

    @property
    def refused(self) -> dict[str, tuple[Reason, ...]]:
        """Why the quality gate would refuse images, by external id; those too large to fetch included."""
        too_large = {key: row.outcome.reasons for key, row in self.fetched.items() if _is_too_large(row)}
        return too_large | {key: row.outcome.reasons for key, row in self.judged.items() if not row.outcome.ok}

    @property
    def late(self) -> int:
        """Images for which the time did not suffice."""
        return self.wanted - len(self.fetched)

    @property
    def decided(self) -> int:
        """Images that the quality gate accepted or refused."""
        return len(self.judged) + sum(map(_is_too_large, self.fetched.values()))

    @property
    def lost(self) -> list[FetchedImage]:
        """Images that could not be fetched."""
        return [row for row in self.fetched.values() if not row.outcome.ok and not _is_too_large(row)]


async def inspect_images(
    products: Sequence[Product], *, store: Store, web: Web, clock: Clock, until: float
) -> InspectedImages:
    """Fetch and judge the first image of each product that may be published.

    Args:
        products: with the gate's outcome.
        store: its guard, limits and thresholds apply.
        web: sends the requests.
        clock: dates the rows.
        until: the event loop's time at which this ends, done or not.

    Raises:
        StorageFull: there is no room for the images.
        DecoderUnavailable: no decoder process can be started.
    """
    wanted = [product for product in products if product.outcome.ok]
    inspected = InspectedImages(len(wanted))
    slots = asyncio.Semaphore(cores())
    with tempfile.TemporaryDirectory(prefix="fashion-doctor-") as folder:
        blobs = Home(folder).blobs

        async def inspect(product: Product) -> None:
            row = await fetch_one(
                store=store,
                external_id=product.external_id,
                image=product.images[0],
                previous=None,
                web=web,
                blobs=blobs,
                clock=clock,
            )
            inspected.fetched[product.external_id] = row
            if row.outcome.ok and row.sha256 is not None:
                async with slots:
                    judged = await asyncio.to_thread(_judged, row.sha256, blobs, store.quality)
                inspected.judged[product.external_id] = judged

        try:
            async with asyncio.timeout_at(until), asyncio.TaskGroup() as group:
                for product in wanted:
                    group.create_task(inspect(product))
        except TimeoutError:
            pass
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
    return inspected


def image_findings(images: InspectedImages, sample: Sample, *, store: Store) -> list[Finding]:
    """Report how many images could be fetched, how many of these would be refused, and by which setting.

    Args:
        images: of the sample.
        sample: products, publishable or not.
        store: its thresholds apply.
    """
    if not images.wanted:
        return [Finding(tried, Verdict.NOT_TRIED, "no sampled product may be published") for tried in _TRIED]
    found = [_fetching(images)]
    if not images.decided:
        return [*found, Finding(Tried.QUALITY, Verdict.NOT_TRIED, "there was no image to judge")]
    return [*found, _quality(images, sample, store.quality)]


def _fetching(images: InspectedImages) -> Finding:
    """Report how many images could be fetched, and why others could not."""
    lost, late = images.lost, images.late
    good = len(images.fetched) - len(lost)
    reasons = _counted(row.outcome.reasons[0] for row in lost)
    problems = [f"{reason} {count}" for reason, count in reasons.items()]
    problems += [f"no time for {late}"] if late else []
    found = f"{good} of {images.wanted} fetched{_sources(images)}" + (
        f"; lost: {', '.join(problems)}" if problems else ""
    )
    counts = {reason.value: count for reason, count in reasons.items()}
    figures = {"wanted": images.wanted, "fetched": good, "lost": counts, "late": late}
    if lost and len(lost) + late >= FEW * images.wanted:
        typical = next(row for row in lost if row.outcome.reasons[0] is next(iter(reasons)))
        advice = f"check the image of product {typical.external_id}: {typical.outcome.detail}"
    elif late >= FEW * images.wanted:
        advice = "the images load slowly: find out why their host is slow, or give this command more --seconds"
    else:
        return ok(Tried.IMAGES, found, **figures)
    return (warning if good else failed)(Tried.IMAGES, found, advice, **figures)


def _sources(images: InspectedImages) -> str:
    """Return from how many hosts images came, and their median size; ``""`` where none came."""
    rows = [row for row in images.fetched.values() if row.outcome.ok]
    if not rows:
        return ""
    hosts = len({httpx.URL(row.url).host for row in rows})
    size = median(row.size_bytes or 0 for row in rows)
    return f" from {hosts} host{'s' * (hosts > 1)}, median {size / 1000:,.0f} kB"


def _quality(images: InspectedImages, sample: Sample, quality: Quality) -> Finding:
    """Report how many images would be refused, and by which settings or reasons."""
    refused, decided = images.refused, images.decided
    reasons = _counted(reason for each in refused.values() for reason in each)
    causes = ", ".join(f"{_cause(reason, quality)} {count}" for reason, count in reasons.items())
    found = f"{len(refused)} of {decided} would be refused{': ' * bool(causes)}{causes}"
    figures: dict[str, object] = {
        "judged": decided,
        "refused": len(refused),
        "by": {_settings(quality).get(reason, reason.value): count for reason, count in reasons.items()},
    }
    sampled, published = len(sample.products), sample.published
    if refused and published is not None and published > sampled:
        figures["estimate"] = round(published * len(refused) / sampled)
        found = f"{found}; about {figures['estimate']:,} of the shop's {published:,} products"
    if len(refused) < FEW * decided:
        return ok(Tried.QUALITY, found, **figures)
    verdict = warning if len(refused) < decided else failed
    return verdict(Tried.QUALITY, found, _quality_advice(images, reasons, quality), **figures)


def _quality_advice(images: InspectedImages, reasons: Mapping[Reason, int], quality: Quality) -> str:
    """Name the setting that refuses most, and what its images have; or an image that no setting can save."""
    refused = images.refused
    main, count = next(iter(reasons.items()))
    settings = _settings(quality)
    if main not in settings:
        key = next(key for key, each in refused.items() if main in each)
        return f"no threshold decides this: check the image of product {key}: {images.judged[key].outcome.detail}"
    name = settings[main]
    alone = sum(each == (main,) for each in refused.values())
    return (
        f"{len(refused)} of {images.decided} images would be refused, {count} of them by quality.{name} "
        f"({_number(getattr(quality, name))}; their median is {_median(images, main, quality)}), {alone} by it alone: "
        f"{'lower' if name.startswith('min') else 'raise'} it for this store in stores.yaml, or upload better images"
    )


def _judged(sha256: str, blobs: Blobs, quality: Quality) -> JudgedImage:
    """Decode, measure and judge the image with a hash."""
    data = blobs.get(sha256)
    try:
        found, _ = decoders().measure(data, max_pixels=quality.max_pixels)
    except DecoderFailed as error:
        found = found_unreadable(error)
    row = measured(sha256, len(data), found)
    return replace(row, outcome=judge(row, quality))


def _is_too_large(row: FetchedImage) -> bool:
    return Reason.FILE_TOO_LARGE in row.outcome.reasons


def _cause(reason: Reason, quality: Quality) -> str:
    """Return the setting behind a reason, with its value; where there is none, the reason."""
    name = _settings(quality).get(reason)
    return reason.value if name is None else f"{name} ({_number(getattr(quality, name))})"


def _counted(reasons: Iterable[Reason]) -> dict[Reason, int]:
    """Count reasons, most frequent first; equally frequent ones in the order of ``Reason``."""
    counts = Counter(reasons)
    return {
        reason: counts[reason] for reason in sorted(counts, key=lambda each: (-counts[each], list(Reason).index(each)))
    }


def _number(value: float) -> str:
    return f"{value:,.15g}"


def _settings(quality: Quality) -> Mapping[Reason, str]:
    """Return the setting behind each reason that has one, by the store's gate."""
    return _SETTINGS if quality.gate == "classic" else _EDGES_SETTINGS


def _median(images: InspectedImages, reason: Reason, quality: Quality) -> str:
    """Return the median of what a threshold measures, over the images that it refuses."""
    rows = [row for row in images.judged.values() if reason in row.outcome.reasons]
    if reason is Reason.TOO_SMALL:
        return f"{median(min(row.width, row.height) for row in rows):,.0f} px"
    if reason is Reason.TOO_MANY_PIXELS:
        return f"{median(row.width * row.height for row in rows):,.0f} pixels"
    if reason is Reason.TOO_BLURRY and quality.gate == "edges":
        return f"{median(row.edge_blur_px or 0 for row in rows):.2f} px"
    if reason is Reason.FILE_TOO_SMALL and quality.gate == "edges":
        return f"{median(bits_per_pixel(row) for row in rows):.3g} bits per pixel"
    if reason is Reason.TOO_BLURRY:
        return f"{median(row.sharpness or 0 for row in rows):,.0f}"
    sizes = [row.size_bytes for row in rows]
    if reason is Reason.FILE_TOO_LARGE:
        sizes += [row.size_bytes or 0 for row in images.fetched.values() if _is_too_large(row)]
    return f"{median(sizes):,.0f} bytes"
