"""Settings from the environment (prefix ``FASHION_``), and the stores from ``stores.yaml``.

Secrets are ``SecretStr`` and come from environment variables only; a ``.env`` file beside
``stores.yaml`` counts as environment, and the real environment wins over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from fashion_pipeline.errors import SettingsError, StoresFileError

DEFAULT_SWEEP = "0 3 * * *"


NO_STORES = "stores.yaml lists no store yet: add one under 'stores:', as docs/own-shop.md shows"


STORE_ID = re.compile(r"[a-z0-9-]+")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


_CRON = re.compile(
    r"([\d*/,\sl-]|sun|mon|tue|wed|thu|fri|sat|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)+", re.IGNORECASE
)


_HOST = re.compile(r"[^\s/\\<>\"'{}|^`%\x00-\x20\x7f]+")


_SECRET_KEYS = ("consumer_key", "consumer_secret")


class Quality(BaseModel):
    """Thresholds of the quality gate: the mission's, each of which a store may override."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_side_px: int = Field(400, ge=1, description="shorter side, in pixels, after EXIF rotation")
    min_file_bytes: int = Field(50_000, ge=0, description="smallest file, in bytes")
    max_file_bytes: int = Field(10_000_000, ge=1, description="largest file, in bytes; nothing larger is downloaded")
    max_pixels: int = Field(
        40_000_000, ge=1, le=1_000_000_000, description="largest width x height, checked before decoding"
    )
    min_sharpness: float = Field(
        100.0,
        ge=0,
        description="variance of the Laplacian of the grey picture, scaled to at most 500 px",
    )


def _cron(value: str) -> str:
    """Accept a cron expression of five fields that Dagster's daemon can follow, and put single spaces into it."""
    from croniter import CroniterError, croniter

    fields = value.split()
    try:
        comes = len(fields) == 5 and bool(_CRON.fullmatch(value)) and croniter(" ".join(fields)).get_next() > 0
    except CroniterError:  # malformed, or a day that no month has
        comes = False
    if not comes:
        msg = "is not a cron expression of five fields of numbers, names and * / , - L, such as '0 3 * * *'"
        raise ValueError(msg)
    return " ".join(fields)


class Store(BaseModel):
    """One shop, as ``stores.yaml`` describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(description="name of the store: lower-case letters, digits and dashes")
    url: str = Field(description="address of the shop, http or https, a sub-path included")
    consumer_key: SecretStr = Field(description="REST API key, as ${NAME_OF_A_VARIABLE}")
    consumer_secret: SecretStr = Field(description="REST API secret, as ${NAME_OF_A_VARIABLE}")
    auth: Literal["auto", "query", "oauth1"] = Field(
        "auto",
        description="auto: Basic over https, OAuth over http; query, oauth1: where fashion-pipeline doctor advises it",
    )
    currency: str | None = Field(None, description="ISO 4217 code; asked from the shop when absent")
    sweep: Annotated[str, AfterValidator(_cron)] = Field(
        DEFAULT_SWEEP, description="cron expression (UTC) of the full comparison"
    )
    images: Literal["primary", "all"] = Field("primary", description="primary: the first picture; all: every picture")
    quality: Quality = Field(
        default_factory=lambda: Quality.model_validate({}), description="thresholds that differ for this store"
    )
    ca_file: Path | None = Field(None, description="PEM file of a private certificate authority")
    allow_private_hosts: tuple[str, ...] = Field(
        (), description="hosts on private networks this store may name: test shops only"
    )
    accept_free: bool = Field(default=False, description="true: a price of 0 may be published")
    paused: bool = Field(default=False, description="true: no sensor and no schedule starts a run of it")

    @field_validator("id")
    @classmethod
    def _id_is_a_partition_key(cls, value: str) -> str:
        if not STORE_ID.fullmatch(value):
            msg = f"{value!r} must consist of lower-case letters, digits and dashes"
            raise ValueError(msg)
        return value

    @field_validator("url")
    @classmethod
    def _url_is_a_shop(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            possible = parts.port != 0 and bool(_HOST.fullmatch(parts.hostname or ""))
        except ValueError:  # a port beyond 65,535, or half an IPv6 address
            possible = False
        if not possible or parts.scheme not in {"http", "https"}:
            msg = "must look like https://shop.example or https://example.com/shop"
            raise ValueError(msg)
        if parts.username or parts.password or parts.query or parts.fragment:
            msg = "must not hold a user, a query or a fragment; keys go into consumer_key and consumer_secret"
            raise ValueError(msg)
        if "/wp-json" in parts.path or "/wp-admin" in parts.path:
            msg = "must be the address of the shop's front page, without /wp-json or /wp-admin and what follows"
            raise ValueError(msg)
        return value.rstrip("/?#")

    @field_validator("currency")
    @classmethod
    def _currency_is_a_code(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z]{3}", value):
            msg = f"{value!r} must be three capital letters, such as EUR"
            raise ValueError(msg)
        return value


class StoreList(Mapping[str, Store]):
    """The stores by id, in the order of the file."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = dict(stores)

    def __getitem__(self, store_id: str) -> Store:
        return self._stores[store_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)

    def require(self, store_id: str) -> Store:
        """Return a store, or say which ids there are.

        Raises:
            SettingsError: no store has this id.
        """
        if store_id in self._stores:
            return self._stores[store_id]
        known = ", ".join(self._stores) or "none"
        msg = f"no store {store_id!r} in stores.yaml; there are: {known}"
        raise SettingsError(msg)


