"""Replies that a host in trouble sends in place of good images: an error page, or the same bytes for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fashion_pipeline.errors import BadReply
from fashion_pipeline.images.answers import last_good
from fashion_pipeline.images.formats import describe, image_format
from fashion_pipeline.images.jobs import Job
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.client import Reply
from fashion_pipeline.web.guard import redact

DIFFERENT_IMAGES = 3
"""How many images that were different before must get the same bytes from one host until these are doubted."""

_PAGES = frozenset({"an HTML page", "XML or HTML", "JSON"})
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml", "application/problem")


def page(reply: Reply, *, url: str) -> BadReply | None:
    """Return the error of a page of text with a successful status: a login, a challenge, a maintenance notice.

    None for anything else: other unreadable bytes are the file that the shop has, and the decoder's matter.
    """
    found = describe(reply.body)
    says_text = reply.headers.get("content-type", "").strip().lower().startswith(_TEXT) and found != "an SVG drawing"
    if image_format(reply.body) is not None or not (found in _PAGES or says_text):
        return None
    what = found if found in _PAGES else "text"
    msg = f"{redact(url)} answered {reply.status} with {what} instead of an image; open it in a browser"
    return BadReply(msg, reason=Reason.NOT_AN_IMAGE, url=redact(url), status=reply.status)


def same_bytes(url: str) -> BadReply:
    """Return the error of a reply whose bytes the host sends for several different images."""
    msg = f"{redact(url)}: its host sends the same bytes for several different images; open it in a browser"
    return BadReply(msg, reason=Reason.SAME_BYTES, url=redact(url), status=200)


@dataclass(slots=True)
class SameBytes:
    """Notices when one host sends the same bytes for images that were different before.

    A shop that replaces one image under several URLs had the same bytes there before, too.

    Attributes:
        doubted: digests that are doubted, by this run or an earlier one.
    """

    doubted: set[str]
    _sent: dict[tuple[int, str], _Sent] = field(default_factory=dict)

    def note(self, host: int, job: Job, sha256: str) -> Iterable[Job]:
        """Note a reply's digest; return the earlier jobs with these bytes if they are now doubted.

        Args:
            host: identifies the host.
            job: the URL that was requested.
            sha256: of the reply's bytes.
        """
        if sha256 in self.doubted:
            return ()
        sent = self._sent.setdefault((host, sha256), _Sent())
        sent.before.update(known for image in job.images if (known := last_good(image)) not in {None, sha256})
        if len(sent.before) < DIFFERENT_IMAGES:
            sent.jobs.append(job)
            return ()
        self.doubted.add(sha256)
        return sent.jobs


@dataclass(slots=True)
class _Sent:
    """The URLs that got the same bytes, and the digests of their images before."""

    jobs: list[Job] = field(default_factory=list)
    before: set[str | None] = field(default_factory=set)
