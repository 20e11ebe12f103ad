# SPDX-License-Identifier: Apache-2.0
"""The cache of a trace directory: quicker, and never another answer."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.unit.recorder import SECOND, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark
from ws_audit.model import SEVERITIES
from ws_audit.review.databases import columns, parts, shelf
from ws_audit.review.segments import lines, read, shapes

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = [f"{number:032x}" for number in range(6)] + [""]
RULES = ["payload_vs_connection", "canary", "rebound_connection", "shared_state"]
SITES = ["app.ws:Hub.push:42", "app.ws:Hub.push:57", "app:send:1", "none", "böse\n:x:\0:'"]
GARBAGE = [b"{", b"null", b"\xff\xfe", b'{"resourceSpans":[]}', b"x" * 3000, b"", b'"\\ud800"']


@pytest.fixture(autouse=True)
def _small_stores_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_WORTH_KEEPING", 1)
    monkeypatch.setattr(shapes, "_WORTH", 1)
    monkeypatch.setattr(parts, "_SHAPES", shapes.Shapes())


def both(directory: Path) -> dict[str, Any]:
    """The review with the cache, which is that without."""
    now = START + 10**15
    expected = read.examine(directory).document(now)
    found = columns.examine(directory).document(now)
    assert found == expected
    return found


def kept(directory: Path) -> list[Path]:
    return sorted((directory / lines.CACHE).iterdir())


# --- the same answers -----------------------------------------------------------------------------


class Store:
    """A trace directory as several processes write it, and as it may be afterwards."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.directory = directory
        self.chance = chance
        self.writers: list[Recorder] = []
        self.open: list[tuple[Recorder, Any]] = []

    def live(self) -> None:
        """Processes begin and write."""
        chance = self.chance
        for _ in range(chance.randrange(1, 3)):
            limits = {"segment_bytes": chance.choice([1, 5_000, 1 << 24])}
            self.writers.append(Recorder(self.directory, chance.choice(["chat", "mail"]), **limits))
        for _ in range(chance.randrange(60)):
            self.one(chance.choice(self.writers))

    def one(self, writer: Recorder) -> None:
        chance = self.chance
        day = chance.randrange(5) * 86_400
        at = chance.choice([chance.random(), chance.random() * 400_000, day])
        what = chance.random()
        if what < 0.1:
            writer.cover(final=chance.random() < 0.5, at=at, frames=9, judged=chance.randrange(9))
        elif what < 0.2:
            writer.neighbour()
        elif what < 0.3 and self.open:
            its, span = self.open.pop(chance.randrange(len(self.open)))
            outcome = chance.choice(["ok", "error", "refused"])
            its.store.write_violation(span._replace(attributes={"ws_audit.outcome": outcome}))
        elif what < 0.4:
            writer.store.sync()
        else:
            count = chance.choice([1, 1, 1, 50])
            said: dict[str, Any] = {
                "security_rule__name": chance.choice(RULES),
                "ws_audit__severity": chance.choice(SEVERITIES),
                "user__hash": chance.choice(PEOPLE),
                "ws_audit__owner__hash": chance.choice(PEOPLE),
                "ws_audit__site": chance.choice(SITES),
                "ws_audit__manager": f"app.ws:Hub{chance.choice([chance.randrange(130), 1, 1])}",
                "ws_audit__bytes": chance.choice([0, 7, 10**6, 2**63 - 1]),
            }
            if count > 1:
                said |= {"ws_audit__count": count, "ws_audit__delivered": chance.randrange(51)}
            if chance.random() < 0.1:
                said["ws_audit__synthetic"] = True
            if chance.random() < 0.2:
                span = writer._span(
                    "ws_audit.violation",
                    START + int(at * SECOND),
                    **{name.replace(".", "__"): value for name, value in said.items()},
                )
                writer.store.write_violation(span)
                self.open.append((writer, span))
            else:
                writer.leak(chance.choice(["ok", "ok", "cancelled", None]), at=at, **said)

    def suffer(self) -> None:
        """A full disk, a kill, a copy, an editor, a fault of the disk, the age limit."""
        chance = self.chance
        path = chance.choice(list(self.directory.glob("*-*.jsonl")))
        body = path.read_bytes()
        where = chance.randrange(len(body) + 1)
        what = chance.choice(["torn", "gone", "garbage", "flipped", "doubled", "copied", "moved"])
        if what == "torn":
            with path.open("rb+") as file:
                file.truncate(where)
        elif what == "gone":
            path.unlink()
        elif what == "garbage":
            with path.open("ab") as file:
                file.write(chance.choice(GARBAGE) + chance.choice([b"", b"\n"]))
        elif what == "flipped" and body:
            changed = bytearray(body)
            for _ in range(3):
                changed[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            os.utime(path, ns=(1, chance.randrange(1 << 40)))
        elif what == "doubled":
            path.write_bytes(body + body)
        elif what == "copied":
            shutil.copy(path, path.with_name(f"{path.stem}{chance.randrange(10)}.jsonl"))
        elif what == "moved":
            other = path.with_name(path.name.replace("-", "-b.", 1))
            shutil.copytree(self.directory, self.directory.with_name("copy"))
            shutil.rmtree(self.directory)
            self.directory.with_name("copy").rename(self.directory)
            (self.directory / path.name).rename(other)

    def acknowledge(self, review: dict[str, Any]) -> None:
        for incident in review["incidents"]:
            if self.chance.random() < 0.2:
                cause, _, number = incident["id"].partition("-")
                first, last = (
                    journal.nanoseconds(incident[each]) for each in ("first_seen", "last_seen")
                )
                when = first + int(self.chance.random() * (last - first + SECOND))
                journal.append(
                    self.directory,
                    [Mark(cause, int(number or 1), first, min(last, when), when, "me")],
                )


@pytest.mark.parametrize("seed", range(12))
def test_the_cache_changes_no_answer(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = Store(tmp_path / "store", chance)
    for _ in range(3):
        store.live()
        found = both(store.directory)
        for _ in range(chance.randrange(3)):
            store.suffer()
            if not any(store.directory.glob("*-*.jsonl")):
                return
        if chance.random() < 0.5:
            store.acknowledge(found)
        both(store.directory)
        both(store.directory)


def test_an_incident_ends_where_somebody_acknowledged_it(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for second in range(20):
        recorder.leak(at=second)
    (incident,) = both(tmp_path)["incidents"]
    when = START + 10 * SECOND + 1
    journal.append(tmp_path, [Mark(incident["id"], 1, START, START, when, "me")])
    found = both(tmp_path)["incidents"]
    assert sorted((it["acknowledged"], it["events"]) for it in found) == [(False, 9), (True, 11)]


def test_an_incident_ends_with_a_day_of_silence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    hour = 3_600
    for at in (0, 23 * hour, 46 * hour, 70 * hour, 93 * hour, 200 * hour):
        recorder.leak(at=at)
    assert sorted(it["events"] for it in both(tmp_path)["incidents"]) == [1, 2, 3]


def test_an_outcome_belongs_to_the_violation_before_it(tmp_path: Path) -> None:
    """Also where a span comes twice, and its outcome in another segment."""
    recorder = Recorder(tmp_path / "source")
    recorder.leak("refused")
    line, outcome = next((tmp_path / "source").glob("violations-*")).read_bytes().splitlines(True)
    store = tmp_path / "store"
    store.mkdir()
    for number, body in enumerate([line, line + outcome, outcome, outcome + line, outcome]):
        (store / f"violations-host-7-7-{number}.jsonl").write_bytes(body)
    assert [it.delivered for it in read.read(store).findings] == [1, 0, 0]
    found = both(store)
    assert [it["events"] for it in found["incidents"]] == [1]
    assert any(" 2 violations are known by their outcome" in it for it in found["problems"])


# --- what is read, and what is kept -----------------------------------------------------------


def write(directory: Path, count: int = 300) -> Recorder:
    recorder = Recorder(directory, segment_bytes=50_000)
    for second in range(count):
        recorder.leak(at=second)
        recorder.store.sync()
    recorder.cover(frames=count)
    return recorder


def reading(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What is read from now on: segment, from, to."""
    seen: list[tuple[str, int, int]] = []
    real = parts.read

    def spy(path: Path, kind: str, start: int, end: int, number: int) -> Any:
        seen.append((path.name, start, end))
        return real(path, kind, start, end, number)

    monkeypatch.setattr(parts, "read", spy)
    return seen


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = write(tmp_path)
    seen = reading(monkeypatch)
    both(tmp_path)
    assert len(seen) == len(list(tmp_path.glob("*.jsonl"))) > 8
    seen.clear()
    both(tmp_path)
    assert seen == []

    grown = max(tmp_path.glob("violations-*"), key=lambda path: path.stat().st_mtime_ns)
    size = grown.stat().st_size
    recorder.leak(at=1000)
    with grown.open("ab") as file:
        file.write(b'{"resourceSp')  # and another in the middle of being written
    assert both(tmp_path)["incidents"][0]["events"] == 301
    assert seen == [(grown.name, size, grown.stat().st_size - 12), (grown.name, *seen[1][1:])]
    assert seen[1][2] - seen[1][1] == 12
    seen.clear()
    both(tmp_path)
    assert [end - start for _, start, end in seen] == [12]


def test_what_the_age_limit_took_is_not_kept(tmp_path: Path) -> None:
    write(tmp_path)
    both(tmp_path)
    (before,) = kept(tmp_path)
    min(tmp_path.glob("violations-*"), key=lambda path: path.stat().st_mtime_ns).unlink()
    assert both(tmp_path)["incidents"][0]["events"] < 300
    (after,) = kept(tmp_path)
    assert after != before
    rows = duckdb.connect().execute("SELECT min(first_ns) FROM read_parquet(?)", [str(after)])
    assert rows.fetchall()[0][0] > START

    # And where nobody reviews any more, the agent removes it with the segments.
    store = Recorder(tmp_path, max_age_days=0.0).store
    store.sync()
    assert kept(tmp_path) == []
    assert len(list(tmp_path.glob("violations-*"))) <= 1


@pytest.mark.parametrize(
    "damage", ["cut", "bit", "another number", "empty", "other version", "named as one"]
)
def test_a_damaged_cache_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    write(tmp_path)
    both(tmp_path)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "bit":
        path.write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    elif damage == "another number":
        assert b'"frames":300' in whole
        path.write_bytes(whole.replace(b'"frames":300', b'"frames":301'))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "named as one":
        path.write_bytes(b"nothing of ours")
        path.rename(path.with_name(f"columns-{shelf.digest(path)}.parquet"))
    else:
        monkeypatch.setattr(columns, "VERSION", columns.VERSION + 1)
    seen = reading(monkeypatch)
    both(tmp_path)
    assert len(seen) == len(list(tmp_path.glob("*.jsonl")))
    seen.clear()
    both(tmp_path)
    assert seen == []
    assert len(kept(tmp_path)) == 1


def test_the_cache_is_for_those_who_may_read_the_store(tmp_path: Path) -> None:
    write(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    both(tmp_path)
    (path,) = kept(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}


def test_a_directory_that_cannot_be_written_is_cached_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    write(store)
    (store / lines.CACHE).write_text("in the way")  # root, as which tests run, may write anywhere
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    both(store)
    (folder,) = tmp_path.glob("ws-audit-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    seen = reading(monkeypatch)
    both(store)
    assert seen == []

    # A folder there that somebody else may write is not trusted.
    folder.chmod(0o777)
    both(store)
    assert len(seen) > 8


def test_many_reviews_at_once(tmp_path: Path) -> None:
    """Processes and threads, while the store grows: each is right, and none fails."""
    write(tmp_path, 100)
    code = (
        "import sys; from ws_audit.review.databases import columns; columns._WORTH_KEEPING = 1\n"
        "for _ in range(6):\n"
        "    it = columns.examine(sys.argv[1]).document(0)['incidents'][0]\n"
        "    assert 100 <= it['events'] == it['attempted'], it"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(subprocess.run, command, check=True, timeout=60) for _ in range(3)]
        recorder = Recorder(tmp_path)
        for second in range(200):
            recorder.leak(at=second)
            if second % 20 == 0:
                columns.examine(tmp_path)
        for other in others:
            other.result()
    assert both(tmp_path)["incidents"][0]["events"] == 300
    assert len(kept(tmp_path)) == 1


def test_other_processes_help_with_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 60)
    monkeypatch.setattr(columns, "_WORTH_HELP", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    steps: list[tuple[int, int]] = []
    columns.examine(tmp_path, lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    both(tmp_path)

    # Without them it is read here.
    kept(tmp_path)[0].unlink()
    monkeypatch.setattr(ProcessPoolExecutor, "submit", _broken)
    both(tmp_path)


def _broken(*asked: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(BrokenExecutor())
    return future
