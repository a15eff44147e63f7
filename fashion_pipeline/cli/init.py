"""The first files of a new installation: a commented ``stores.yaml`` and ``.env.example``.

Their keys, defaults and descriptions are generated from the models that read these files, so that
they always match them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Quality, Store

STORE_ID = "my-shop"
KEY_VARIABLES = ("MY_SHOP_KEY", "MY_SHOP_SECRET")

_STORES_HEAD = """\
# The shops to synchronize, one "- id: ..." for each.
# Lines without # are required; the others show the default, or an example where there is none.
# docs/settings.md explains every key. fashion-pipeline checks this file at every start.
stores:
"""

_ENV_HEAD = """\
# Copy this file to .env, beside stores.yaml, and fill it in. Keep .env out of version control.
# A variable of the real environment wins over the same one in .env.

# WooCommerce > Settings > Advanced > REST API > Add key, with the permission Read."""

_ENV_MIDDLE = """
# All of these are optional; each line shows the default, or an example where there is none.
# Only FASHION_STORES must be in the real environment, because it decides which .env is read."""

# Examples for keys without a default, or whose default is no help.
_EXAMPLES = {
    "qdrant_ca_file": "certs/qdrant.pem",
    "id": STORE_ID,
    "url": "https://shop.example",
    "consumer_key": f"${{{KEY_VARIABLES[0]}}}",
    "consumer_secret": f"${{{KEY_VARIABLES[1]}}}",
    "currency": "EUR",
    "ca_file": "certs/my-shop.pem",
    "allow_private_hosts": "[127.0.0.1]",
    "database_url": "postgresql://user:password@localhost:5432/fashion",
    "qdrant_url": "http://localhost:6333",
    "qdrant_host": "localhost",
    "qdrant_api_key": "the-key-of-your-qdrant",
    "contact": "you@example.com",
}


def write_starter(folder: Path) -> tuple[Path, Path]:
    """Write ``stores.yaml`` and ``.env.example`` into a folder, and return their paths.

    Raises:
        SettingsError: one of them exists, and neither was written; or the folder cannot be written to.
    """
    texts = {folder / "stores.yaml": stores_yaml(), folder / ".env.example": env_example()}
    if there := [str(path) for path in texts if path.exists()]:
        msg = f"{' and '.join(there)}: already exists and was not overwritten; edit it, or choose another folder with --folder"
        raise SettingsError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        msg = f"{error.filename or folder}: cannot be written ({error.strerror}); choose another folder with --folder"
        raise SettingsError(msg) from error
    stores, env = texts
    return stores, env


def next_steps(folder: Path) -> list[str]:
    """Return the steps from the written files to the first products, for a person."""
    here = folder.resolve() == Path.cwd()
    place = "" if here else f"cd {folder} && "
    return [
        f"1. Edit {folder / 'stores.yaml'}: enter an id and the url of your shop.",
        f"2. {place}cp .env.example .env, and put the shop's REST API key into .env.",
        f"3. {place}fashion-pipeline doctor {STORE_ID} (with your id) to check the connection.",
        f"4. {place}fashion-pipeline ingest {STORE_ID}",
    ]


def stores_yaml() -> str:
    """Return a ``stores.yaml`` of one shop: the required keys, and all others as comments."""
    lines = "\n".join(_keys(Store, "    "))
    return f"{_STORES_HEAD}  - {lines.lstrip()}\n"


def env_example() -> str:
    """Return an ``.env.example``: the shop's keys, and every setting as a comment."""
    return "\n".join([_ENV_HEAD, *(f"{name}=" for name in KEY_VARIABLES), _ENV_MIDDLE, *_variables(), ""])


def _keys(model: type[BaseModel], indent: str) -> Iterator[str]:
    """Yield a line for each key of a model, with its description; optional keys are comments."""
    for name, field in model.model_fields.items():
        start = indent if field.is_required() or "#" in indent else f"{indent}# "
        if field.annotation is Quality:
            yield _beside(f"{start}{name}:", field)
            yield from _keys(Quality, f"{start}  ")
        else:
            yield _beside(f"{start}{name}: {_example(name, field)}", field)


def _beside(text: str, field: FieldInfo) -> str:
    return f"{text:<40}  # {field.description}"


def _variables() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if field.annotation is Quality:
            yield from (_variable(f"{name}__{key}", inner) for key, inner in Quality.model_fields.items())
        else:
            yield _variable(name, field)


def _variable(name: str, field: FieldInfo) -> str:
    return f"# {field.description}\n#FASHION_{name.upper()}={_example(name, field)}"


def _example(name: str, field: FieldInfo) -> str:
    """Return a key's example, or its default as YAML and ``.env`` files write it."""
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    text = str(field.default)
    if isinstance(field.default, bool):
        return text.lower()
    return f'"{text}"' if "*" in text else text
