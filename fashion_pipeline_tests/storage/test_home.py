"""A home: its id, and where it may lie."""

from __future__ import annotations

import pytest

from fashion_pipeline.errors import DamagedFile, SettingsError
from fashion_pipeline.storage.home import Home


def test_local_databases_need_a_local_home() -> None:
    """An object store cannot hold a database; the message names the two settings."""
    with pytest.raises(SettingsError, match="FASHION_DATABASE_URL and FASHION_QDRANT_URL"):
        Home("memory://bucket").local("postgres")


def test_the_homes_id_is_made_once(home: Home) -> None:
    """The same home has the same id, in every process."""
    assert home.id == Home(home.root).id


@pytest.mark.parametrize("damage", ["", "[]", "{}", "id"])
def test_a_damaged_home_says_where_its_id_is_known(home: Home, damage: str) -> None:
    """A home without a readable id is not given a new one: the databases know whose they are."""
    assert home.id
    (home.root / "home.json").write_text(damage)
    with pytest.raises(DamagedFile, match="pipeline_state"):
        _ = Home(home.root).id


@pytest.mark.parametrize("url", ["s4://bucket/home", "adl://bucket/home"])
def test_an_object_store_without_its_driver_is_named(url: str) -> None:
    """A scheme that nothing here can open, for want of a package or for ever, is a sentence and not a traceback."""
    with pytest.raises(SettingsError, match=f"FASHION_HOME is {url}, and its files cannot be reached"):
        Home(url)
