"""The state machine that makes shopkeepers and readers act in turn, and at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fashion_pipeline.shop.rest import PER_PAGE
from fashion_pipeline_tests.shop.synchrony.changes import KINDS, PAUSES_S, Change, Floor
from fashion_pipeline_tests.shop.synchrony.world import Meanwhile, Setting, Tally, World

ORDINARY = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
IN_THE_HOUR_THAT_COMES_TWICE = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)

EXAMPLES = 1000
PROFILE = settings(max_examples=EXAMPLES, stateful_step_count=6, deadline=None, print_blob=True, derandomize=False)
"""How the tests and the benchmark run: a beginning, five reads and what settles the rest, in each example.

Every run draws other examples, on a CI server too, where Hypothesis would else draw the same ones in each shard.
"""

OFTEN = ("edit", "trash", "bulk edit", "insert", "insert dated", "insert dated", "delete", "swap", "wait")
KIND = st.sampled_from((*OFTEN, *OFTEN, *KINDS))
CHANGES = st.builds(Change, KIND, st.integers(0, 15), st.integers(0, 10))
PAUSES = st.builds(Change, st.just("wait"), value=st.integers(0, len(PAUSES_S) - 1))
BATCHES = st.lists(CHANGES, max_size=3)
MEANWHILE = st.dictionaries(st.integers(1, 9), st.lists(CHANGES, min_size=1, max_size=2), max_size=4)

SMALL = st.builds(
    Setting,
    per_page=st.sampled_from((2, 2, 3, 4)),
    products=st.integers(1, 11),
    spread_s=st.sampled_from((0, 1, 60, 86_400)),
    bulk=st.integers(3, 9),
    began_at=st.just(ORDINARY),
    zone=st.sampled_from(("Europe/Paris", "America/New_York")),
    skew_s=st.sampled_from((0, 0, 7200, -90)),
    total=st.sampled_from((True, True, False)),
    delays=st.sampled_from(((0,), (0,), (0, 3), (5, 0, 2, 1))),
)


def turn_back(setting: Setting, bulk: Change, pause_s: int, single: list[Change]) -> Setting:
    """Let a world begin in the hour that comes twice: many edits when it comes first, some when it comes again."""
    second = Change("wait", value=PAUSES_S.index(1))
    edits = [each for change in single for each in (change, second)]
    prelude = (bulk, Change("wait", value=PAUSES_S.index(pause_s)), *edits)
    return replace(setting, began_at=IN_THE_HOUR_THAT_COMES_TWICE, zone="Europe/Paris", total=True, prelude=prelude)


TURNED_BACK = st.builds(
    turn_back,
    SMALL,
    st.builds(Change, st.just("bulk edit"), st.integers(0, 15), st.integers(0, 10)),
    st.sampled_from((901, 3000)),
    st.lists(st.builds(Change, st.sampled_from(("edit", "insert")), st.integers(0, 15), st.just(9)), max_size=6),
)


HUNDREDS = st.builds(
    Setting,
    per_page=st.just(PER_PAGE),
    products=st.integers(250, 320),
    spread_s=st.sampled_from((0, 1, 60)),
    bulk=st.just(300),
    began_at=st.just(ORDINARY),
)


class Follower(Protocol):
    """Whoever reads a shop of its own."""

    floor: Floor

    def read(self, meanwhile: Meanwhile, *, sweep: bool = False, cut_before: int | None = None) -> None:
        """Read it while it changes."""
        ...

    def settle(self) -> None:
        """Read it now that it rests, and judge."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Synchrony(RuleBasedStateMachine):
    """Shops on whose pages are two to four products, and a reader.

    Attributes:
        beginnings: how worlds begin.
        tally: what became of this one.
        followers: who follows it, each on a shop of its own that changes as the others do.
    """

    beginnings = SMALL | SMALL | TURNED_BACK

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self.followers: list[Follower] = []

    def follow(self, setting: Setting) -> list[Follower]:
        """Return who follows the shop."""
        return [World(setting, self.tally)]

    @initialize(setting=st.runner().flatmap(lambda machine: machine.beginnings), meanwhile=MEANWHILE)
    def begin(self, setting: Setting, meanwhile: Meanwhile) -> None:
        """Open the shop and read it for the first time."""
        self.followers = self.follow(setting)
        self._read([], meanwhile)
        for follower in self.followers:
            for change in setting.prelude:
                follower.floor.make(change)

    @rule(before=BATCHES, pause=PAUSES, meanwhile=MEANWHILE)
    def read(self, before: list[Change], pause: Change, meanwhile: Meanwhile) -> None:
        """Change the shop, and read what changed."""
        self._read([*before, pause], meanwhile)

    @rule(place=st.integers(0, 15), value=st.integers(0, 10), pause=PAUSES, meanwhile=MEANWHILE)
    def read_after_bulk(self, place: int, value: int, pause: Change, meanwhile: Meanwhile) -> None:
        """Edit many products in one second, and read later."""
        self._read([Change("bulk edit", place, value), pause], meanwhile)

    @rule(before=BATCHES, meanwhile=MEANWHILE)
    def sweep(self, before: list[Change], meanwhile: Meanwhile) -> None:
        """Change the shop, and read everything."""
        self._read(before, meanwhile, sweep=True)

    @rule(before=BATCHES, meanwhile=MEANWHILE, cut_before=st.integers(1, 8), sweep=st.booleans())
    def be_killed(self, before: list[Change], meanwhile: Meanwhile, cut_before: int, sweep: bool) -> None:
        """Change the shop, and be killed while it is read."""
        self._read(before, meanwhile, sweep=sweep, cut_before=cut_before)

    def _read(self, before: Sequence[Change], meanwhile: Meanwhile, **how: Any) -> None:
        for follower in self.followers:
            for change in before:
                follower.floor.make(change)
            follower.read(meanwhile, **how)

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        """Fail at the first read after which the table is wrong."""
        found = [*self.tally.lost, *self.tally.invented]
        assert not found, found

    def teardown(self) -> None:
        """Let the shop rest, read it a last time, and compare."""
        try:
            if not (self.tally.lost or self.tally.invented):
                for follower in self.followers:
                    follower.settle()
        finally:
            for follower in self.followers:
                follower.close()
        self.nothing_is_lost_or_invented()


class SynchronyOfHundreds(Synchrony):
    """Shops of about 300 products, on pages of a hundred, as WooCommerce gives them."""

    beginnings = HUNDREDS
