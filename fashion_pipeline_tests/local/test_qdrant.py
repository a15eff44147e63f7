"""Qdrant's local mode: its lock, and damaged files."""

from __future__ import annotations

import threading

import pytest

from fashion_pipeline.errors import LockTimeout, VectorStoreError
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.storage.home import Home

pytestmark = pytest.mark.slow


def test_the_local_qdrant_lets_one_process_in_at_a_time(home: Home) -> None:
    """The second process waits for its timeout; then the message names the lock."""
    with local_qdrant(home) as client:
        assert client.get_collections().collections == []
        with pytest.raises(LockTimeout, match="local Qdrant"), local_qdrant(home, timeout_s=0):
            pass
    with local_qdrant(home, timeout_s=0):
        pass


def test_a_damaged_local_qdrant_says_what_to_do(home: Home) -> None:
    """Files that are not Qdrant's are a sentence: the vectors lie elsewhere, so the directory can go."""
    with local_qdrant(home):
        pass
    (home.local("qdrant") / "meta.json").write_text("{")
    with pytest.raises(VectorStoreError, match="move that directory away"), local_qdrant(home):
        pass


def test_a_thread_that_waits_for_the_local_qdrant_gets_it(home: Home) -> None:
    """Opening waits for the lock instead of failing as the client itself would."""
    opened = threading.Event()

    def second() -> None:
        with local_qdrant(home):
            opened.set()

    with local_qdrant(home):
        thread = threading.Thread(target=second)
        thread.start()
        assert not opened.is_set()
    thread.join()
    assert opened.is_set()
