"""Everything this package raises on purpose.

One base class for each way of catching::

    FashionError
    ├── ConfigurationError          wrong use: nothing was done, the command exits with 2
    │   ├── SettingsError           an environment variable, a path, a command-line argument
    │   ├── StoresFileError         stores.yaml, with file and line
    │   └── StorePurged             the store was purged, and is not read any more
    ├── WebError                    one HTTP exchange; carries the outcome's ``reason``
    │   ├── BlockedAddress          the guard refused where the URL leads
    │   ├── BadUrl                  the URL cannot be asked for at all
    │   ├── BadReply                the answer breaks a limit (too large, encoded, redirected)
    │   ├── RefusedByHost           a status that says no (404, 410, 4xx)
    │   └── HostUnavailable         timeouts, resets, 429, 5xx                  [retryable]
    ├── UnreadableImage             bytes that no picture can be made of; carries the outcome's ``reason``
    │   └── DecoderFailed           their decoder hung, crashed or ate memory    [retryable]
    ├── DecoderUnavailable          no decoder can be started on this machine   [retryable]
    ├── ShopError                   a store as a whole cannot be read
    │   ├── ShopAuthError           401 and 403
    │   ├── ShopProtocolError       answers that are not WooCommerce's, or contradict themselves
    │   └── ShopUnavailable         the shop is down, slow or in maintenance    [retryable]
    ├── ModelError                  the embedding model
    │   ├── WeightsUnavailable      no hub, no directory, no file
    │   └── WrongModel              weights, shape or preprocessing are not FashionSigLIP's
    ├── DatabaseError               PostgreSQL
    │   ├── DatabaseUnavailable     it does not answer                          [retryable]
    │   └── DatabaseMismatch        another schema version, or another home's database
    ├── VectorStoreError            Qdrant
    │   ├── VectorStoreUnavailable  it does not answer                          [retryable]
    │   ├── NoSuchPoint             a product that is not in it
    │   └── CollectionMismatch      a collection of another shape or model, or too old a server
    └── StorageError                tables, blobs, vectors and locks on disk
        ├── StorageFull             no space left; names the bytes that are missing
        ├── DamagedFile             bytes that are not what was stored
        ├── TableTooNew             written by a newer version of this package
        └── LockTimeout             somebody else holds what this run needs     [retryable]

``retryable`` says whether the same call may succeed later with nothing changed by a person. A
message says what happened, where, and what to do next; it never holds a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from fashion_pipeline.outcomes import Reason


class FashionError(Exception):
    """Base of every error raised on purpose by this package."""

    retryable: ClassVar[bool] = False


def without_store(error: BaseException, store_id: str) -> str:
    """Return an error's message for a line that begins with its store; the message may do so too."""
    return str(error).removeprefix(f"store {store_id}: ")


class ConfigurationError(FashionError):
    """Wrong use or wrong configuration; nothing was done."""


class SettingsError(ConfigurationError):
    """An environment variable, a path or a command-line argument is wrong."""


class StoresFileError(ConfigurationError):
    """``stores.yaml`` is wrong; the message starts with ``file:line``."""


class StorePurged(ConfigurationError):
    """A store was purged by hand, and must not come back by itself."""


class WebError(FashionError):
    """One HTTP exchange failed.

    Attributes:
        reason: the outcome's reason this failure stands for.
        url: what was asked for, without userinfo, query or fragment.
        status: the HTTP status, where there was one.
        retry_after_s: seconds the host asked us to wait, where it did.
        size_bytes: of a body that was too large: its size, or the least it can be.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        url: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        size_bytes: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.url = url
        self.status = status
        self.retry_after_s = retry_after_s
        self.size_bytes = size_bytes


class BlockedAddress(WebError):
    """The URL leads to an address that is not public, or to a port that is not allowed."""


class BadUrl(WebError):
    """The URL cannot be asked for: its scheme, host or form is not allowed."""


class BadReply(WebError):
    """The answer breaks a limit: too large, encoded, too many redirects."""


class RefusedByHost(WebError):
    """The host answered with a status that will not change by asking again."""


class HostUnavailable(WebError):
    """The host did not answer, or asked us to come back later."""

    retryable = True


class UnreadableImage(FashionError):
    """Bytes that no picture can, or may, be made of.

    Attributes:
        reason: the outcome's reason.
        width, height: pixels by the header; 0 where it could not be read.
        image_format: what the bytes begin like, in Pillow's words; ``""`` for nothing known.
    """

    def __init__(
        self, message: str, *, reason: Reason, width: int = 0, height: int = 0, image_format: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.width = width
        self.height = height
        self.image_format = image_format


class DecoderFailed(UnreadableImage):
    """The decoder of some bytes hung, crashed or needed too much memory; ``width`` and ``height`` are 0."""

    retryable = True


class DecoderUnavailable(FashionError):
    """No process that decodes can be started."""

    retryable = True


class ShopError(FashionError):
    """A store as a whole cannot be read.

    Attributes:
        retry_after_s: seconds the shop asked us to wait, where it did.
    """

    retry_after_s: float | None = None


class ShopAuthError(ShopError):
    """The shop refuses the keys."""


class ShopProtocolError(ShopError):
    """The shop's answers are not WooCommerce's, or contradict each other."""


class ShopUnavailable(ShopError):
    """The shop is down, slow or in maintenance."""

    retryable = True


class ModelError(FashionError):
    """The embedding model cannot be used."""


class WeightsUnavailable(ModelError):
    """The weights cannot be had."""


class WrongModel(ModelError):
    """The checkpoint is not one this pipeline may embed with."""


class DatabaseError(FashionError):
    """PostgreSQL cannot be used."""


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL does not answer."""

    retryable = True


class DatabaseMismatch(DatabaseError):
    """The database has another schema version, or belongs to another home."""


class VectorStoreError(FashionError):
    """Qdrant cannot be used."""


class VectorStoreUnavailable(VectorStoreError):
    """Qdrant does not answer."""

    retryable = True


class NoSuchPoint(VectorStoreError):
    """Qdrant has no point of that id."""


class CollectionMismatch(VectorStoreError):
    """A collection has another shape or model, belongs to another home, or the server is too old."""


class StorageError(FashionError):
    """Something on disk, or in the object store, cannot be used."""


class StorageFull(StorageError):
    """No space is left; the message names the bytes that were needed."""


class DamagedFile(StorageError):
    """A file does not hold what was stored in it."""


class TableTooNew(StorageError):
    """A table was written by a newer version of this package."""


class LockTimeout(StorageError):
    """Somebody else holds what this run needs."""

    retryable = True
