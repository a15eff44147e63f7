"""Settings from the environment (prefix ``FASHION_``), and the stores from ``stores.yaml``.

Secrets are ``SecretStr`` and come from environment variables only; a ``.env`` file beside
``stores.yaml`` counts as environment, and the real environment wins over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.redaction import register
from fashion_pipeline.stores import Quality, StoreList
from fashion_pipeline.stores_file import environment_beside, plain_message, read_stores

DEFAULT_MODEL = "hf-hub:Marqo/marqo-fashionSigLIP"


_OTHER_VARIABLES = {"FASHION_TEST_DATABASE_URL", "FASHION_TEST_QDRANT_URL"}

"""Names with our prefix that are no settings: the servers that the tests use."""


class Settings(BaseSettings):
    """What the environment says. ``Settings()`` reads it; every field has a default."""

    model_config = SettingsConfigDict(
        env_prefix="FASHION_", env_nested_delimiter="__", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: str = Field(".fashion", description="where tables, blobs, vectors and local databases lie")
    stores: Path = Field(Path("stores.yaml"), description="the file that lists the stores")
    database_url: SecretStr | None = Field(None, description="PostgreSQL; unset: an embedded server under the home")
    qdrant_url: str | None = Field(None, description="Qdrant, as http://host:6333; unset: see qdrant_host")
    qdrant_host: str | None = Field(None, description="Qdrant's host, in place of its URL; unset: local mode")
    qdrant_port: int = Field(6333, ge=1, le=65535, description="Qdrant's port, with qdrant_host")
    qdrant_collection: str = Field(
        "products", description="the alias that search uses; the models' collections are named <it>__<fingerprint>"
    )
    qdrant_ca_file: Path | None = Field(
        None, description="PEM file of a private authority that Qdrant's certificate is from"
    )
    qdrant_api_key: SecretStr | None = Field(None, description="Qdrant's API key")
    model: str = Field(DEFAULT_MODEL, description="hf-hub:OWNER/NAME, or local-dir:/path of a checkpoint")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto, fp32 or bf16; auto: bf16 where the processor has it"
    )
    batch_size: int | Literal["auto"] = Field(
        "auto", description="pictures embedded at a time; halved by itself when memory runs out"
    )
    connections_per_host: int = Field(4, ge=1, le=8, description="connections to one host, shop and pictures together")
    contact: str = Field("", description="an address that shop owners can write to, sent in the User-Agent")
    quality: Quality = Field(
        default_factory=lambda: Quality.model_validate({}), description="thresholds for every store"
    )

    @field_validator("model")
    @classmethod
    def _model_has_a_form(cls, value: str) -> str:
        if not re.fullmatch(r"hf-hub:.+|local-dir:.+|tiny", value):
            msg = "must be hf-hub:OWNER/NAME, local-dir:/path/of/a/checkpoint, or tiny"
            raise ValueError(msg)
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url_is_unambiguous(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse a URL whose password would be read as its host: messages name the host."""
        if value is not None:
            authority, _, path = value.get_secret_value().partition("://")[2].partition("?")[0].partition("/")
            if authority.count("@") > 1 or "@" in path:
                msg = "a password with @ : / % must be percent-encoded: @ is %40, : is %3A, / is %2F, % is %25"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _secrets_are_blanked(self) -> Self:
        for secret in (self.qdrant_api_key,):
            if secret is not None:
                register(secret.get_secret_value())
        for url in (self.qdrant_url, self.database_url and self.database_url.get_secret_value()):
            password = urlsplit(url).password if url and "@" in url else None
            if password:
                register(unquote(password), password)
        return self

    @field_validator("qdrant_host")
    @classmethod
    def _qdrant_host_is_a_host(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:]+\]?", value):
            msg = (
                "must be a host's name or address alone, such as qdrant.internal; a URL belongs into FASHION_QDRANT_URL"
            )
            raise ValueError(msg)
        return value

    @field_validator("qdrant_collection")
    @classmethod
    def _qdrant_collection_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]|_(?!_)){0,99}(?<!_)", value):
            msg = "must be letters, digits, '.', '-' and single '_' inside, at most 100 of them"
            raise ValueError(msg)
        return value

    @field_validator("device")
    @classmethod
    def _device_has_a_form(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            msg = "must be auto, cpu, cuda or cuda:N"
            raise ValueError(msg)
        return value

    @field_validator("batch_size", mode="plain")
    @classmethod
    def _batch_size_is_positive(cls, value: int | str) -> int | str:
        text = str(value).strip()
        if text != "auto" and not (text.isdecimal() and int(text) > 0):
            msg = "must be a whole number of at least 1, or auto"
            raise ValueError(msg)
        return text if text == "auto" else int(text)

    @classmethod
    def read(cls) -> Self:
        """Read the environment, and the ``.env`` beside ``stores.yaml`` where there is one.

        Raises:
            SettingsError: a variable holds what it may not hold, or is a setting's name misspelt; the
                message names it.
        """
        stores = Path(os.environ.get("FASHION_STORES") or "stores.yaml")
        env_file = stores.parent / ".env"
        cls._check_names(environment_beside(stores))
        try:
            settings = cls(_env_file=env_file if env_file.is_file() else None)  # type: ignore[call-arg]
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = "FASHION_" + "__".join(str(part) for part in problem["loc"]).upper()
            unknown = problem["type"] == "extra_forbidden"
            said = "there is no such setting" if unknown else plain_message(problem["msg"])
            msg = f"{name}: {said}; docs/settings.md lists what it may hold"
            raise SettingsError(msg) from None
        settings._check_qdrant()
        return settings

    def _check_qdrant(self) -> None:
        """Refuse settings that name no Qdrant server, or two: one of them would be ignored without a word."""
        if self.qdrant_url is not None and self.qdrant_host is not None:
            msg = "FASHION_QDRANT_URL and FASHION_QDRANT_HOST are both set: remove one of them"
            raise SettingsError(msg)
        if "qdrant_port" in self.model_fields_set and self.qdrant_host is None:
            where = "put the port into that URL" if self.qdrant_url is not None else "set FASHION_QDRANT_HOST too"
            msg = f"FASHION_QDRANT_PORT is set without FASHION_QDRANT_HOST: {where}"
            raise SettingsError(msg)

    @classmethod
    def _check_names(cls, variables: Iterable[str]) -> None:
        """Refuse a misspelt name, which would leave its setting at the default without a word."""
        known = {f"FASHION_{name.upper()}" for name in cls.model_fields} | _OTHER_VARIABLES
        for name in variables:
            if not name.startswith("FASHION_") or name.startswith("FASHION_QUALITY__") or name in known:
                continue
            if close := get_close_matches(name, known, 1, cutoff=0.85):
                msg = f"{name}: there is no such setting; did you mean {close[0]}? docs/settings.md lists them all"
                raise SettingsError(msg)

    @cached_property
    def home_path(self) -> str:
        """The home, absolute: a relative one lies beside ``stores.yaml``; URLs stay as they are."""
        if "://" in self.home:
            return self.home.rstrip("/")
        return str((self.stores.absolute().parent / Path(self.home).expanduser()).resolve())

    @cached_property
    def qdrant_server(self) -> str | None:
        """The URL of the Qdrant server, from whichever setting names it; None for local mode."""
        if self.qdrant_url is not None or self.qdrant_host is None:
            return self.qdrant_url
        host = self.qdrant_host.strip("[]")
        return f"http://{f'[{host}]' if ':' in host else host}:{self.qdrant_port}"

    def store_list(self) -> StoreList:
        """Read ``stores.yaml``; see ``read_stores``."""
        return read_stores(self.stores, quality=self.quality)
