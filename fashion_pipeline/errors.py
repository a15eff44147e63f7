"""Everything this package raises on purpose.

One base class for each way of catching::

    FashionError
    ├── ConfigurationError          wrong use; nothing was done, exit code 2
    │   ├── SettingsError           an environment variable, a path, a command-line argument
    │   ├── StoresFileError         stores.yaml, with file and line
    │   └── StorePurged             the store was purged and is no longer read
    ├── WebError                    one HTTP exchange; carries the outcome's ``reason``
    │   ├── BlockedAddress          the guard refused the address or port
    │   ├── BadUrl                  the URL cannot be requested at all
    │   ├── BadReply                the response breaks a limit (size, encoding, redirects)
    │   ├── RefusedByHost           a refusal that a retry will not change (404, 410, 4xx)
    │   └── HostUnavailable         timeouts, resets, 429, 5xx                  [retryable]
    ├── UnreadableImage             bytes that cannot be decoded; carries the outcome's ``reason``
    │   └── DecoderFailed           it hung, crashed or ran out of memory       [retryable]
    ├── DecoderUnavailable          no decoder can be started on this machine   [retryable]
    ├── ShopError                   a shop as a whole cannot be read
    │   ├── ShopAuthError           401 and 403
    │   ├── ShopProtocolError       responses that are not WooCommerce's, or contradict each other
    │   └── ShopUnavailable         the shop is down, slow or in maintenance    [retryable]
    ├── ModelError                  the embedding model
    │   ├── WeightsUnavailable      no hub, directory or file
    │   └── WrongModel              weights, shape or preprocessing are not FashionSigLIP's
    ├── DatabaseError               PostgreSQL
    │   ├── DatabaseUnavailable     it does not respond                         [retryable]
    │   │   └── LockLost            it ended the session of the store's lock    [retryable]
    │   └── DatabaseMismatch        another schema version, or another home's database
    ├── VectorStoreError            Qdrant
    │   ├── VectorStoreUnavailable  it does not respond                         [retryable]
    │   ├── NoSuchPoint             the product is not in Qdrant
    │   └── CollectionMismatch      a collection of another shape or model, or an old server
    └── StorageError                tables, blobs, vectors and locks on disk
        ├── StorageFull             no space left; names the bytes that are needed
        ├── DamagedFile             the bytes are not those that were stored
        ├── TableTooNew             written by a newer version of this package
        └── LockTimeout             another process holds the lock              [retryable]

``retryable`` says whether the same call may succeed later without a person changing anything. The
text of an error says what happened, where, and what to do next; it never holds a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fashion_pipeline.redaction import blank

if TYPE_CHECKING:
    from fashion_pipeline.outcomes import Reason


class FashionError(Exception):
    """Base of every error raised on purpose by this package.

    ``str(error)`` is the whole sentence: the store, what happened, and what to do next.

    Attributes:
        message: what happened, and where.
        store_id: the store it happened to; None where it is not about one store.
        advice: what to do next; ``""`` where the message itself says so.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, store_id: str | None = None, advice: str = "") -> None:
        super().__init__(blank(message))
        self.message = blank(message)
        self.store_id = store_id
        self.advice = blank(advice)

    def __str__(self) -> str:
        return self.sentence if self.store_id is None else f"store {self.store_id}: {self.sentence}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, vars(self))

    @property
    def sentence(self) -> str:
        """The message and the advice, for a line that names the store itself."""
        return f"{self.message}; {self.advice}" if self.advice else self.message


