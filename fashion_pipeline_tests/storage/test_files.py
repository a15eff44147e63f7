"""Atomic writes, locks between processes, and digests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fashion_pipeline.errors import LockTimeout, SettingsError, StorageError
from fashion_pipeline.storage.files import digest, file_lock, make_directory, put
from fashion_pipeline.storage.home import Home


def test_a_full_disk_is_named_with_the_bytes_needed(tmp_path: Path) -> None:
    """A write that does not fit fails with the bytes it needed, and leaves the old file alone."""
    home = Home(tmp_path)
    path = home.root / "file"
    put(path, b"old")
    limited = (
        "import resource, signal, sys; from fashion_pipeline.storage.files import put; from fashion_pipeline.storage.home import Home; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "put(Home(sys.argv[1]).root / 'file', b'x' * 5000)"
    )
    ran = subprocess.run([sys.executable, "-c", limited, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "StorageFull" in ran.stderr
    assert "no space left for 5,000 bytes" in ran.stderr
    assert path.read_bytes() == b"old"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file"]


def test_a_lock_waits_and_then_says_who_holds_what(tmp_path: Path) -> None:
    """A second holder waits for its timeout; shared holders do not exclude each other."""
    path = tmp_path / "a.lock"
    with (
        file_lock(path, timeout_s=0, what="the demo", shared=True),
        file_lock(path, timeout_s=0, what="the demo", shared=True),
        pytest.raises(LockTimeout, match="the demo is held by another process"),
        file_lock(path, timeout_s=0, what="the demo"),
    ):
        pytest.fail("an exclusive lock was given beside a shared one")
    with file_lock(path, timeout_s=0, what="the demo"):
        pass


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the home should be is a sentence, for directories and for files below it."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(SettingsError, match="FASHION_HOME"):
        make_directory(tmp_path / "home" / "dagster")
    with pytest.raises(StorageError, match="FASHION_HOME"):
        put(Home(tmp_path / "home").root / "home.json", b"{}")


def test_a_digest_ignores_order_and_nothing_else() -> None:
    """Equal sets of pairs have equal digests."""
    assert digest([("a", "1"), ("b", "2")]) == digest({"b": "2", "a": "1"})
    assert digest([("a", "1")]) != digest([("a", "2")])
