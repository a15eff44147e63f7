"""Read ``stores.yaml``: the line of every mistake is known, and secrets come from environment variables.

A ``.env`` file beside ``stores.yaml`` counts as environment; the real environment wins over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fashion_pipeline.errors import SettingsError, StoresFileError
from fashion_pipeline.stores import STORE_ID, Quality, Store, StoreList

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_KEYS = ("consumer_key", "consumer_secret")


def read_stores(
    path: Path, *, quality: Quality | None = None, environment: Mapping[str, str] | None = None
) -> StoreList:
    """Read and check a ``stores.yaml``.

    A mistake in one entry costs that store only: it is listed as misconfigured, with the error.

    Args:
        path: the file; a relative ``ca_file`` is relative to its folder.
        quality: thresholds for stores that do not set their own.
        environment: where ``${NAME}`` is looked up; default: ``.env`` beside the file, and the
            process's environment, which wins.

    Raises:
        StoresFileError: the file as a whole cannot be read; its message starts with ``file:line``.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        msg = f"{path}: there is no such file; fashion-pipeline init writes a first one, or set FASHION_STORES to yours"
        raise StoresFileError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error}); it must be a UTF-8 text file this user may read"
        raise StoresFileError(msg) from None
    return _Reader(path, quality, environment).read(text)


class _Reader:
    """Turns the text of a ``stores.yaml`` into stores, and a mistake into ``file:line: message``."""

    def __init__(self, path: Path, quality: Quality | None, environment: Mapping[str, str] | None) -> None:
        self.path = path
        self.quality = (quality or Quality.model_validate({})).model_dump(exclude_unset=True)
        self.environment = environment if environment is not None else environment_beside(path)

    def error(self, node: yaml.Node, sentence: str) -> StoresFileError:
        return StoresFileError(f"{self.path}:{node.start_mark.line + 1}: {sentence}")

    def read(self, text: str) -> StoreList:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            msg = f"{self.path}:{line}: is not YAML: {error.problem}"
            raise StoresFileError(msg) from None
        except (yaml.YAMLError, RecursionError) as error:
            msg = f"{self.path}:1: is not YAML: {' '.join(str(error).split())}"
            raise StoresFileError(msg) from None
        if root is None:
            msg = f"{self.path}:1: is empty; it needs a key 'stores:' with a list of stores"
            raise StoresFileError(msg)
        stores: dict[str, Store] = {}
        misconfigured: dict[str, StoresFileError] = {}
        for entry in self._entries(root):
            try:
                store = self._store(entry)
                if store.id in stores or store.id in misconfigured:
                    raise self.error(_child(entry, "id"), f"the id {store.id!r} is already used by a store above")
            except StoresFileError as error:
                name = _store_id(entry)
                free = name is not None and name not in stores and name not in misconfigured
                misconfigured[name if name and free else f"line {entry.start_mark.line + 1}"] = error
            else:
                stores[store.id] = store
        return StoreList(stores, misconfigured)

    def _entries(self, root: yaml.Node) -> list[yaml.Node]:
        pairs = root.value if isinstance(root, yaml.MappingNode) else []
        keys = {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
        if "stores" not in keys:
            raise self.error(root, "needs a key 'stores:' with a list of stores")
        for key, _ in pairs:
            if key.value != "stores":
                raise self.error(key, f"unknown key {_name(key)!r}; the only one here is 'stores'")
        listing = keys["stores"]
        if isinstance(listing, yaml.ScalarNode) and listing.tag == "tag:yaml.org,2002:null":
            return []
        if not isinstance(listing, yaml.SequenceNode):
            raise self.error(listing, "'stores' must be a list: one '- id: …' for each store")
        return list(listing.value)

    def _store(self, entry: yaml.Node) -> Store:
        if not isinstance(entry, yaml.MappingNode):
            raise self.error(entry, "a store must be a mapping that begins with '- id: …'")
        seen: set[str] = set()
        for key, _ in entry.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, "the name of a key must be a word, such as 'id'")
            if key.value in seen:
                raise self.error(key, f"the key {key.value!r} appears twice in this store")
            seen.add(key.value)
        values = self._values(entry)
        name = values.get("id", "?")
        self._fill_in(entry, values)
        try:
            store = Store.model_validate(values)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            # A misspelt key is also a missing one; report it where it is written.
            problem = next((found for found in problems if found["type"] == "extra_forbidden"), problems[0])
            raise self._explain(entry, name, problem["loc"], problem["type"], problem["msg"]) from None
        if store.ca_file is None:
            return store
        ca_file = self.path.absolute().parent / store.ca_file
        if not ca_file.is_file():
            raise self.error(_child(entry, "ca_file"), f"store {name!r}: ca_file: there is no file {ca_file}")
        return store.model_copy(update={"ca_file": ca_file})

    def _values(self, entry: yaml.Node) -> dict[str, Any]:
        """Return the values of a store's keys, as YAML reads them."""
        try:
            values: dict[str, Any] = yaml.SafeLoader("").construct_document(entry)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self.path}:{(mark or entry.start_mark).line + 1}"
            msg = (
                f"{place}: is not plain YAML ({error.problem}); put a text with braces or an exclamation mark in quotes"
            )
            raise StoresFileError(msg) from None
        except (ValueError, TypeError, RecursionError) as error:  # such as February 30
            raise self.error(entry, f"a value in this store cannot be read ({error}); put it in quotes") from None
        return values

    def _fill_in(self, entry: yaml.Node, values: dict[str, Any]) -> None:
        """Replace variables in a store's values, and add the thresholds that hold for every store."""
        for key in _SECRET_KEYS:
            if key in values:
                values[key] = self._secret(_child(entry, key), key, values[key])
        for key in ("url", "ca_file"):
            if isinstance(values.get(key), str):
                values[key] = self._expand(_child(entry, key), key, values[key])
        quality = values.get("quality")
        if quality is None or isinstance(quality, dict):  # None: every key under it is a comment
            values["quality"] = {**self.quality, **(quality or {})}

    def _explain(
        self, entry: yaml.Node, name: object, loc: tuple[int | str, ...], kind: str, message: str
    ) -> StoresFileError:
        node, place = entry, ".".join(str(part) for part in loc)
        for part in loc:
            node = _child(node, part)
        if kind == "extra_forbidden":
            model = Quality if loc[0] == "quality" else Store
            known = ", ".join(model.model_fields)
            return self.error(node, f"store {name!r}: unknown key {place!r}; known keys: {known}")
        if kind == "missing":
            return self.error(entry, f"store {name!r}: the key {place!r} is missing")
        return self.error(node, f"store {name!r}: {place}: {plain_message(message)}")

    def _secret(self, node: yaml.Node, key: str, value: object) -> str:
        if not isinstance(value, str) or not _VARIABLE.fullmatch(value.strip()):
            sentence = (
                f"{key} must be the name of an environment variable, such as ${{MY_SHOP_{key[9:].upper()}}}; "
                "a secret does not belong in this file (if it was one, make a new key in the shop)"
            )
            raise self.error(node, sentence)
        return self._expand(node, key, value.strip())

    def _expand(self, node: yaml.Node, key: str, value: str) -> str:
        def variable(match: re.Match[str]) -> str:
            found = self.environment.get(match[1], "")
            if not found:
                sentence = f"{key} names the environment variable {match[1]}, which is not set"
                raise self.error(node, f"{sentence}; export it, or put it into {self.path.parent / '.env'}")
            return found

        return _VARIABLE.sub(variable, value)


