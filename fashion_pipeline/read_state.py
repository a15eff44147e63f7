"""What a store's next read must know of its last one: the metadata of the table ``raw_products``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from fashion_pipeline.stores import Store

SWEEP, INCREMENTAL = "sweep", "incremental"


@dataclass(frozen=True, slots=True)
class ReadState:
    """How a store was last read.

    On disk each attribute is a string under its own name (``kind`` is ``read``). ``""``, None and
    an empty mapping mean "not known": a table of an older version lacks keys.

    Attributes:
        kind: ``SWEEP`` or ``INCREMENTAL``.
        read_at: when the shop was last read to the end.
        swept_at: when a sweep last ended with a complete listing and no removal held.
        cursor: where the next incremental read begins, by the shop's clock; None: a sweep is due.
        currency: ISO 4217 code of the prices in the table.
        store_url, images, currency_set: ``url``, ``images`` and ``currency`` of ``stores.yaml`` at
            that read. ``currency_set`` is ``""`` where the store sets none.
        held: why removals wait for consent since the last sweep; ``""`` where none do.
        doubt: why the last sweep's listing was not complete; ``""`` where it was.
        restarted: by external id, when an id began to name another product.
    """

    kind: str = ""
    read_at: datetime | None = None
    swept_at: datetime | None = None
    cursor: datetime | None = None
    currency: str = ""
    store_url: str = ""
    images: str = ""
    currency_set: str = ""
    held: str = ""
    doubt: str = ""
    restarted: Mapping[str, datetime] = field(default_factory=dict)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read a table's metadata.

        Raises:
            ValueError: a date is not in ISO form, or ``restarted`` is not JSON.
        """
        known: dict[str, Any] = {name: metadata.get(name, "") for name in _TEXTS}
        known |= {name: datetime.fromisoformat(metadata[name]) for name in _DATES if metadata.get(name)}
        restarted = json.loads(metadata.get("restarted") or "{}")
        known["restarted"] = {key: datetime.fromisoformat(at) for key, at in restarted.items()}
        return cls(kind=metadata.get("read", ""), **known)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata to write; a date that is not known has no key."""
        dates = {name: moment.isoformat() for name in _DATES if (moment := getattr(self, name)) is not None}
        restarted = json.dumps({key: at.isoformat() for key, at in self.restarted.items()})
        return {"read": self.kind, **{name: getattr(self, name) for name in _TEXTS}, **dates, "restarted": restarted}

    def with_settings(self, store: Store) -> Self:
        """Record the settings that an incremental read cannot apply to the products it does not see."""
        return replace(self, store_url=store.url, images=store.images, currency_set=store.currency or "")

    def settings_changed(self, store: Store) -> bool:
        """Whether one of these settings differs from the recorded one."""
        return self.with_settings(store) != self


_TEXTS = ("currency", "store_url", "images", "currency_set", "held", "doubt")
_DATES = ("read_at", "swept_at", "cursor")
