"""What the doctor says of each thing that was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Verdict(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    """Works, and could be better."""
    FAILED = "failed"
    """Must be mended before the store can be kept in step."""
    NOT_TRIED = "not tried"
    """Something before it failed, or the time was over."""


class Tried(StrEnum):
    """What is tried, in this order; ``label`` is how the table calls it."""

    ADDRESS = "address", "address"
    CONNECTION = "connection", "connection"
    REST_API = "rest_api", "REST API"
    KEYS = "keys", "keys"
    PERMISSION = "permission", "permission"
    CLOCK = "clock", "clock"
    VERSION = "version", "WooCommerce"
    CHANGES = "changes", "changes"
    STATUSES = "statuses", "statuses"
    PAGES = "pages", "pages"
    CURRENCY = "currency", "currency"
    SPEED = "speed", "speed"
    PRODUCTS = "products", "products"
    PICTURES = "pictures", "pictures"
    QUALITY = "quality", "quality"

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        """Give each its label."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one thing.

    Attributes:
        found: for people, with what was measured; no key, and nothing that steers a terminal.
        advice: what to do about it, as a clause without a full stop; empty where nothing is to be done.
        measured: the figures, for programs.
    """

    tried: Tried
    verdict: Verdict
    found: str
    advice: str = ""
    measured: Mapping[str, object] = field(default_factory=dict)


def ok(tried: Tried, found: str, **measured: object) -> Finding:
    """Find a thing well."""
    return Finding(tried, Verdict.OK, found, measured=measured)


def warning(tried: Tried, found: str, advice: str, **measured: object) -> Finding:
    """Find a thing that could be better."""
    return Finding(tried, Verdict.WARNING, found, advice, measured)


def failed(tried: Tried, found: str, advice: str, **measured: object) -> Finding:
    """Find a thing that must be mended."""
    return Finding(tried, Verdict.FAILED, found, advice, measured)


def not_tried(done: Iterable[Finding], why: str) -> list[Finding]:
    """Return a finding for everything that is not among those done."""
    tried = {finding.tried for finding in done}
    return [Finding(each, Verdict.NOT_TRIED, why) for each in Tried if each not in tried]


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the first thing to mend: the first that failed, else the first with a warning."""
    by_verdict = {finding.verdict: finding for finding in reversed(list(findings))}
    return by_verdict.get(Verdict.FAILED) or by_verdict.get(Verdict.WARNING)