def read_stores(
    path: Path, *, quality: Quality | None = None, environment: Mapping[str, str] | None = None
) -> StoreList:
    """Read and check a ``stores.yaml``.

    Args:
        path: the file; relative ``ca_file`` entries lie beside it.
        quality: thresholds under those of a store.
        environment: where ``${NAME}`` is looked up; default: ``.env`` beside the file, under the
            process's own environment.

    Raises:
        StoresFileError: one sentence, starting with ``file:line``.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        msg = f"{path}: there is no such file; fashion-pipeline init writes one to begin with, or set FASHION_STORES to yours"
        raise StoresFileError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error}); it must be a UTF-8 text file this user may read"
        raise StoresFileError(msg) from None
    return _Reader(path, quality, environment).read(text)


class _Reader:
    """Turns the text of a ``stores.yaml`` into stores, and a mistake into ``file:line: sentence``."""

    def __init__(self, path: Path, quality: Quality | None, environment: Mapping[str, str] | None) -> None:
        self.path = path
        self.quality = (quality or Quality.model_validate({})).model_dump()
        self.environment = environment if environment is not None else _environment(path)

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
        entries = self._entries(root)
        stores: dict[str, Store] = {}
        for entry in entries:
            store = self._store(entry)
            if store.id in stores:
                raise self.error(_child(entry, "id"), f"the id {store.id!r} is already used by a store above")
            stores[store.id] = store
        return StoreList(stores)

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
            # A misspelt key is also a missing one; the line where it stands says more.
            problem = next((found for found in problems if found["type"] == "extra_forbidden"), problems[0])
            raise self._explain(entry, name, problem["loc"], problem["type"], problem["msg"]) from None
        if store.ca_file is None:
            return store
        ca_file = self.path.absolute().parent / store.ca_file
        if not ca_file.is_file():
            raise self.error(_child(entry, "ca_file"), f"store {name!r}: ca_file: there is no file {ca_file}")
        return store.model_copy(update={"ca_file": ca_file})

    def _values(self, entry: yaml.Node) -> dict[str, Any]:
        """Return what a store's keys hold: numbers, truths and lists as YAML reads them."""
        try:
            values: dict[str, Any] = yaml.SafeLoader("").construct_document(entry)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self.path}:{(mark or entry.start_mark).line + 1}"
            msg = (
                f"{place}: is not plain YAML ({error.problem}); put a text with braces or an exclamation mark in quotes"
            )
            raise StoresFileError(msg) from None
        except (ValueError, TypeError, RecursionError) as error:  # such as a date in a month that has no such day
            raise self.error(entry, f"a value in this store cannot be read ({error}); put it in quotes") from None
        return values

    def _fill_in(self, entry: yaml.Node, values: dict[str, Any]) -> None:
        """Put variables and the thresholds that hold for every store into a store's values."""
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
        return self.error(node, f"store {name!r}: {place}: {_plain(message)}")

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
    """Return what a key is called, for a message: a list or a mapping has no name."""
    return str(key.value) if isinstance(key, yaml.ScalarNode) else "[…]"


def _child(node: yaml.Node, part: int | str) -> yaml.Node:
    """Return the node of a key's value (or an item), or the nearest node there is."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value  # type: ignore[no-any-return]
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]  # type: ignore[no-any-return]
    return node


def _plain(message: str) -> str:
    """Drop pydantic's own prefix from a message."""
    return message.removeprefix("Value error, ")


def _unread(error: OSError | UnicodeDecodeError) -> str:
    """Say why a file was not read, without what it holds."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else f"byte {error.start} is not UTF-8"


def _environment(path: Path) -> Mapping[str, str]:
    from dotenv import dotenv_values

    env_file = path.parent / ".env"
    try:
        beside = dotenv_values(env_file) if env_file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{env_file}: cannot be read ({_unread(error)}); it must be a UTF-8 text file this user may read"
        raise SettingsError(msg) from None
    return {**{key: value for key, value in beside.items() if value is not None}, **os.environ}
