"""Opt-outs of image owners: X-Robots-Tag headers that ask AI services not to use an image."""

from __future__ import annotations

import httpx

from fashion_pipeline.errors import BadReply
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.guard import redact

_DIRECTIVES = frozenset({"noai", "noimageai"})


def opt_out(headers: httpx.Headers, *, url: str) -> BadReply | None:
    """Return the refusal that a reply's headers ask for; None if they ask for none.

    A header holds directives with commas between them. The first may follow a user agent's name and
    a colon; ours is not on anybody's list, so that any agent's opt-out counts.
    """
    for directive in headers.get_list("x-robots-tag", split_commas=True):
        word = directive.rpartition(":")[2].strip().lower()
        if word in _DIRECTIVES:
            msg = (
                f"{redact(url)} came with X-Robots-Tag: {word}; if the images' owner agrees to their use, "
                "remove the header, or set opt_outs: ignore for this store in stores.yaml"
            )
            return BadReply(msg, reason=Reason.OPTED_OUT, url=redact(url), status=200)
    return None
