"""The requests for each host: one job per URL, shared by its images, and when to give up on a host."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from fashion_pipeline.errors import BadUrl, WebError
from fashion_pipeline.images.answers import Bytes, Evidence, evidence
from fashion_pipeline.images.plan import ProductImage, Step, conditions
from fashion_pipeline.web.guard import parse
from fashion_pipeline.web.retry import LONGEST_PAUSE_S

GIVEN_UP_AFTER = 8
"""Failures in a row after which a host's other images are not requested in this run."""
DOUBTED_UNTIL = 50
"""Doubtful replies in a row after which a host's other images are not requested in this run: they are cheap, and each
is evidence about its own image only."""
MAX_LOST_S = 600.0
"""Seconds that a host's failed requests may take together; beyond that, a slow and failing host is given up."""


@dataclass(slots=True)
class Job:
    """One URL to request, and all images that use it."""

    url: str
    images: list[ProductImage] = field(default_factory=list)
    steps: set[Step] = field(default_factory=set)

    @property
    def conditions(self) -> Mapping[str, str]:
        """Validators to send: those of the images, if all have the same."""
        if self.steps != {Step.CONFIRM}:
            return {}
        first, *others = (conditions(image.before) for image in self.images)
        return first if all(other == first for other in others) else {}


@dataclass(slots=True)
class Host:
    """The jobs of one host, and the error for which it was given up."""

    jobs: deque[Job] = field(default_factory=deque)
    given_up: WebError | None = None
    _failures_in_a_row: int = 0
    _doubts_in_a_row: int = 0
    _lost_s: float = 0.0

    def record(self, reply: Bytes | WebError, *, seconds: float) -> None:
        """Record a reply and how long it took.

        A refusal of one image (404) shows that the host works. A doubtful reply does not, but may be
        about its image, too.
        """
        proves = evidence(reply) if isinstance(reply, WebError) else None
        if not isinstance(reply, WebError) or proves is Evidence.CLEAR:
            self._failures_in_a_row = self._doubts_in_a_row = 0
            return
        if proves is Evidence.DOUBTFUL:
            self._doubts_in_a_row += 1
            if self._doubts_in_a_row >= DOUBTED_UNTIL:
                self.given_up = reply
            return
        self._failures_in_a_row += 1
        self._lost_s += seconds
        long_pause = reply.retry_after_s is not None and reply.retry_after_s > LONGEST_PAUSE_S
        if long_pause or self._failures_in_a_row >= GIVEN_UP_AFTER or self._lost_s >= MAX_LOST_S:
            self.given_up = reply


def by_host(jobs: Mapping[str, Job]) -> list[Host]:
    """Group jobs by the host of their URL, the host with the most jobs first; invalid URLs share a group without a name."""
    hosts: dict[str, Host] = {}
    for url, job in jobs.items():
        try:
            name = parse(url).host
        except BadUrl:
            name = ""
        hosts.setdefault(name, Host()).jobs.append(job)
    return sorted(hosts.values(), key=lambda host: -len(host.jobs))
