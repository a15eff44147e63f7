from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from fashion_pipeline_tests.shop.synchrony import oracle
from fashion_pipeline_tests.shop.synchrony.changes import PAUSES_S, Change
from fashion_pipeline_tests.shop.synchrony.machine import EXAMPLES, ORDINARY, PROFILE, Synchrony, SynchronyOfHundreds
from fashion_pipeline_tests.shop.synchrony.peers import (
    CreatedSince,
    EverythingUntilShort,
    ModifiedByDate,
    ModifiedNewestFirst,
    ModifiedWindows,
    Peer,
)
from fashion_pipeline_tests.shop.synchrony.world import Meanwhile, Setting, Tally, World

SHARDS = 8
"""So many tests share the examples, so that the processes of pytest-xdist do; each draws its own."""


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_nothing_is_lost_or_invented(shard: int) -> None:
    """Whatever a shop does between two requests: in the end the table is what the shop shows, and it never was worse."""
    run_state_machine_as_test(Synchrony, settings=settings(PROFILE, max_examples=EXAMPLES // SHARDS))


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_nothing_is_lost_or_invented_among_hundreds(shard: int) -> None:
    """So it is on pages of a hundred products, three hundred of which are edited in one second."""
    run_state_machine_as_test(SynchronyOfHundreds, settings=settings(PROFILE, max_examples=3, stateful_step_count=4))


def test_the_oracle_is_independent() -> None:
    """What a shop shows is told by code that imports nothing of the reader's."""
    tree = ast.walk(ast.parse(Path(oracle.__file__).read_text("utf-8")))
    imported = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
    assert [name for name in imported if name.startswith("fashion_pipeline")] == ["fashion_pipeline.model_shop.shop"]


def change(kind: str, place: int = 0, value: int = 0) -> Change:
    return Change(kind, place, value)


@pytest.mark.parametrize(
    ("pattern", "meanwhile"),
    [
        (ModifiedWindows, {2: [change("edit", 5)]}),
        (ModifiedByDate, {2: [change("trash", 5)]}),
        (ModifiedNewestFirst, {2: [change("trash", 0)]}),
        (EverythingUntilShort, {1: [change("hide", 3)]}),
        (CreatedSince, {9: [change("edit", 0, 9)]}),
    ],
)
def test_offsets_lose_what_we_do_not(pattern: type[Peer], meanwhile: Meanwhile) -> None:
    """One change between two requests makes each pattern of offsets lose an untouched product, or the change, for good."""
    setting = Setting(per_page=2, products=6, spread_s=60, bulk=3, began_at=ORDINARY)
    peer = pattern(setting)
    peer.read(meanwhile)
    peer.floor.make(change("wait", value=PAUSES_S.index(3000)))
    peer.settle()
    assert peer.lost
    tally = Tally()
    world = World(setting, tally)
    world.read(meanwhile)
    world.settle()
    world.close()
    assert (tally.lost, tally.invented) == ([], [])
