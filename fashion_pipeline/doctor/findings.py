"""The findings of the doctor: one for each check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but should be improved."""
    FAILED = "failed"
    """It must be fixed before the store can be synchronized."""
    NOT_TRIED = "not tried"
    """An earlier check failed, or the time was up."""


class Tried(StrEnum):
    """The checks, in order; ``label`` is the name in the table."""

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
    PAGE_SIZE = "page_size", "page size"
    CACHE = "cache", "cache"
    CURRENCY = "currency", "currency"
    SPEED = "speed", "speed"
    PRODUCTS = "products", "products"
    IMAGES = "pictures", "images"
    QUALITY = "quality", "quality"

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        """Attach the label."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        tried: the check.
        verdict: its result.
        found: what was observed, for people. It contains no key and no control characters.
        advice: what to do, as a clause without a full stop; empty where there is nothing to do.
        measured: the figures, for programs.
    """

    tried: Tried
    verdict: Verdict
    found: str
    advice: str = ""
    measured: Mapping[str, object] = field(default_factory=dict)


def ok(tried: Tried, found: str, **measured: object) -> Finding:
    """Return a finding without a problem."""
    return Finding(tried, Verdict.OK, found, measured=measured)


def warning(tried: Tried, found: str, advice: str, **measured: object) -> Finding:
    """Return a finding that should be improved."""
    return Finding(tried, Verdict.WARNING, found, advice, measured)


def failed(tried: Tried, found: str, advice: str, **measured: object) -> Finding:
    """Return a finding that must be fixed."""
    return Finding(tried, Verdict.FAILED, found, advice, measured)


def not_tried(done: Iterable[Finding], why: str) -> list[Finding]:
    """Return a finding for each check that was not made."""
    tried = {finding.tried for finding in done}
    return [Finding(each, Verdict.NOT_TRIED, why) for each in Tried if each not in tried]


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the first finding to fix: the first failure, else the first warning."""
    by_verdict = {finding.verdict: finding for finding in reversed(list(findings))}
    return by_verdict.get(Verdict.FAILED) or by_verdict.get(Verdict.WARNING)