def _rebuild(kind: type[FashionError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> FashionError:
    """Make an unpickled error without calling ``__init__``, whose arguments differ from class to class."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(attributes)
    return error


def without_store(error: BaseException, store_id: str) -> str:
    """Return an error's text for a line that already begins with this store's id."""
    return error.sentence if isinstance(error, FashionError) and error.store_id == store_id else str(error)


class ConfigurationError(FashionError):
    """Wrong use or wrong configuration; nothing was done."""


class SettingsError(ConfigurationError):
    """An environment variable, a path or a command-line argument is wrong."""


class StoresFileError(ConfigurationError):
    """``stores.yaml`` is wrong; the message starts with ``file:line``."""


class StorePurged(ConfigurationError):
    """A store was purged; only ``purge --undo`` lets it return."""


class WebError(FashionError):
    """One HTTP exchange failed.

    Attributes:
        reason: the outcome's reason for this failure.
        url: what was requested, without userinfo, query or fragment.
        status: the HTTP status; None without a response.
        retry_after_s: seconds of the host's Retry-After; None without one.
        size_bytes: size of a body that was too large, or its lower bound.
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
        store_id: str | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(message, store_id=store_id, advice=advice)
        self.reason = reason
        self.url = url
        self.status = status
        self.retry_after_s = retry_after_s
        self.size_bytes = size_bytes


class BlockedAddress(WebError):
    """The URL leads to an address that is not public, or to a port that is not allowed."""


class BadUrl(WebError):
    """The URL cannot be requested: its scheme, host or form is not allowed."""


class BadReply(WebError):
    """The response breaks a limit: too large, encoded, too many redirects."""


class RefusedByHost(WebError):
    """The host answered with a status that a retry will not change."""


class HostUnavailable(WebError):
    """The host did not respond, or asked for a later retry."""

    retryable = True


class UnreadableImage(FashionError):
    """Bytes that cannot be decoded, or that the limits forbid to decode.

    Attributes:
        reason: the outcome's reason.
        width, height: pixels, from the header; 0 where it cannot be read.
        image_format: format of the first bytes, as Pillow names it; ``""`` if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        width: int = 0,
        height: int = 0,
        image_format: str = "",
        store_id: str | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(message, store_id=store_id, advice=advice)
        self.reason = reason
        self.width = width
        self.height = height
        self.image_format = image_format


class DecoderFailed(UnreadableImage):
    """The decoder of some bytes hung, crashed or needed too much memory; ``width`` and ``height`` are 0."""

    retryable = True


class DecoderUnavailable(FashionError):
    """No decoder process can be started."""

    retryable = True


class ShopError(FashionError):
    """A shop as a whole cannot be read.

    Attributes:
        retry_after_s: seconds of the shop's Retry-After; None without one.
    """

    retry_after_s: float | None = None


class ShopAuthError(ShopError):
    """The shop refuses the keys."""


class ShopProtocolError(ShopError):
    """The shop's responses are not WooCommerce's, or contradict each other."""


class ShopUnavailable(ShopError):
    """The shop is down, slow or in maintenance."""

    retryable = True


class ModelError(FashionError):
    """The embedding model cannot be used."""


class WeightsUnavailable(ModelError):
    """The weights cannot be found or downloaded."""


class WrongModel(ModelError):
    """The checkpoint is not one that this pipeline may embed with."""


class DatabaseError(FashionError):
    """PostgreSQL cannot be used."""


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL does not respond."""

    retryable = True


class LockLost(DatabaseUnavailable):
    """A run no longer holds its store's lock: it must not write any more."""

    retryable = True


class DatabaseMismatch(DatabaseError):
    """The database has another schema version, or belongs to another home."""


class VectorStoreError(FashionError):
    """Qdrant cannot be used."""


class VectorStoreUnavailable(VectorStoreError):
    """Qdrant does not respond."""

    retryable = True


class NoSuchPoint(VectorStoreError):
    """Qdrant has no point with this id."""


class CollectionMismatch(VectorStoreError):
    """A collection has another shape or model or belongs to another home, or the server is too old."""


class StorageError(FashionError):
    """A file on disk or in the object store cannot be used."""


class StorageFull(StorageError):
    """No space is left; the message names the bytes that were needed."""


class DamagedFile(StorageError):
    """A file does not hold what was stored in it."""


class TableTooNew(StorageError):
    """A table was written by a newer version of this package."""


class LockTimeout(StorageError):
    """Another process holds a lock that this one needs."""

    retryable = True
