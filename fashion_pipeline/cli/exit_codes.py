"""Exit codes: 0 done, 1 failed and a retry may help, 2 wrong use or configuration, 130 interrupted."""

from __future__ import annotations

from fashion_pipeline.errors import (
    CollectionMismatch,
    ConfigurationError,
    DatabaseMismatch,
    ModelError,
    ShopError,
    TableTooNew,
)

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

WRONG_CONFIGURATION = (
    ConfigurationError,
    CollectionMismatch,
    DatabaseMismatch,
    ModelError,
    ShopError,
    TableTooNew,
)


def exit_code(error: BaseException | None) -> int:
    """Return the exit code for an error, 0 for none."""
    if error is None:
        return 0
    return WRONG_USE if isinstance(error, WRONG_CONFIGURATION) and not error.retryable else FAILED
