"""What to ask of each host: one job for a URL, whoever waits for it, and when to leave a host alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from fashion_pipeline.errors import BadUrl, WebError
from fashion_pipeline.images.answers import Bytes, is_transient
from fashion_pipeline.images.plan import Picture, Step, conditions
from fashion_pipeline.web.guard import parse
from fashion_pipeline.web.retry import LONGEST_PAUSE_S

GIVEN_UP_AFTER = 8
"""Failures in a row after which a host's other pictures are not asked for in this run."""
LOST_AT_MOST_S = 600.0
"""Seconds, of all its requests together, that a host may cost by failing; one that fails slowly now and then is slow."""


@dataclass(slots=True)
class Job:
    """One URL to ask for, and every picture that waits for the answer."""

    url: str
    pictures: list[Picture] = field(default_factory=list)
    steps: set[Step] = field(default_factory=set)

    @property
    def conditions(self) -> Mapping[str, str]:
        """Validators to send: those of the pictures, where all have the same."""
        if self.steps != {Step.CONFIRM}:
            return {}
        first, *others = (conditions(picture.before) for picture in self.pictures)
        return first if all(other == first for other in others) else {}


@dataclass(slots=True)
class Host:
    """The jobs of one host, and whether it is worth asking on."""

    jobs: deque[Job] = field(default_factory=deque)
    given_up: WebError | None = None
    _failures_in_a_row: int = 0
    _lost_s: float = 0.0

    def note(self, answer: Bytes | WebError, *, seconds: float) -> None:
        """Learn from an answer and how long it took; a refusal of one picture (404) shows that the host is well."""
        if not isinstance(answer, WebError) or not is_transient(answer):
            self._failures_in_a_row = 0
            return
        self._failures_in_a_row += 1
        self._lost_s += seconds
        long_pause = answer.retry_after_s is not None and answer.retry_after_s > LONGEST_PAUSE_S
        if long_pause or self._failures_in_a_row >= GIVEN_UP_AFTER or self._lost_s >= LOST_AT_MOST_S:
            self.given_up = answer


def by_host(jobs: Mapping[str, Job]) -> list[Host]:
    """Sort jobs by the host of their URL, the host with most to do first; URLs that are none share one without a name."""
    hosts: dict[str, Host] = {}
    for url, job in jobs.items():
        try:
            name = parse(url).host
        except BadUrl:
            name = ""
        hosts.setdefault(name, Host()).jobs.append(job)
    return sorted(hosts.values(), key=lambda host: -len(host.jobs))
