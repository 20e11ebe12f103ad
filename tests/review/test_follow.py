# SPDX-License-Identifier: Apache-2.0
"""Looking on: what is read bit by bit adds up to what is read at once, and each change is told."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.review.test_columns import Store
from tests.unit.recorder import ALICE, BOB, EVE, SECOND, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark
from ws_audit.review.segments import read
from ws_audit.review.segments.tail import ChangedError, Tail
from ws_audit.review.selection import EVERYTHING, Selection
from ws_audit.review.telling import news, report
from ws_audit.tools import cli, follow, review

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# --- what is new ------------------------------------------------------------------------------


def added_up(stored: read.Stored) -> tuple[Any, ...]:
    """All of it, whatever the order it was read in."""
    return sorted(stored.findings), *stored[1:5], sorted(stored.problems), stored.services


@pytest.mark.parametrize("seed", range(4))
def test_bit_by_bit_is_as_at_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = Store(tmp_path / "store", chance)
    asked = chance.choice([EVERYTHING, Selection(START + 9 * SECOND, services=("chat",))])
    store.live()
    tail = Tail(store.directory, None, asked)
    tail.read()
    anew = 0
    for _ in range(8):
        for _ in range(chance.randrange(12)):
            store.one(chance.choice(store.writers))
        if chance.random() < 0.3:
            store.live()
        if chance.random() < 0.3:
            path = chance.choice(sorted(store.directory.glob("violations-*.jsonl")))
            with path.open("ab") as file:
                file.write(
                    chance.choice([b"{", b"x" * 3000, b"null\n", b"\n", b'"torn'])
                    + chance.choice([b"", b"\n"])
                )
        if chance.random() < 0.2:
            chance.choice(sorted(store.directory.glob("*.jsonl"))).unlink()
        try:
            found = tail.read()
        except ChangedError:
            anew += 1
            tail = Tail(store.directory, None, asked)
            found = tail.read()
        assert added_up(found) == added_up(read.read(store.directory, asked=asked))
    tail.read()
    assert not tail.news
    assert anew < 8


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, segment_bytes=5_000)
    for second in range(30):
        recorder.leak(at=second)
        recorder.store.sync()
    tail = Tail(tmp_path, None, EVERYTHING)
    tail.read()
    seen: list[bytes] = []
    real = Tail._line

    def spy(self: Tail, kind: str, writer: Any, line: bytes) -> None:
        seen.append(line)
        real(self, kind, writer, line)

    monkeypatch.setattr(Tail, "_line", spy)
    tail.read()
    assert seen == []
    recorder.leak("refused", at=40)
    assert tail.read().findings[-1].delivered == 0
    assert len(seen) == 2

    # Half a line is none yet, and nothing is counted twice when its end comes.
    (path,) = sorted(tmp_path.glob("violations-*"), key=lambda it: it.stat().st_mtime_ns)[-1:]
    with path.open("ab") as file:
        file.write(seen[0][:50])
        file.flush()
        assert any("torn" in it for it in tail.read().problems)
        file.write(seen[0][50:])
    stored = tail.read()
    assert len(stored.findings) == 32
    assert not any("torn" in it for it in stored.problems)


@pytest.mark.parametrize("what", ["deleted", "shorter", "another"])
def test_what_is_gone_is_not_counted_on(tmp_path: Path, what: str) -> None:
    Recorder(tmp_path).leak()
    Recorder(tmp_path).leak()
    tail = Tail(tmp_path, None, EVERYTHING)
    tail.read()
    path = next(tmp_path.glob("violations-*"))
    if what == "deleted":
        path.unlink()
    elif what == "shorter":
        path.write_bytes(path.read_bytes()[:100])
    else:
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").rename(path)
    with pytest.raises(ChangedError):
        tail.read()


# --- what is told -----------------------------------------------------------------------------


class Looking:
    """Looks at a directory as `--follow` does, at the times it is told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.watch = news.Watch()

    def at(self, second: float, *, all_of_it: bool = False) -> list[str]:
        now_ns = START + int(second * SECOND)
        found = read.examine(self.directory)
        review = found.document(now_ns)
        told = self.watch.see(review, now_ns, all_of_it=all_of_it)
        short = report.shortener([it.incident for it in told])
        return [news.line(it, found.acks, short).partition("] ")[2] for it in told]


