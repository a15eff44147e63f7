"""The stores: the shops that ``stores.yaml`` lists, with the thresholds of the quality gate.

Secrets are ``SecretStr``; ``stores_file`` reads them from environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from fashion_pipeline.errors import SettingsError, StoresFileError
from fashion_pipeline.redaction import register

DEFAULT_SWEEP = "0 3 * * *"
NO_STORES = "stores.yaml lists no store yet: add one under 'stores:', as docs/own-shop.md shows"
STORE_ID = re.compile(r"[a-z0-9-]+")

_CRON = re.compile(
    r"([\d*/,\sl-]|sun|mon|tue|wed|thu|fri|sat|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)+", re.IGNORECASE
)
_HOST = re.compile(r"[^\s/\\<>\"'{}|^`%\x00-\x20\x7f]+")


class Quality(BaseModel):
    """Thresholds of the quality gate. A store may override each of them.

    ``min_file_bytes`` and ``min_sharpness`` belong to the classic gate, ``min_bits_per_pixel`` and
    ``max_edge_blur_px`` to the edges gate; the others to both. Whoever sets a threshold of the classic gate
    and names no gate keeps the classic one, as in versions that had no other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: Literal["classic", "edges"] = Field(
        "edges",
        description="edges: judge the blur of edges, and bytes by pixels and format; classic: min_sharpness and min_file_bytes",
    )
    min_side_px: int = Field(400, ge=1, description="shorter side, in pixels, after EXIF rotation")
    min_file_bytes: int = Field(50_000, ge=0, description="classic gate: smallest file, in bytes")
    min_bits_per_pixel: float = Field(
        0.05,
        ge=0,
        description="edges gate: smallest JPEG, PNG or GIF, in bits per pixel; a fifth of it for WebP, a tenth for AVIF",
    )
    max_file_bytes: int = Field(10_000_000, ge=1, description="largest file, in bytes; nothing larger is downloaded")
    max_pixels: int = Field(
        40_000_000, ge=1, le=1_000_000_000, description="largest width x height, checked before decoding"
    )
    min_sharpness: float = Field(
        100.0,
        ge=0,
        description="classic gate: variance of the Laplacian of the grey image, scaled to at most 500 px",
    )
    max_edge_blur_px: float = Field(
        1.4,
        ge=0,
        description="edges gate: blur of the sharper edges (standard deviation), in pixels, scaled to at most 2,000 px",
    )

    @model_validator(mode="before")
    @classmethod
    def _classic_thresholds_choose_their_gate(cls, values: Any) -> Any:
        classic = {"min_file_bytes", "min_sharpness"}
        if isinstance(values, dict) and "gate" not in values and classic & values.keys():
            return {**values, "gate": "classic"}
        return values


def _cron(value: str) -> str:
    """Accept a cron expression of five fields that Dagster's daemon understands; return it with single spaces."""
    from croniter import CroniterError, croniter

    fields = value.split()
    try:
        has_next = len(fields) == 5 and bool(_CRON.fullmatch(value)) and croniter(" ".join(fields)).get_next() > 0
    except CroniterError:  # malformed, or a date that never comes
        has_next = False
    if not has_next:
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
    currency: str | None = Field(None, description="ISO 4217 code; read from the shop when absent")
    sweep: Annotated[str, AfterValidator(_cron)] = Field(
        DEFAULT_SWEEP, description="cron expression (UTC) of the full comparison"
    )
    images: Literal["primary", "all"] = Field("primary", description="primary: the first image; all: every image")
    quality: Quality = Field(
        default_factory=lambda: Quality.model_validate({}), description="thresholds that differ for this store"
    )
    ca_file: Path | None = Field(None, description="PEM file of a private certificate authority")
    allow_private_hosts: tuple[str, ...] = Field(
        (), description="hosts on private networks that this store may use: for test shops only"
    )
    accept_free: bool = Field(default=False, description="true: a price of 0 may be published")
    opt_outs: Literal["honour", "ignore"] = Field(
        "honour", description="ignore: use images in spite of X-Robots-Tag: noai, because their owner agreed"
    )
    paused: bool = Field(default=False, description="true: no sensor and no schedule starts a run of it")

    @model_validator(mode="after")
    def _secrets_are_blanked(self) -> Self:
        register(self.consumer_key.get_secret_value(), self.consumer_secret.get_secret_value())
        return self

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
            valid = parts.port != 0 and bool(_HOST.fullmatch(parts.hostname or ""))
        except ValueError:  # a port beyond 65,535, or half an IPv6 address
            valid = False
        if not valid or parts.scheme not in {"http", "https"}:
            msg = "must look like https://shop.example or https://example.com/shop"
            raise ValueError(msg)
        if parts.username or parts.password or parts.query or parts.fragment:
            msg = "must not hold a user, a query or a fragment; keys go into consumer_key and consumer_secret"
            raise ValueError(msg)
        if "/wp-json" in parts.path or "/wp-admin" in parts.path:
            msg = "must be the address of the shop's front page, without /wp-json or /wp-admin and anything after it"
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
    """The stores by id, in the order of the file.

    Attributes:
        misconfigured: the error of each entry with a mistake, by the store's id, or by ``line N`` where it
            has none. Such a store is not run; what the sinks hold of it stays.
    """

    def __init__(self, stores: Mapping[str, Store], misconfigured: Mapping[str, StoresFileError] | None = None) -> None:
        self._stores = dict(stores)
        self.misconfigured = dict(misconfigured or {})

    def __getitem__(self, store_id: str) -> Store:
        return self._stores[store_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)

    def require(self, store_id: str) -> Store:
        """Return a store.

        Raises:
            StoresFileError: its entry has a mistake.
            SettingsError: no store has this id; the message names the ids that there are.
        """
        if store_id in self._stores:
            return self._stores[store_id]
        if store_id in self.misconfigured:
            raise self.misconfigured[store_id]
        known = ", ".join([*self._stores, *self.misconfigured]) or "none"
        msg = f"no store {store_id!r} in stores.yaml; there are: {known}"
        raise SettingsError(msg)
