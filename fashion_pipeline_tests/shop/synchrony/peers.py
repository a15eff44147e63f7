"""How connectors that were read for comparison ask a shop, each on a shop of its own that changes likewise.

They are rebuilt from the parameters that they send, not from their code; and generously: the time
of the last read is theirs to keep, no request of theirs fails, and none of them is ever killed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from fashion_pipeline.model_shop.query import read_arguments, select
from fashion_pipeline_tests.shop.synchrony.changes import BEGINNING
from fashion_pipeline_tests.shop.synchrony.oracle import published
from fashion_pipeline_tests.shop.synchrony.world import Meanwhile, Setting

LONG_BEFORE = BEGINNING - timedelta(days=365)


class Peer(ABC):
    """Reads a shop by offsets.

    Attributes:
        name: the pattern's.
        sentence: what it asks for.
        lost: ids of products that it never got, or got outdated, although a date told of the change.
    """

    name: ClassVar[str]
    sentence: ClassVar[str]

    def __init__(self, setting: Setting) -> None:
        self.floor = setting.floor()
        self.lost: set[str] = set()
        self._per_page = setting.per_page
        self._titles: dict[str, str] = {}
        self._read_at = LONG_BEFORE
        self._meanwhile: Meanwhile = {}
        self._number = 0

    def read(self, meanwhile: Meanwhile, *, sweep: bool = False, cut_before: int | None = None) -> None:  # noqa: ARG002
        """Read the shop once more; there is no sweep."""
        self._meanwhile, self._number = meanwhile, 0
        began = self.floor.shop.clock.now()
        self.sync(self._read_at, began)
        self._read_at = began
        for number in sorted(meanwhile):
            if number > self._number:
                for change in meanwhile[number]:
                    self.floor.make(change)

    def settle(self) -> None:
        """Read twice more now that the shop rests, and compare."""
        self.read({})
        self.floor.shop.clock.advance(1)
        self.read({})
        there = published(self.floor.shop)
        excused = set(map(str, self.excused))
        self.lost = {key for key in there.keys() - excused if self._titles.get(key) != there[key].title}

    @property
    def excused(self) -> set[int]:
        """The ids that nobody could get who asks for what changed, or that may come later."""
        now = self.floor.shop.clock.now()
        ahead = {
            key for key, product in self.floor.shop.products.items() if product.modified and product.modified > now
        }
        return self.floor.undated | self.floor.hidden | ahead

    def close(self) -> None:
        """Forget what was read; nothing else is held."""
        self._titles.clear()

    @abstractmethod
    def sync(self, last: datetime, now: datetime) -> None:
        """Read what the pattern reads, given when it read last."""

    def ask(self, **arguments: Any) -> tuple[int, int]:
        """Ask for one page, after whatever changes just before; return the rows it had, and of how many pages it is."""
        self._number += 1
        for change in self._meanwhile.get(self._number, ()):
            self.floor.make(change)
        given: Mapping[str, Any] = {"per_page": self._per_page, **arguments}
        values, _ = read_arguments(given)
        found = select(self.floor.shop, values)
        first = values["offset"] if "offset" in values else (values["page"] - 1) * self._per_page
        rows = [row for row in found[first : first + self._per_page] if row.id not in self.floor.hidden]
        self._titles |= {str(row.id): row.fields["name"] for row in rows}
        return len(rows), -(-len(found) // self._per_page)

    def ask_all_pages(self, **arguments: Any) -> None:
        """Ask for page after page, as many as the answers speak of."""
        number, pages = 0, 1
        while number < pages:
            number += 1
            _, pages = self.ask(page=number, **arguments)


class ModifiedWindows(Peer):
    """The request pattern of the best-known open connector."""

    name = "modified-window-id-asc"
    sentence = "modified since the last read and before now, by ascending id, offset after offset until a page is short"

    def sync(self, last: datetime, now: datetime) -> None:
        """Read one window."""
        window = {"modified_after": _naive(last), "modified_before": _naive(now), "dates_are_gmt": "true"}
        offset, got = 0, self._per_page
        while got == self._per_page:
            got, _ = self.ask(orderby="id", order="asc", offset=offset, **window)
            offset += self._per_page


class ModifiedByDate(Peer):
    """A tap's request pattern."""

    name = "modified-date-asc-total-pages"
    sentence = "modified since the last read (UTC sent as if it were local), by ascending date of creation, all pages"

    def sync(self, last: datetime, _now: datetime) -> None:
        """Read all pages of what changed."""
        self.ask_all_pages(order="asc", modified_after=_naive(last))


class ModifiedNewestFirst(Peer):
    """What scripts around a bare client library do."""

    name = "modified-date-desc-until-empty"
    sentence = "modified since the last read, in the default order (newest first), page after page until one is empty"

    def sync(self, last: datetime, _now: datetime) -> None:
        """Read until a page is empty."""
        number, got = 0, 1
        while got:
            number += 1
            got, _ = self.ask(page=number, modified_after=_naive(last), dates_are_gmt="true")


class EverythingUntilShort(Peer):
    """A client that reads the whole shop every time."""

    name = "everything-until-short-page"
    sentence = "everything, in the default order, page after page until one is short"

    def sync(self, _last: datetime, _now: datetime) -> None:
        """Read until a page is short."""
        number, got = 0, self._per_page
        while got == self._per_page:
            number += 1
            got, _ = self.ask(page=number)

    @property
    def excused(self) -> set[int]:
        """The ids that nobody could get."""
        return self.floor.hidden


class CreatedSince(Peer):
    """A component whose increments go by the date of creation."""

    name = "created-date-desc-total-pages"
    sentence = "created since the last read, in the default order, all pages; edits are left to a full load"

    def sync(self, last: datetime, _now: datetime) -> None:
        """Read all pages of what was created."""
        self.ask_all_pages(after=_naive(last), dates_are_gmt="true")


PEERS = (ModifiedWindows, ModifiedByDate, ModifiedNewestFirst, EverythingUntilShort, CreatedSince)


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