def test_each_change_is_told_once(tmp_path: Path) -> None:
    recorder, looking = Recorder(tmp_path), Looking(tmp_path)
    assert looking.at(0) == []
    recorder.leak(ws_audit__severity="probable")
    assert looking.at(1) == [
        (
            "payload_vs_connection probable: 1 event delivered of 1 attempted, 100 bytes; "
            "bbbbbbbb -> aaaaaaaa; code app.ws:Hub.push:42; service chat"
        )
    ]
    assert looking.at(2) == []
    recorder.leak("refused", at=2, ws_audit__severity="probable", user__hash=EVE)
    assert looking.at(3) == []  # growth is held back a little
    assert looking.at(6) == [
        (
            "payload_vs_connection probable: +1; 1 event delivered of 2 attempted, 100 bytes; "
            "new bbbbbbbb -> eeeeeeee"
        )
    ]
    recorder.leak(at=6.5)
    assert looking.at(7) == [  # that it is worse is not
        "payload_vs_connection confirmed: +1; 2 events delivered of 3 attempted, 200 bytes"
    ]
    recorder.leak(at=7)
    assert looking.at(8) == []
    assert len(looking.at(8, all_of_it=True)) == 1  # nor anything at the end
    (first,) = read.examine(tmp_path).incidents
    when = START + 9 * SECOND
    journal.append(tmp_path, [Mark(first.id, 1, first.first_ns, first.last_ns, when, "Ada", "ok")])
    assert looking.at(9) == [
        "payload_vs_connection confirmed: acknowledged 2026-11-23T10:00:09.000000000Z by Ada: ok"
    ]
    for number in range(8):
        recorder.leak(at=10, user__hash=ALICE, ws_audit__owner__hash=f"{number}" * 32)
    (line,) = looking.at(11)
    assert "00000000 -> aaaaaaaa, 11111111 -> aaaaaaaa" in line
    assert "44444444 -> aaaaaaaa and 3 more; code" in line
    # What nobody wrote is news as well: it is over.
    assert looking.at(611) == [
        (
            "payload_vs_connection confirmed: not seen for 10 minutes, "
            "last 2026-11-23T10:00:07.000000000Z"
        ),
        (
            "payload_vs_connection confirmed: not seen for 10 minutes, "
            "last 2026-11-23T10:00:10.000000000Z"
        ),
    ]
    for path in tmp_path.glob("violations-*"):
        path.unlink()
    assert (
        looking.at(612)
        == ["payload_vs_connection confirmed: its records are not there any more"] * 2
    )


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--html=x.html"], "--html is written when all is told: expected one of them"),
        (["--now=2026-11-23T10:00:00Z"], "--now names another time: expected one of them"),
        (["--user=abcdef", "--since=soon"], "no time"),
    ],
)
def test_what_does_not_go_together_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert cli.main(["review", str(tmp_path), "--follow", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_what_cannot_be_followed_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["review", "clickhouse://h:1/d", "--follow"]) == 2
    assert "--follow needs trace directories" in capsys.readouterr().err
    assert cli.main(["review", str(tmp_path / "nowhere"), "--follow"]) == 2
    assert "nowhere: No such file or directory; expected" in capsys.readouterr().err
    recorder = Recorder(tmp_path)
    recorder.leak(user__hash=BOB[:30] + "aa")
    recorder.leak(user__hash=BOB)
    assert cli.main(["review", str(tmp_path), "--follow", "--user=bbbbbb"]) == 2
    assert "may be several" in capsys.readouterr().err


class Night:
    """What happens between two looks, in its order; after that somebody presses Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *happens: Callable[[], Any]) -> None:
        self._happens = iter(happens)
        monkeypatch.setattr("ws_audit.tools.follow.time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        for it in self._happens:
            it()
            return
        raise KeyboardInterrupt


def test_what_is_not_there_yet_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    Night(monkeypatch, lambda: recorder.leak(user__hash=EVE), lambda: None)
    assert cli.main(["review", str(tmp_path), "--follow", f"--user={EVE[:8]}"]) == 1
    told = capsys.readouterr()
    assert told.err == (
        "ws-audit review: no violation is about user eeeeeeee: neither their data nor their "
        "connection; waiting for it\n"
    )
    assert told.out.startswith("ONLY user eeeeeeee (0 of 1 incident)\nNOTHING JUDGED: no such")
    (line,) = [it for it in told.out.splitlines() if "NEW" in it]
    assert "payload_vs_connection confirmed: 1 event" in line
    assert "bbbbbbbb -> eeeeeeee" in line

    # Nobody pressed anything that was worth an exit code of its own.
    Night(monkeypatch)
    assert cli.main(["review", str(tmp_path), "--follow", "--severity=confirmed"]) == 1
    Night(monkeypatch)
    assert cli.main(["review", str(tmp_path), "--follow", "--rule=canary"]) == 0
    monkeypatch.setattr(Tail, "read", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["review", str(tmp_path), "--follow"]) == 130


def test_silence_is_told_with_what_it_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    monkeypatch.setattr(follow, "_QUIET_S", 0.0)
    Night(monkeypatch, lambda: recorder.cover(frames=1234, final=False), lambda: None)
    assert cli.main(["review", str(tmp_path), "--follow"]) == 0
    told = [it[21:] for it in capsys.readouterr().out.splitlines() if "nothing new" in it]
    assert "1,234 frames recorded meanwhile" in told[0]
    assert "no traffic recorded: this says nothing about leaks" in told[1]


def test_a_segment_that_is_deleted_is_no_longer_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Recorder(tmp_path).leak()
    Recorder(tmp_path).leak(ws_audit__site="app:other:1")
    path = min(tmp_path.glob("violations-*"), key=lambda it: it.stat().st_mtime_ns)
    Night(monkeypatch, path.unlink, lambda: None)
    assert cli.main(["review", str(tmp_path), "--follow", "--format=json"]) == 1
    ids = [json.loads(it)["id"] for it in capsys.readouterr().out.splitlines()]
    assert len(set(ids)) == len(ids) == 2

    recorder = Recorder(tmp_path)
    left = next(it for it in tmp_path.glob("violations-*"))
    Night(monkeypatch, left.unlink, lambda: recorder.leak(ws_audit__site="app:third:1"))
    assert cli.main(["review", str(tmp_path), "--follow"]) == 1
    told = capsys.readouterr().out
    assert "its records are not there any more" in told
    assert "NEW  [incident" in told


def test_nobody_reads_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path)
    written: list[str] = []

    def write(text: str) -> bool:
        written.append(text)
        return len(written) < 2

    monkeypatch.setattr(review, "write", write)
    Night(monkeypatch, recorder.leak, lambda: pytest.fail("it goes on"))
    assert cli.main(["review", str(tmp_path), "--follow"]) == 1
    assert len(written) == 2
