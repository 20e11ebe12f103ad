# SPDX-License-Identifier: Apache-2.0
"""A person looked up by the id that the application has for them."""

from __future__ import annotations

import io
import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import SECOND, START, Recorder
from tests.unit.test_cli import ws_audit
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.model import Span
from ws_audit.outputs.store import hash_key
from ws_audit.principals.identity import Hasher
from ws_audit.review.segments import read
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
KEY = "k" * 40


def hashed(user: str, tenant: str | None = None, key: str = KEY) -> str:
    """The keyed hash as the contract has it."""
    text = json.dumps([tenant, user], separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode(), digest_size=16, key=key.encode()).hexdigest()


def used(directory: Path, key: str) -> Recorder:
    """Somebody who writes into a directory, and says which key they do it with."""
    recorder = Recorder(directory)
    its_id = Hasher(key).id
    told: dict[str, str | int | bool | float] = {"ws_audit.hash_key.id": its_id}
    span = Span("ws_audit.process", 1, int(its_id, 16), 0, START, START, told)
    recorder.store.write_coverage(span)
    return recorder


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """17 saw something of a user of the tenant acme, then twice the other way round."""
    directory = tmp_path / "traces"
    recorder = used(directory, KEY)
    (directory / "hash.key").write_text(KEY + "\n")
    recorder.leak(user__hash=hashed("17"), ws_audit__owner__hash=hashed("ada", "acme"))
    for at in (2, 3):
        recorder.leak(
            at=at, user__hash=hashed("ada", "acme"), ws_audit__owner__hash=hashed("17"),
            security_rule__name="canary",
        )  # fmt: skip
    recorder.leak("refused", at=4, user__hash=hashed("18"), ws_audit__owner__hash=hashed("ada"))
    recorder.cover(frames=9, judged=9)
    recorder.store.close()
    monkeypatch.delenv("WS_AUDIT_HASH_KEY", raising=False)
    return directory


def who(
    capsys: pytest.CaptureFixture[str], directory: Path, user: str, *words: str
) -> dict[str, Any]:
    """What the command says of a person."""
    line = ["review", "who", user, "--by=Eve", "--source", str(directory), "--format=json", *words]
    capsys.readouterr()
    assert cli.main(line) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_both_roles_with_their_counts_and_times(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = who(capsys, traces, "0017")  # a number is a number
    assert found["hashes"] == [{"hash": hashed("17"), "tenant": False}]
    assert found["processes"] == {"same": 1, "other": 0, "untold": 1}
    assert found["recipient"] == {
        "events": 1,
        "others": 1,
        "first_seen": "2026-11-23T10:00:00.000000000Z",
        "last_seen": "2026-11-23T10:00:00.000000000Z",
        "incidents": [
            {
                "id": ID,
                "rule": "payload_vs_connection",
                "severity": "confirmed",
                "acknowledged": False,
                "events": 1,
                "first_seen": "2026-11-23T10:00:00.000000000Z",
                "last_seen": "2026-11-23T10:00:00.000000000Z",
            }
        ],
    }
    assert found["owner"]["events"] == 2
    assert found["owner"]["first_seen"] == "2026-11-23T10:00:02.000000000Z"
    assert found["owner"]["last_seen"] == "2026-11-23T10:00:03.000000000Z"
    assert who(capsys, traces, "18")["recipient"]["events"] == 0  # attempted, not delivered


def test_a_tenant_s_person_goes_by_two_hashes(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = who(capsys, traces, "ada", "--tenant", "acme")
    assert found["hashes"] == [
        {"hash": hashed("ada", "acme"), "tenant": True},
        {"hash": hashed("ada"), "tenant": False},
    ]
    assert (found["owner"]["events"], found["owner"]["others"]) == (1, 2)
    assert found["recipient"]["events"] == 2
    assert who(capsys, traces, "ada")["recipient"]["incidents"] == []


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        ("{0000AAAA00000000000000000000BBBB}", "0000aaaa-0000-0000-0000-00000000bbbb"),
        ("auth0|Ab", "auth0|Ab"),
        ("é<b>", "é<b>"),
    ],
)
def test_the_hash_is_the_agent_s(
    traces: Path, capsys: pytest.CaptureFixture[str], typed: str, canonical: str
) -> None:
    assert who(capsys, traces, typed)["hashes"][0]["hash"] == hashed(canonical)


