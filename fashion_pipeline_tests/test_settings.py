from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.errors import SettingsError, StoresFileError
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Quality
from fashion_pipeline.stores_file import read_stores

GOOD = """\
stores:
  - id: atelier-nord
    url: https://atelier-nord.example/shop/
    consumer_key: ${NORD_KEY}
    consumer_secret: ${NORD_SECRET}
"""
ENVIRONMENT = {"NORD_KEY": "ck_very_private", "NORD_SECRET": "cs_very_private"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "stores.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_store_is_read_with_its_secrets_from_the_environment(tmp_path: Path) -> None:
    """Keys come from variables, never appear in a representation, and a trailing slash is dropped."""
    store = read_stores(write(tmp_path, GOOD), environment=ENVIRONMENT)["atelier-nord"]
    assert store.consumer_key.get_secret_value() == "ck_very_private"
    assert "very_private" not in repr(store)
    assert store.url == "https://atelier-nord.example/shop"
    assert store.sweep == "0 3 * * *"
    assert store.images == "primary"


def test_thresholds_of_a_store_lie_over_those_of_the_settings(tmp_path: Path) -> None:
    """``quality:`` overrides one threshold and leaves the others as FASHION_QUALITY__* set them."""
    path = write(tmp_path, GOOD + "    quality: {min_file_bytes: 20000}\n")
    quality = Quality.model_validate({"min_side_px": 300})
    store = read_stores(path, environment=ENVIRONMENT, quality=quality)["atelier-nord"]
    assert (store.quality.min_file_bytes, store.quality.min_side_px) == (20_000, 300)


def mistake(path: Path) -> str:
    """Read a stores.yaml with one mistake; return its message, whether it concerns one store or the whole file."""
    try:
        (error,) = read_stores(path, environment=ENVIRONMENT).misconfigured.values()
    except StoresFileError as of_the_file:
        error = of_the_file
    return str(error)


@pytest.mark.parametrize(
    ("settings", "quality", "gate"),
    [
        ({}, "", "edges"),
        ({"min_side_px": 300}, "{min_side_px: 200}", "edges"),
        ({}, "{min_sharpness: 50}", "classic"),
        ({"min_file_bytes": 20_000}, "", "classic"),
        ({"min_file_bytes": 20_000}, "{gate: edges}", "edges"),
        ({"gate": "edges"}, "{min_file_bytes: 20000}", "edges"),
        ({"gate": "classic"}, "{min_side_px: 300}", "classic"),
    ],
)
def test_the_gate_of_a_store(tmp_path: Path, settings: dict[str, Any], quality: str, gate: str) -> None:
    """A store's gate is its own, else that of the settings, else classic where a classic threshold is set."""
    path = write(tmp_path, GOOD + (f"    quality: {quality}\n" if quality else ""))
    stores = read_stores(path, environment=ENVIRONMENT, quality=Quality.model_validate(settings))
    assert stores["atelier-nord"].quality.gate == gate


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is empty"),
        ("shops: []\n", 1, "needs a key 'stores:'"),
        ("stores: []\nshops: []\n", 2, "unknown key 'shops'"),
        ("stores: 3\n", 1, "must be a list"),
        ("stores:\n  - atelier\n", 2, "must be a mapping"),
        ("stores:\n  - id: [\n", 3, "is not YAML"),
        (GOOD + GOOD.removeprefix("stores:\n"), 6, "already used"),
        (GOOD.replace("${NORD_KEY}", "ck_0123"), 4, "must be the name of an environment variable"),
        (GOOD.replace("${NORD_KEY}", "${NORD_KEZ}"), 4, "NORD_KEZ, which is not set"),
        (GOOD.replace("https://", "ftp://"), 3, "must look like https://"),
        (GOOD.replace(".example", ".example:99999"), 3, "must look like https://"),
        (GOOD.replace("atelier-nord.ex", "atelier nord.ex"), 3, "must look like https://"),
        (GOOD.replace("/shop/", "/wp-json/wc/v3"), 3, "front page, without /wp-json"),
        (GOOD.replace("https://atelier-nord.example/shop/", "{{ shop_url }}"), 3, "in quotes"),
        (GOOD.replace("https://atelier-nord.example/shop/", "!secret x"), 3, "in quotes"),
        (GOOD.replace("id: atelier-nord", "id: 2024-13-45"), 2, "in quotes"),
        (GOOD + "    ? [a list]\n    : 1\n", 6, "must be a word"),
        (GOOD + "    quality: 3\n", 6, "quality"),
        ("? [stores]\n: 1\n", 1, "needs a key 'stores:'"),
        ("stores: []\n? [a list]\n: 1\n", 2, "unknown key"),
        ("[" * 5_000, 1, "is not YAML"),
        (GOOD.replace("https://", "https://user:pw@"), 3, "must not hold a user"),
        (GOOD.replace("atelier-nord\n", "Atelier Nord\n"), 2, "lower-case letters, digits and dashes"),
        (GOOD + "    sweep: every day\n", 6, "is not a cron expression"),
        (GOOD + "    sweep: '61 3 * * *'\n", 6, "is not a cron expression"),
        (GOOD + "    sweep: '0 3 ? * 1#2'\n", 6, "is not a cron expression"),
        (GOOD + "    sweep: '0 3 31 2 *'\n", 6, "is not a cron expression"),
        (GOOD + "    sweep: 'R 3 * * *'\n", 6, "is not a cron expression"),
        (GOOD + "    currency: euro\n", 6, "three capital letters"),
        (GOOD + "    colour: red\n", 6, "unknown key 'colour'; known keys: id, url"),
        (GOOD.replace("url:", "ulr:"), 3, "unknown key 'ulr'; known keys: id, url"),
        (GOOD + "    quality: {min_side: 3}\n", 6, "unknown key 'quality.min_side'; known keys: gate, min_side_px"),
        (GOOD + "    quality: {min_side_px: -3}\n", 6, "quality.min_side_px"),
        (GOOD + "    images: some\n", 6, "images"),
        (GOOD + "    url: https://other.example\n", 6, "appears twice"),
        (GOOD + "    ca_file: nowhere.pem\n", 6, "there is no file"),
        (GOOD.replace("    url: https://atelier-nord.example/shop/\n", ""), 2, "the key 'url' is missing"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """Whatever is wrong in stores.yaml, the message is one line that starts with file:line."""
    path = write(tmp_path, text)
    message = mistake(path)
    assert message.startswith(f"{path}:{line}: "), message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", [GOOD.replace("${NORD_KEY}", "ck_very_private"), GOOD.replace("https", "ck_very_private")]
)
def test_no_message_repeats_a_value_that_may_be_a_secret(tmp_path: Path, text: str) -> None:
    """A literal secret is refused without being shown again."""
    assert "very_private" not in mistake(write(tmp_path, text))


def test_a_mistake_costs_its_own_store_only(tmp_path: Path) -> None:
    """The other stores are read; the faulty one is named with its error, and asking for it raises that error."""
    text = (
        GOOD
        + GOOD.removeprefix("stores:\n").replace("atelier-nord", "unset").replace("NORD_KEY", "UNSET_KEY")
        + GOOD.removeprefix("stores:\n").replace("    url:", "    ulr:").replace("atelier-nord", "misspelt")
        + GOOD.removeprefix("stores:\n")
    )
    stores = read_stores(write(tmp_path, text), environment=ENVIRONMENT)
    assert list(stores) == ["atelier-nord"]
    unset, misspelt, double = stores.misconfigured
    assert (unset, misspelt, double.startswith("line ")) == ("unset", "misspelt", True)
    with pytest.raises(StoresFileError, match="UNSET_KEY, which is not set"):
        stores.require("unset")
    assert "is already used by a store above" in str(stores.misconfigured[double])


def test_what_means_the_same_is_the_same(tmp_path: Path) -> None:
    """Spaces in a cron expression, an empty query, and a mapping of which every line is a comment make no difference."""
    text = (
        GOOD.replace("/shop/", "/shop/?") + "    sweep: '0  3\t* * mon-FRI'\n    quality:\n      # min_side_px: 300\n"
    )
    store = read_stores(write(tmp_path, text), environment=ENVIRONMENT)["atelier-nord"]
    assert (store.url, store.sweep) == ("https://atelier-nord.example/shop", "0 3 * * mon-FRI")
    assert store.quality == Quality.model_validate({})


@pytest.mark.parametrize("read", [Settings.read, lambda: read_stores(Path("stores.yaml"))])
def test_a_dotenv_that_is_not_utf8_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[], object]
) -> None:
    """A sentence with the file's name, and without what it holds."""
    monkeypatch.chdir(write(tmp_path, GOOD).parent)
    (tmp_path / ".env").write_bytes("NORD_KEY=sch\xf6n\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env: cannot be read \(byte 12 is not UTF-8\)") as caught:
        read()
    assert "sch" not in str(caught.value)


