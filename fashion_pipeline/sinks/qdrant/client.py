"""Opening Qdrant: a server, or local mode under the home."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import CollectionMismatch, SettingsError, VectorStoreError, VectorStoreUnavailable
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.collections import use_alias
from fashion_pipeline.storage.home import Home

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


OLDEST_SERVER = (1, 16)

_TIMEOUT_S = 60


@contextlib.contextmanager
def vector_store(settings: Settings, home: Home, *, timeout_s: float = _TIMEOUT_S) -> Iterator[QdrantClient]:
    """Open the Qdrant that the settings name, or the local one under the home; keep it briefly.

    Raises:
        VectorStoreUnavailable: it does not answer, now or while the client is open.
        VectorStoreError: it refuses the key or a request.
        CollectionMismatch: the server is older than 1.16.
        SettingsError: its URL is not one.
        LockTimeout: another process holds the local one.
    """
    url = settings.qdrant_server
    if url is None:
        with _written(home), local_qdrant(home) as client:
            use_alias(client, settings.qdrant_collection)
            yield client
        return
    from qdrant_client import QdrantClient

    # It warns of a key over plain http, which is usual inside one's own network.
    warnings.filterwarnings("ignore", message="Api key is used with an insecure", category=UserWarning)
    key = None if settings.qdrant_api_key is None else settings.qdrant_api_key.get_secret_value()
    with _explained(url):
        try:
            client = QdrantClient(
                url=url, api_key=key, timeout=math.ceil(timeout_s), check_compatibility=False, **_trust(settings)
            )
        except ValueError as error:
            msg = f"FASHION_QDRANT_URL={url!r} is not a URL; it must look like http://host:6333"
            raise SettingsError(msg) from error
        use_alias(client, settings.qdrant_collection)
        try:
            _check_version(client.info().version, url)
            yield client
        finally:
            client.close()


@contextlib.contextmanager
def _written(home: Home) -> Iterator[None]:
    """Translate SQLite's errors, which local mode lets through."""
    try:
        yield
    except sqlite3.Error as error:
        msg = (
            f"the local Qdrant under {home.local('qdrant')} cannot be written ({error}): check that its disk has room and "
            "that this user may write there; the next run repairs what is missing"
        )
        raise VectorStoreError(msg) from error


def _check_version(version: str, url: str) -> None:
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if found < OLDEST_SERVER:
        msg = f"Qdrant at {url} is version {version}; this pipeline needs 1.16 or newer: upgrade one minor at a time"
        raise CollectionMismatch(msg)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Translate the client's errors into messages without the key."""
    from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in {401, 403}:
            msg = f"Qdrant at {url} refuses the key (HTTP {error.status_code}): see FASHION_QDRANT_API_KEY"
            raise VectorStoreError(msg) from None
        said = error.content[:200].decode(errors="replace")
        msg = f"Qdrant at {url} answered HTTP {error.status_code}: {said}"
        if error.status_code is not None and (error.status_code >= 500 or error.status_code == 429):
            raise VectorStoreUnavailable(msg) from error
        raise VectorStoreError(msg) from error
    except (ApiException, OSError) as error:
        said = str(error.source if isinstance(error, ResponseHandlingException) else error)
        msg = f"Qdrant at {url} does not answer ({said})"
        raise VectorStoreUnavailable(msg, advice=_advice(said)) from error


def _trust(settings: Settings) -> dict[str, Any]:
    """Return the option that makes a private authority trusted."""
    if settings.qdrant_ca_file is None:
        return {}
    if not settings.qdrant_ca_file.is_file():
        msg = f"FASHION_QDRANT_CA_FILE: there is no file {settings.qdrant_ca_file}"
        raise SettingsError(msg)
    return {"verify": str(settings.qdrant_ca_file)}


def _advice(problem: str) -> str:
    """Return what to do about a connection that fails for this reason."""
    if "CERTIFICATE_VERIFY_FAILED" in problem:
        return "for a private authority set FASHION_QDRANT_CA_FILE to its certificate"
    if "WRONG_VERSION_NUMBER" in problem:
        return "that port does not speak https: write http:// in FASHION_QDRANT_URL"
    if "illegal request line" in problem or "Server disconnected" in problem:
        return "that port does not speak plain http: write https://, or the REST port (6333) instead of the gRPC port (6334)"
    return "check that it runs and that FASHION_QDRANT_URL names it"