def test_the_key_of_the_environment_comes_first(
    traces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "ü" * 40  # more than 64 bytes
    used(traces, key).store.close()
    monkeypatch.setenv("WS_AUDIT_HASH_KEY", key)
    found = who(capsys, traces, "17")
    expected = blake2b(b'[null,"17"]', digest_size=16, key=blake2b(key.encode()).digest())
    assert found["hashes"][0]["hash"] == expected.hexdigest()
    assert found["keys"] == [{"from": "WS_AUDIT_HASH_KEY", "id": Hasher(key).id}]
    assert found["processes"]["other"] == 1


def test_a_look_up_is_journalled_and_names_nobody(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ack = Mark(ID, 1, START, START + 5 * SECOND, START + 5 * SECOND, "ada", "seen")
    journal.append(traces, [ack])
    before = journal.about(traces, ID)
    found = who(capsys, traces, "user-4711", "--note=ticket 12")
    text = journal.path(traces).read_text()
    assert "4711" not in text
    entry = json.loads(text.splitlines()[-1])
    assert entry.pop("time") > "2026-11-23"
    assert entry == {
        "version": 1,
        "action": "who",
        "by": "Eve",
        "note": "ticket 12",
        "hashes": [found["hashes"][0]["hash"]],
    }
    # It is about no incident: nothing reads it as one, and no export takes it along.
    assert journal.read(traces) == journal.Journal([ack], [])
    assert journal.about(traces, ID) == before
    assert found["problems"] == []


def test_a_journal_that_cannot_be_written_gives_no_answer(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.path(traces).mkdir()
    assert cli.main(["review", "who", "17", "--by=Eve", "--source", str(traces)]) == 2
    said = capsys.readouterr()
    assert "so nothing is told" in said.err
    assert hashed("17") not in said.out + said.err


def test_no_key_is_said_and_none_is_made(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = traces / "hash.key"
    for content in (None, "short", b"\xff" * 40):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content.encode() if isinstance(content, str) else content)
        assert cli.main(["review", "who", "17", "--by=Eve", "--source", str(traces)]) == 2
        said = capsys.readouterr().err
        assert str(key) in said
        assert "WS_AUDIT_HASH_KEY" in said
        assert key.exists() == (content is not None)
    assert not journal.path(traces).exists()


def test_a_wrong_key_finds_nobody_and_says_why(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    recorder = used(other, KEY)
    # All processes have told, and none used the key that is there now.
    for path in other.glob("coverage-*"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[1])
    recorder.leak(user__hash=hashed("17"))
    right = Hasher(KEY).id
    hash_key(other)
    assert cli.main(["review", "who", "17", "--by=Eve", "--source", str(other)]) == 2
    said = capsys.readouterr().err
    assert f"used another ({right})" in said
    assert "nobody would be found" in said

    # Records of versions that did not tell: it may be the wrong one.
    for path in other.glob("coverage-*"):
        path.unlink()
    assert cli.main(["review", "who", "17", "--by=Eve", "--source", str(other)]) == 0
    assert "WITH THIS KEY, WHICH MAY BE THE WRONG ONE" in capsys.readouterr().out


@pytest.mark.parametrize("user", ["", "guest", "None", "x" * 257])
def test_whom_the_agent_takes_for_nobody(
    traces: Path, capsys: pytest.CaptureFixture[str], user: str
) -> None:
    assert cli.main(["review", "who", user, "--by=Eve", "--source", str(traces)]) == 2
    assert "the agent takes this for nobody" in capsys.readouterr().err
    assert not journal.path(traces).exists()


def test_several_directories_each_with_its_key(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    recorder = used(other, "o" * 32)
    (other / "hash.key").write_text("o" * 32)
    recorder.leak(at=9, user__hash=hashed("17", key="o" * 32))
    recorder.store.close()
    found = who(capsys, traces, "17", "--source", str(other))
    assert {it["hash"] for it in found["hashes"]} == {hashed("17"), hashed("17", key="o" * 32)}
    assert found["recipient"]["events"] == 2
    assert found["recipient"]["last_seen"] == "2026-11-23T10:00:09.000000000Z"
    assert '"who"' in journal.path(other).read_text()
    assert read.examine(other).problems  # the other one is still writing


def test_text_and_standard_input(
    traces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("17\n"))
    assert cli.main(["review", "who", "-", "--by=Eve", "--source", str(traces)]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == f"hash  {hashed('17')}"
    assert "as owner (whose data it was): 2 events, 1 other person, 1 incident" in told
    assert "as recipient (whose connection it was): 1 event" in told
    assert cli.main(["review", "who", "nobody-here", "--by=Eve", "--source", str(traces)]) == 0
    assert "NOT IN ANY INCIDENT ON RECORD\n" in capsys.readouterr().out


def test_as_a_command(traces: Path) -> None:
    done = ws_audit("review", "who", "17", "--source", str(traces))
    assert done.returncode == 2
    assert "--by" in done.stderr
    done = ws_audit("review", "who", "17", "--by=Eve", WS_AUDIT_TRACE_DIR=str(traces))
    assert (done.returncode, done.stdout.split()[1]) == (0, hashed("17"))
