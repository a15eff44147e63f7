from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fashion_pipeline.read_state import INCREMENTAL, SWEEP, ReadState
from fashion_pipeline.stores import Store

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def store(**settings: Any) -> Store:
    """Return a store as stores.yaml describes it."""
    keys = {"consumer_key": "ck", "consumer_secret": "cs"}
    return Store.model_validate({"id": "atelier", "url": "https://shop.example", **keys, **settings})


def test_what_is_on_disk() -> None:
    """The keys and the form of their values stay: a home of an older version runs on."""
    state = ReadState(
        kind=SWEEP, read_at=NOW, swept_at=NOW, cursor=NOW, currency="EUR", doubt="why", restarted={"12": NOW}
    ).with_settings(store(currency="GBP"))
    assert state.to_metadata() == {
        "read": "sweep",
        "read_at": "2026-11-20T12:00:00+00:00",
        "swept_at": "2026-11-20T12:00:00+00:00",
        "cursor": "2026-11-20T12:00:00+00:00",
        "currency": "EUR",
        "store_url": "https://shop.example",
        "images": "primary",
        "currency_set": "GBP",
        "held": "",
        "doubt": "why",
        "restarted": '{"12": "2026-11-20T12:00:00+00:00"}',
    }


@pytest.mark.parametrize(
    "state",
    [
        ReadState(),
        ReadState(kind=INCREMENTAL, read_at=NOW, cursor=NOW, currency="EUR", held="why", restarted={"12": NOW}),
    ],
)
def test_a_state_survives_being_stored(state: ReadState) -> None:
    """Metadata brings back the same state, with and without dates."""
    assert ReadState.from_metadata(state.to_metadata()) == state


def test_metadata_without_keys() -> None:
    """No table, and an older one that lacks keys or has an empty cursor, is a state in which nothing is known."""
    assert ReadState.from_metadata({}) == ReadState()
    assert ReadState.from_metadata({"cursor": "", "restarted": ""}) == ReadState()


@pytest.mark.parametrize("change", [{"url": "https://other.example"}, {"images": "all"}, {"currency": "EUR"}])
def test_changed_settings(change: dict[str, Any]) -> None:
    """A change of url, images or currency in stores.yaml counts, a change of anything else does not."""
    state = ReadState(kind=SWEEP, cursor=NOW).with_settings(store())
    assert not state.settings_changed(store(accept_free=True))
    assert state.settings_changed(store(**change))