def _name(key: yaml.Node) -> str:
    """Return a key's name for a message; a list or a mapping has none."""
    return str(key.value) if isinstance(key, yaml.ScalarNode) else "[…]"


def _store_id(entry: yaml.Node) -> str | None:
    """Return the id that a faulty entry gives its store; None: it has none that could be one."""
    node = _child(entry, "id")
    return node.value if isinstance(node, yaml.ScalarNode) and STORE_ID.fullmatch(node.value) else None


def _child(node: yaml.Node, part: int | str) -> yaml.Node:
    """Return the node of a key's value or of a list's item; where there is none, the node itself."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value  # type: ignore[no-any-return]
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]  # type: ignore[no-any-return]
    return node


def plain_message(message: str) -> str:
    """Return pydantic's message without its prefix."""
    return message.removeprefix("Value error, ")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file could not be read, without any of its content."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else f"byte {error.start} is not UTF-8"


def environment_beside(path: Path) -> Mapping[str, str]:
    """Return the process's environment, with the variables of the ``.env`` file beside a file.

    Raises:
        SettingsError: the ``.env`` file cannot be read.
    """
    from dotenv import dotenv_values

    env_file = path.parent / ".env"
    try:
        beside = dotenv_values(env_file) if env_file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{env_file}: cannot be read ({_reason(error)}); it must be a UTF-8 text file this user may read"
        raise SettingsError(msg) from None
    return {**{key: value for key, value in beside.items() if value is not None}, **os.environ}
