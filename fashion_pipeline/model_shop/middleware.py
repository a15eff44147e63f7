"""The seam where a test changes the exchange between a client and a model shop.

The demo serves the shops without any of this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from fashion_pipeline.model_shop.shop import ModelShop

    Fault = Callable[[Request], "Response | Change | None"]
    """Answers in the shop's place, changes the request or the response, or (None) does nothing."""

    Handler = Callable[[ModelShop, Request], Awaitable[Response | None]]
    """Handles a request before the shop sees it; None passes it on to the shop."""


def _unchanged(response: Response) -> Response:
    return response


@dataclass(frozen=True, slots=True)
class Change:
    """What a fault does to one exchange.

    Attributes:
        request: the request the shop sees; None: the one that was sent.
        instead: the response in place of the shop's own, which is then not computed; None: the shop's.
        apply: changes the complete response before it is sent.
    """

    request: Request | None = None
    instead: Response | None = None
    apply: Callable[[Response], Response] = _unchanged
