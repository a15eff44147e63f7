from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from fashion_pipeline.cli.init import KEY_VARIABLES, STORE_ID, env_example, next_steps, stores_yaml, write_starter
from fashion_pipeline.errors import SettingsError, StoresFileError
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Quality
from fashion_pipeline.stores import Store as StoreModel
from fashion_pipeline.stores_file import read_stores

KEYS = dict.fromkeys(KEY_VARIABLES, "filled in")


def uncommented(text: str) -> str:
    """Return a text with every commented setting made a setting."""
    return re.sub(r"^( *)# ?( *)(?=[A-Za-z_]+[:=])", r"\1\2", text, flags=re.MULTILINE)


def test_what_is_written_is_read_once_the_keys_are_set(tmp_path: Path) -> None:
    """The first stores.yaml is valid as it is, and keeps every default."""
    stores, _ = write_starter(tmp_path)
    store = read_stores(stores, environment=KEYS)[STORE_ID]
    optional = {name for name, field in StoreModel.model_fields.items() if not field.is_required()}
    assert not optional & store.model_fields_set - {"quality"}
    assert store.quality == Quality.model_validate({})


def test_a_key_not_yet_filled_in_is_named(tmp_path: Path) -> None:
    """Between ``cp .env.example .env`` and the key, the message says which variable is missing, and where."""
    stores, env = write_starter(tmp_path)
    (tmp_path / ".env").write_text(env.read_text("utf-8"), "utf-8")
    with pytest.raises(
        StoresFileError, match=rf"{KEY_VARIABLES[0]}, which is not set; export it, or put it into .*\.env"
    ):
        read_stores(stores).require(STORE_ID)


def test_every_key_of_a_store_stands_there_and_is_valid_without_its_comment_sign(tmp_path: Path) -> None:
    """Removing the comment sign of any line gives a stores.yaml that is read, and no key is missing."""
    text = uncommented(stores_yaml())
    [entry] = yaml.safe_load(text)["stores"]
    assert set(entry) == set(StoreModel.model_fields)
    assert set(entry["quality"]) == set(Quality.model_fields)
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "my-shop.pem").touch()
    (tmp_path / "stores.yaml").write_text(text, "utf-8")
    store = read_stores(tmp_path / "stores.yaml", environment=KEYS)[STORE_ID]
    assert store.model_fields_set == set(StoreModel.model_fields)


def test_every_setting_stands_in_the_example_and_may_be_uncommented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The .env.example names every variable, the nested ones too, with a value that is accepted.

    Qdrant's host and port stand in place of its URL: all three at once are refused.
    """
    (tmp_path / ".env").write_text(uncommented(env_example()), "utf-8")
    values = dotenv_values(tmp_path / ".env")
    lines = uncommented(env_example()).splitlines()
    (tmp_path / ".env").write_text("\n".join(line for line in lines if "FASHION_QDRANT_URL=" not in line), "utf-8")
    plain = {f"FASHION_{name.upper()}" for name in Settings.model_fields if name != "quality"}
    nested = {f"FASHION_QUALITY__{name.upper()}" for name in Quality.model_fields}
    assert set(values) == plain | nested | set(KEY_VARIABLES)
    for name in values:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FASHION_STORES", str(tmp_path / "stores.yaml"))
    settings = Settings.read()
    assert settings.contact == values["FASHION_CONTACT"]
    assert settings.quality == Quality.model_validate({})


@pytest.mark.parametrize("name", ["stores.yaml", ".env.example"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    """Where one of the files exists, neither is written, and the message names it."""
    (tmp_path / name).write_text("mine", "utf-8")
    with pytest.raises(SettingsError, match=f"{re.escape(name)}: already exists and was not overwritten"):
        write_starter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text("utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A folder below a file is refused with a message that names the option."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be written .*--folder"):
        write_starter(tmp_path / "file" / "folder")


def test_the_next_steps_work_from_where_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder is entered before the commands that need it; the present one is not."""
    assert f"cd {tmp_path} && fashion-pipeline doctor {STORE_ID}" in next_steps(tmp_path)[-2]
    assert f"cd {tmp_path} && fashion-pipeline ingest {STORE_ID}" in next_steps(tmp_path)[-1]
    monkeypatch.chdir(tmp_path)
    assert not any("cd " in step for step in next_steps(Path()))


def test_init_writes_once_and_then_refuses(tmp_path: Path) -> None:
    """The command prints four steps and exits with 0; again, it exits with 2."""
    command = [sys.executable, "-m", "fashion_pipeline.cli", "init", "--folder", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert [line[:2] for line in first.stdout.splitlines()[-4:]] == ["1.", "2.", "3.", "4."]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "not overwritten" in again.stderr