def test_a_missing_file_says_how_to_name_another(tmp_path: Path) -> None:
    """No stores.yaml is a sentence, not a traceback."""
    with pytest.raises(StoresFileError, match="FASHION_STORES"):
        read_stores(tmp_path / "stores.yaml")


def test_a_dotenv_beside_the_file_counts_as_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables may lie in .env; the process's own environment wins over it."""
    (tmp_path / ".env").write_text("NORD_KEY=from_file\nNORD_SECRET=from_file\n")
    monkeypatch.setenv("NORD_SECRET", "from_process")
    store = read_stores(write(tmp_path, GOOD))["atelier-nord"]
    assert store.consumer_key.get_secret_value() == "from_file"
    assert store.consumer_secret.get_secret_value() == "from_process"


def test_a_relative_home_lies_beside_the_stores_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a command is started does not decide where the data lies."""
    monkeypatch.setenv("FASHION_STORES", str(tmp_path / "conf" / "stores.yaml"))
    monkeypatch.setenv("FASHION_HOME", "data")
    assert Settings.read().home_path == str(tmp_path / "conf" / "data")
    monkeypatch.setenv("FASHION_HOME", "s3://bucket/prefix/")
    assert Settings.read().home_path == "s3://bucket/prefix"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASHION_BATCH_SIZE", "0"),
        ("FASHION_BATCH_SIZE", "many"),
        ("FASHION_PRECISION", "fp64"),
        ("FASHION_MODEL", "marqo-fashionSigLIP"),
        ("FASHION_DEVICE", "gpu"),
        ("FASHION_CONNECTIONS_PER_HOST", "64"),
        ("FASHION_QUALITY__MIN_SIDE_PX", "wide"),
        ("FASHION_QUALITY__MIN_SIDE", "400"),
        ("FASHION_DATABSE_URL", "postgresql://localhost/fashion"),
        ("FASHION_CONNECTIONS_PER_HOSTS", "2"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A wrong setting names its variable and where the allowed values are listed."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name}: .*docs/settings\.md"):
        Settings.read()


def test_a_misspelt_variable_is_found_in_the_dotenv_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting misspelt in .env is refused with the right name, for it would otherwise change nothing in silence."""
    (tmp_path / ".env").write_text("FASHION_QDRANT_ULR=http://localhost:6333\n")
    monkeypatch.setenv("FASHION_STORES", str(tmp_path / "stores.yaml"))
    with pytest.raises(SettingsError, match="did you mean FASHION_QDRANT_URL"):
        Settings.read()


