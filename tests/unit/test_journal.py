# SPDX-License-Identifier: Apache-2.0
"""The journal of a trace directory, and the command that writes it."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import SECOND, START, Recorder
from tests.unit.test_cli import ws_audit
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.review.segments.read import examine, review
from ws_audit.review.telling.report import text
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
ACK = Mark(ID, 1, START, START, START + SECOND, "ada", "seen")
WORDS = ("review", "ack", ID, "--by", "Ada Example", "--note", "rolled back")


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A directory with one incident."""
    Recorder(tmp_path).leak()
    return tmp_path


# --- the file -------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    opened = Mark(ID, 2, START + 1, START + 1)
    journal.append(tmp_path, [ACK, opened])
    journal.append(tmp_path, [ACK._replace(number=2, note='"\n\x1b{')])
    assert journal.read(tmp_path) == journal.Journal(
        [ACK, opened, ACK._replace(number=2, note='"\n\x1b{')], []
    )
    path = journal.path(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "version": 1,
        "time": "2026-11-23T10:00:01.000000000Z",
        "action": "ack",
        "incident": ID,
        "first_seen": "2026-11-23T10:00:00.000000000Z",
        "last_seen": "2026-11-23T10:00:00.000000000Z",
        "by": "ada",
        "note": "seen",
    }
    assert (lines[1]["action"], lines[1]["incident"]) == ("opened", f"{ID}-2")


def test_a_torn_line_costs_that_line_and_spoils_no_other(leaky: Path) -> None:
    path = journal.path(leaky)
    path.write_bytes(b'{"version":1,"ti')
    assert review(leaky, START)["problems"][-1] == (
        "journal.jsonl line 1: torn (killed or disk full in mid-write), not counted"
    )
    journal.append(leaky, [ACK])
    found = review(leaky, START)
    assert found["problems"][-1] == "journal.jsonl line 1: corrupt, not counted"
    assert found["incidents"][0]["acknowledged"] is True


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"version": 2}, "journal version '2', this one reads version 1"),
        ({"action": "un\x1back"}, "action 'un\\x1back' is not known here"),
        ({"incident": "all"}, "corrupt"),
        ({"time": "yesterday"}, "corrupt"),
        ({"by": 7}, "corrupt"),
        ({"action": "export", "time": None}, "corrupt"),
        ({"last_seen": None}, "corrupt"),
    ],
)
def test_lines_of_others_are_named_and_close_nothing(
    leaky: Path, changed: dict[str, object], problem: str
) -> None:
    journal.append(leaky, [ACK])
    path = journal.path(leaky)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}) + "\n[]\n")
    found = review(leaky, START)
    assert found["incidents"][0]["acknowledged"] is False
    expected = [f"journal.jsonl line 1: {problem}, not counted"]
    expected.append("journal.jsonl line 2: corrupt, not counted")
    assert found["problems"][-2:] == expected


def test_a_journal_that_is_no_file_keeps_nobody_waiting(leaky: Path) -> None:
    os.mkfifo(journal.path(leaky))
    found = journal.read(leaky)
    assert found == journal.Journal(
        [], ["journal.jsonl: cannot be read: not a regular file"], readable=False
    )
    assert cli.main([*WORDS, "--source", str(leaky)]) == 2


# --- the command ----------------------------------------------------------------------------


def test_acknowledged_by_whom_when_and_why(leaky: Path) -> None:
    done = ws_audit(*WORDS, "--source", str(leaky))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{ID} acknowledged 20")
    assert done.stdout.endswith(" by Ada Example: rolled back\nnot acknowledged: none\n")
    reviewed = ws_audit("review", str(leaky))
    assert reviewed.returncode == 0  # nothing that nobody knows of
    assert reviewed.stdout.startswith("NOTHING OPEN: 1 incident: 1 confirmed, all of them ack")
    assert "confirmed, over, acknowledged" in reviewed.stdout
    assert " by Ada Example: rolled back\n" in reviewed.stdout
    assert "To close one" not in reviewed.stdout


def test_twice_is_no_error_and_writes_nothing(leaky: Path) -> None:
    assert ws_audit(*WORDS, "--source", str(leaky)).returncode == 0
    before = journal.path(leaky).read_bytes()
    words = ("review", "ack", ID, "--by", "Eve", "--note", "me, too", "--source", str(leaky))
    done = ws_audit(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{ID} was acknowledged 20" in done.stdout
    assert "by Ada Example: rolled back; nothing is written" in done.stdout
    assert journal.path(leaky).read_bytes() == before


def test_an_unknown_incident_is_answered_with_those_there_are(leaky: Path) -> None:
    done = ws_audit("review", "ack", "0123", "--by", "a", "--note", "b", "--source", str(leaky))
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no incident '0123'" in done.stderr
    assert f"not acknowledged: 1\n  {ID}  confirmed  payload_vs_connection" in done.stderr
    assert not journal.path(leaky).exists()


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["--note", "x"], "--by"),
        (["--by", "x"], "--note"),
        (["--by", " ", "--note", "x"], "it is empty"),
        (["--by", "x", "--note", "x" * 4001], "4,001 characters, at most 4,000"),
    ],
)
def test_who_and_why_are_asked_for(leaky: Path, words: list[str], missing: str) -> None:
    done = ws_audit("review", "ack", ID, *words, "--source", str(leaky))
    assert (done.returncode, done.stdout) == (2, "")
    assert missing in done.stderr
    assert not journal.path(leaky).exists()


def test_the_directory_is_the_settings_and_said(leaky: Path) -> None:
    done = ws_audit(*WORDS, WS_AUDIT_TRACE_DIR=str(leaky))
    assert done.returncode == 0
    assert f"{leaky} (environment variable WS_AUDIT_TRACE_DIR)" in done.stderr
    config = leaky / "c.toml"
    config.write_text('trace_dir = "nowhere"\n')
    done = ws_audit(*WORDS, WS_AUDIT_TRACE_DIR="", WS_AUDIT_CONFIG=str(config))
    assert done.returncode == 2
    assert "nowhere: No such file or directory; expected a trace directory" in done.stderr
    done = ws_audit(*WORDS, WS_AUDIT_TRACE_DIR="")
    assert done.returncode == 2
    assert "no trace directory; give --source DIR, or set WS_AUDIT_TRACE_DIR" in done.stderr
    config.write_text("trace_dri = 1\n")
    done = ws_audit(*WORDS, WS_AUDIT_TRACE_DIR="", WS_AUDIT_CONFIG=str(config))
    assert done.returncode == 2
    assert "trace_dri" in done.stderr


def test_a_directory_called_ack_is_reviewed_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ack").mkdir()
    Recorder(tmp_path / "ack").leak()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["review", "./ack"]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_journal_begun_by_root_is_the_directorys_owners(leaky: Path) -> None:
    """`sudo ws-audit review ack`: the agent, which is not root, must be able to read it."""
    os.chown(leaky, 65534, 65534)
    assert cli.main([*WORDS, "--source", str(leaky)]) == 0
    status = journal.path(leaky).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65534, 0o600)


def test_a_note_never_steers_the_terminal(leaky: Path) -> None:
    journal.append(leaky, [ACK._replace(by="a\x1b[2J", note="\u202eb\nLEAK")])
    found = examine(leaky)
    report = text(found.document(START), found.acks)
    assert not [it for it in report if not it.isprintable() and it != "\n"]
    assert "by a\\x1b[2J: \\u202eb\\nLEAK\n" in report
