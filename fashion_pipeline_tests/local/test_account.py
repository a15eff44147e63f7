"""The user that the embedded PostgreSQL runs as."""

from __future__ import annotations

import os
from pathlib import Path

from fashion_pipeline.local.account import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, server_account


def test_root_lends_the_least_capability_that_lets_the_server_through(tmp_path: Path) -> None:
    """None where everybody may walk, reading past closed directories, and more only for a closed program."""
    program = tmp_path / "bin" / "postgres"
    program.parent.mkdir()
    program.touch()
    program.chmod(0o711)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account = server_account(enter=[closed], execute=program)
    if os.geteuid() != 0:
        assert account is None
        return
    assert account is not None
    assert account.uid != 0
    assert account.capability == CAP_DAC_READ_SEARCH
    program.chmod(0o700)
    closed_program = server_account(enter=[], execute=program)
    assert closed_program is not None
    assert closed_program.capability == CAP_DAC_OVERRIDE
