# SPDX-License-Identifier: Apache-2.0
"""However a program ends: as it does without the agent, and with everything written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes.scene import Played, agrees, play

if TYPE_CHECKING:
    from pathlib import Path


def bare(folder: Path, how: str) -> Played:
    """The same program without the agent."""
    folder.mkdir()
    return play(folder, "ending", how, code=None, WS_AUDIT_ENABLED="0")


def own_words(played: Played) -> list[str]:
    """What the application itself wrote to stderr, but for the agent's frames in a traceback."""
    return [
        line
        for line in played.err.splitlines()
        if not line.startswith(("{", "ws-audit: ", "  ", "    "))
    ]


@pytest.mark.parametrize(
    ("how", "code"),
    [("nothing", 0), ("exception", 1), ("exit_in_a_handler", 7)],
)
def test_in_order(tmp_path: Path, how: str, code: int) -> None:
    played = play(tmp_path, "ending", how, code=code)
    agrees(played)
    without = bare(tmp_path / "bare", how)
    assert (without.code, own_words(without)) == (code, own_words(played))


def test_at_once(tmp_path: Path) -> None:
    played = play(tmp_path, "ending", "os_exit", code=5)
    agrees(played, covered=False)


def test_with_daemon_threads_still_sending(tmp_path: Path) -> None:
    played = play(tmp_path, "ending", "daemons")
    missing = played.leaked() - played.stored(played.pid)
    # Such a thread stops between any two instructions: also after its frame and before the next
    # line of the wire, but never between a frame and what the agent wrote before it.
    assert not missing
    assert sum((played.stored(played.pid) - played.leaked()).values()) <= 4
    assert own_words(played) == own_words(bare(tmp_path / "bare", "daemons")) == []


def test_exit_handlers_on_both_sides_of_ours(tmp_path: Path) -> None:
    played = play(tmp_path, "ending", "exit_handlers")
    agrees(played, covered=False)
    # The last of them sends after the agent's last words.
    assert len(played.frames) == 90
    assert played.covered(played.pid) == 70
