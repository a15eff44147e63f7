from __future__ import annotations

import inspect
import pickle

import pytest

from fashion_pipeline import errors
from fashion_pipeline.outcomes import Reason


def test_the_module_docstring_is_the_tree() -> None:
    """Every error class, its place and whether it is retryable stand in the docstring."""
    lines = (errors.__doc__ or "").splitlines()
    classes = {
        name: item for name, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__
    }
    for name, item in classes.items():
        row = next(
            (line for line in lines if f" {name} " in f"{line} " and ("─" in line or name == "FashionError")), None
        )
        assert row is not None, f"{name} is not in the tree"
        assert vars(item).get("retryable", False) == ("[retryable]" in row), name


def test_every_error_has_one_root() -> None:
    """One ``except FashionError`` catches all of them."""
    for _, item in inspect.getmembers(errors, inspect.isclass):
        if item.__module__ == errors.__name__:
            assert issubclass(item, errors.FashionError)


def test_the_text_of_an_error_is_the_whole_sentence() -> None:
    """The store, what happened, and what to do next, each only where there is one."""
    assert str(errors.ShopError("it is down")) == "it is down"
    error = errors.ShopError("it is down", store_id="a", advice="try again later")
    assert str(error) == "store a: it is down; try again later"
    assert (error.message, error.store_id, error.advice) == ("it is down", "a", "try again later")


def test_a_line_names_its_store_once() -> None:
    """A line that begins with a store's id does not repeat it; another store is still named."""
    error = errors.ShopError("it is down", store_id="a", advice="try again later")
    assert errors.without_store(error, "a") == "it is down; try again later"
    assert errors.without_store(error, "b") == "store a: it is down; try again later"
    assert errors.without_store(ValueError("store a: odd"), "a") == "store a: odd"


@pytest.mark.parametrize(
    "error",
    [
        errors.ShopError("it is down", store_id="a", advice="try again later"),
        errors.HostUnavailable("no route", reason=Reason.UNREACHABLE, url="u", retry_after_s=3.0, advice="wait"),
        errors.DecoderFailed("it hung", reason=Reason.DECODER_TIMEOUT, width=5, store_id="a"),
    ],
)
def test_errors_survive_pickling(error: errors.FashionError) -> None:
    """An error that crosses a process border keeps its class, its text and its attributes."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
