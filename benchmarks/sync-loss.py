"""Measures what is lost when a shop changes between requests: by this reader, and by other request patterns.

Every example is a small shop in this process (one in a hundred is a large one, on pages of a
hundred), read several times while products are inserted, edited, trashed, deleted, scheduled,
imported and hidden. Some shops cap their pages, have no order for equal dates, or are behind a cache that
answers from the past; there, no product may return to an older state. Each pattern reads its own shop, which gets the same changes before the request
of the same number. At the end each may read once more, and is compared with the shop.

``make bench NAME=sync-loss ARGS="--examples 2000"``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from fashion_pipeline_tests.shop.synchrony.machine import (
    EXAMPLES,
    PROFILE,
    Follower,
    Synchrony,
    SynchronyOfHundreds,
)
from fashion_pipeline_tests.shop.synchrony.peers import PEERS, Peer
from fashion_pipeline_tests.shop.synchrony.world import Setting, Tally, World

DRAWN = ("with_cap", "with_cache", "with_bulk_edit", "with_ties")
"""What a shop may have been; see ``Tally``."""


class Sum:
    """The results of all examples."""

    def __init__(self) -> None:
        self.examples = 0
        self.tally = Tally()
        self.lost_by_peers: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()

    def add(self, tally: Tally, followers: list[Follower]) -> None:
        """Add one example."""
        self.examples += 1
        self.tally.changes += tally.changes
        self.tally.reads += tally.reads
        self.tally.requests += tally.requests
        self.tally.ways += tally.ways
        self.tally.lost += tally.lost
        self.tally.invented += tally.invented
        self.tally.backwards += tally.backwards
        self.drawn.update({name: int(getattr(tally, name)) for name in DRAWN})
        self.lost_by_peers.update({peer.name: len(peer.lost) for peer in followers if isinstance(peer, Peer)})
        if sys.stderr.isatty():
            print(f"\r{self.examples} examples", end="", file=sys.stderr, flush=True)


def counted(machine: type[Synchrony], total: Sum) -> type[Synchrony]:
    """Return a machine in which all patterns read the shop, and which counts instead of failing."""

    class Counted(machine):  # type: ignore[misc, valid-type]
        def follow(self, setting: Setting) -> list[Follower]:
            return [World(setting, self.tally), *(peer(setting) for peer in PEERS)]

        def nothing_is_lost_or_invented(self) -> None:
            pass

        def teardown(self) -> None:
            super().teardown()
            total.add(self.tally, self.followers)

    return Counted


def report(total: Sum) -> None:
    """Print a table for people, and one JSON object for programs as the last line."""
    ours = total.tally
    for sentence in (*ours.lost, *ours.invented, *ours.backwards):
        print(sentence)
    rows = [("this reader", len(ours.lost), "modified since the last response, sliding; a sweep by descending id")]
    rows += [(peer.name, total.lost_by_peers[peer.name], peer.sentence) for peer in PEERS]
    print(
        f"{total.examples} examples, {ours.reads} reads, {ours.requests} requests, {ours.changes} changes between them"
    )
    print(f"\n{'pattern':30}  {'lost':>6}  what it asks for")
    for name, lost, sentence in rows:
        print(f"{name:30}  {lost:6}  {sentence}")
    figures = {
        "examples": total.examples,
        "changes_between_requests": ours.changes,
        "removals": dict(sorted(ours.ways.items())),
        "lost": len(ours.lost),
        "invented": len(ours.invented),
        "backwards": len(ours.backwards),
        **{name: total.drawn[name] for name in DRAWN},
        "peers": {peer.name: {"lost": total.lost_by_peers[peer.name]} for peer in PEERS},
    }
    print(f"\n{json.dumps(figures)}")


def main() -> int:
    """Run the examples; return 1 if anything was lost or invented, or if another pattern lost nothing (too weak a test)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same examples")
    given = parser.parse_args()
    total = Sum()
    for machine, examples in ((Synchrony, given.examples), (SynchronyOfHundreds, -(-given.examples // 100))):
        profile = settings(PROFILE, max_examples=examples, phases=[Phase.generate], database=None)
        run_state_machine_as_test(seed(given.seed)(counted(machine, total)), settings=profile)
    report(total)
    silent = [peer.name for peer in PEERS if not total.lost_by_peers[peer.name]]
    for name in silent:
        print(f"{name} lost nothing: too few examples", file=sys.stderr)
    ours = total.tally
    return 1 if ours.lost or ours.invented or ours.backwards or silent else 0


if __name__ == "__main__":
    sys.exit(main())
