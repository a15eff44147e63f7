from __future__ import annotations

import inspect

from fashion_pipeline import errors


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


def test_a_line_names_its_store_once() -> None:
    """Behind a store's id, a message that begins with the store does not say it again; any other stays whole."""
    for message in ("store a: it is down", "it is down"):
        assert errors.without_store(errors.ShopError(message), "a") == "it is down"
    assert errors.without_store(errors.ShopError("store ab: it is down"), "a") == "store ab: it is down"
