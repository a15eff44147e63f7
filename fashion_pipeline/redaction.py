"""Keeps secrets and terminal control characters out of every message.

Each secret is registered when it is read. ``blank`` removes it in every form in which a shop, a proxy
or a library may repeat it: as it is, percent-encoded, or in base64 with its pair. ``FashionError`` passes its
text through ``blank``, so no message has to be careful; ``blank_causes`` does the same for the errors
of libraries behind it, which Dagster stores and shows.
"""

from __future__ import annotations

import functools
import inspect
import re
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 6
"""A shorter secret is not registered: it would be found inside ordinary words."""
LONGEST_TEXT = 200

_USERINFO = re.compile(r"(?<=://)[^/\s\"'@]+@")  # RFC 3986, 3.2.1
_CREDENTIALS = re.compile(r"\b(basic|bearer|oauth)\s+[A-Za-z0-9+/=_.-]{8,}", re.IGNORECASE)  # RFC 9110, 11.4
_PARAMETER = re.compile(r"\b(consumer_key|consumer_secret|oauth_\w+|api[-_]key|token)=[^&\s\"'<>]+", re.IGNORECASE)

_forms: set[str] = set()

P = ParamSpec("P")
R = TypeVar("R")


def register(*secrets: str) -> None:
    """Have secrets blanked from now on, in every form; of a pair, also what a Basic header contains (RFC 7617)."""
    long_enough = [secret for secret in secrets if len(secret) >= SHORTEST]
    for secret in long_enough:
        _forms.update({secret, quote(secret, safe=""), quote_plus(secret), escape(secret)})
    if len(long_enough) > 1:
        pair = ":".join(secrets).encode()
        for encode in (b64encode, urlsafe_b64encode):
            encoded = encode(pair).decode()
            _forms.update({encoded, encoded.rstrip("="), quote(encoded, safe="")})


def blank(text: str) -> str:
    """Return a text with every registered secret, and whatever looks like credentials, replaced by ``***``."""
    for form in sorted(_forms, key=len, reverse=True):
        if form in text:
            text = text.replace(form, MASK)
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _CREDENTIALS.sub(rf"\1 {MASK}", text)
    return _PARAMETER.sub(rf"\1={MASK}", text)


def printable(text: object, *, most: int = LONGEST_TEXT) -> str:
    """Return a stranger's text for use in a message: blanked, at most 200 characters, no control characters.

    Characters that change the direction of a line, or are invisible, count as control characters. The
    text is blanked before it is cut: half a secret would not be found.
    """
    cut = blank(str(text)[: 50 * most])[:most]
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in cut)


def blank_causes(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function, async or not, so that no error leaves it with a cause that repeats a secret."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                drop_causes_with_secrets(error)
                raise

        return cast("Callable[P, R]", awaited)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            drop_causes_with_secrets(error)
            raise

    return called


def drop_causes_with_secrets(error: BaseException) -> None:
    """Cut an error's chain of causes where one of them repeats a secret: its text cannot be changed."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        cause = error.__cause__ or error.__context__
        if cause is None:
            return
        text = "".join(traceback.format_exception_only(cause))
        if blank(text) != text:
            error.__cause__ = error.__context__ = None
            error.__suppress_context__ = True
            return
        error = cause