def test_the_batch_size_is_a_number_or_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms are read from the environment."""
    monkeypatch.setenv("FASHION_BATCH_SIZE", "64")
    assert Settings.read().batch_size == 64
    monkeypatch.setenv("FASHION_BATCH_SIZE", "auto")
    assert Settings.read().batch_size == "auto"


def test_an_unknown_store_lists_the_known_ones(tmp_path: Path) -> None:
    """A mistyped store id is answered with the ids there are."""
    with pytest.raises(SettingsError, match="there are: atelier-nord"):
        read_stores(write(tmp_path, GOOD), environment=ENVIRONMENT).require("atelier-sud")


@pytest.mark.parametrize(
    ("variables", "server"),
    [
        ({}, None),
        ({"QDRANT_URL": "https://q.example"}, "https://q.example"),
        ({"QDRANT_HOST": "qdrant.internal"}, "http://qdrant.internal:6333"),
        ({"QDRANT_HOST": "qdrant.internal", "QDRANT_PORT": "7333"}, "http://qdrant.internal:7333"),
        ({"QDRANT_HOST": "::1"}, "http://[::1]:6333"),
    ],
)
def test_a_host_and_a_port_name_qdrant_as_a_url_does(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], server: str | None
) -> None:
    """Local mode is used only if neither the URL nor the host is set."""
    for name, value in variables.items():
        monkeypatch.setenv(f"FASHION_{name}", value)
    assert Settings.read().qdrant_server == server


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"QDRANT_URL": "http://q:6333", "QDRANT_HOST": "q"},
            "FASHION_QDRANT_URL and FASHION_QDRANT_HOST are both set",
        ),
        (
            {"QDRANT_PORT": "6333"},
            "FASHION_QDRANT_PORT is set without FASHION_QDRANT_HOST: set FASHION_QDRANT_HOST too",
        ),
        ({"QDRANT_URL": "http://q", "QDRANT_PORT": "1"}, "put the port into that URL"),
        ({"QDRANT_HOST": "http://q:6333"}, "FASHION_QDRANT_HOST: .*a URL belongs into FASHION_QDRANT_URL"),
        ({"QDRANT_HOST": "q", "QDRANT_PORT": "0"}, "FASHION_QDRANT_PORT: "),
        ({"QDRANT_COLLECTION": "a__b"}, "FASHION_QDRANT_COLLECTION: "),
    ],
)
def test_settings_that_would_be_ignored_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    """Two names of a server, a port without its host, and a name that breaks the collections' names are errors."""
    for name, value in variables.items():
        monkeypatch.setenv(f"FASHION_{name}", value)
    with pytest.raises(SettingsError, match=words):
        Settings.read()
