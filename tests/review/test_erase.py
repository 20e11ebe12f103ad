# SPDX-License-Identifier: Apache-2.0
"""A person erased from a trace directory: nothing leads to them, and all else is as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import ALICE, BOB, EVE, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.review.custody import erase
from ws_audit.review.databases import columns, shelf
from ws_audit.review.segments import lines, read
from ws_audit.review.selection import EVERYTHING
from ws_audit.tools import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
NAME = "erased-ghijklmnopqrstuvwxyzghijk"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary place, all of it ours."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def traces(tmp_path: Path, elsewhere: Path) -> Path:
    """Alice, Bob and Eve in several segments and roles, and all that may lie beside those."""
    directory = tmp_path / "traces"
    recorder = Recorder(directory, segment_bytes=10_000)
    for number in range(20):
        evidence = {"ws_audit__evidence__payload__hash": BOB, "ws_audit__record": f'["{BOB}"]'}
        recorder.leak("ok" if number % 3 else "refused", at=number, **evidence)
        recorder.leak(at=number, user__hash=BOB, ws_audit__owner__hash=EVE)
        if number % 5 == 4:
            recorder.store.sync()
    recorder.leak(at=70, ws_audit__owner__hash=EVE, ws_audit__count=50, ws_audit__delivered=40)
    recorder.cover(at=80, frames=500, judged=400)
    recorder.store.close()
    (directory / "hash.key").write_text("0" * 64)
    (directory / "state-box-17.json").write_text(json.dumps({"seen": BOB}))
    (directory / "events-box-17-5-1.jsonl").write_text(f'{{"who": "{BOB}"}}\n')
    (directory / "pushed.jsonl").write_text(f'{{"incident": "{ID}", "pairs": ["{BOB}"]}}\n')
    journal.append(directory, [Mark(ID, 1, START, START, START + 1, "ada", f"told {BOB}")])
    journal.asked(directory, [BOB, EVE], "ada", "he asks", START)
    return directory


def everything(place: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a place, with its bytes."""
    for path in place.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def run(directory: Path, *words: str) -> int:
    return cli.main(["review", "erase", BOB, "--by=Eve", "--source", str(directory), *words])


def test_no_byte_of_it_is_left_and_every_count_stays(
    traces: Path, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_WORTH_KEEPING", 1)
    before = read.examine(traces).document(START)
    assert columns.examine(traces).document(START) == before
    (cache,) = (traces / lines.CACHE).iterdir()
    _, other = shelf.places(traces)
    other.mkdir(mode=0o700)
    (other / cache.name).write_bytes(cache.read_bytes())
    sizes = {path: len(body) for path, body in everything(traces)}
    ages = {path: path.stat().st_mtime for path in sizes}

    assert run(traces, "--yes", "--note=request 7") == 0

    for path, body in everything(tmp_path):
        assert BOB.encode() not in body, path
        assert path.suffix != ".parquet"
    after = read.examine(traces).document(START)
    assert columns.examine(traces).document(START) == after
    (name,) = {
        person
        for it in after["incidents"]
        for pair in it["pairs"]
        for person in (pair["recipient"], pair["owner"])
    } - {ALICE, EVE}
    assert name.startswith("erased-")
    assert name != BOB
    # The same pairs, persons, counts, times and problems, under another name. Their order may
    # be another one: of pairs alike in number the names decide.
    assert sort(after) == sort(json.loads(json.dumps(before).replace(BOB, name)))
    assert len(after["incidents"]) == 2  # the rest of the acknowledged one

    entry = journal.deeds(traces, journal.ERASE)[0]
    assert (entry["by"], entry["note"], entry["places"]) == ("Eve", "request 7", 20 * 4 + 5)
    # Who asked for a person, and why, must not tell whose the name is.
    assert name not in journal.path(traces).read_text()
    assert journal.deeds(traces, journal.WHO)[0]["hashes"][1] == EVE
    for path, size in sizes.items():
        if path.suffix == ".jsonl" and path.name != journal.FILE:
            assert path.stat().st_size == size
            assert path.stat().st_mtime == pytest.approx(ages[path], abs=0.001)
    assert run(traces) == 0  # nothing


def sort(review: dict[str, Any]) -> dict[str, Any]:
    for incident in review["incidents"]:
        incident["pairs"].sort(key=lambda pair: sorted(map(str, pair.values())))
    return review


def test_without_yes_it_is_only_shown(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(everything(traces))
    journal.exported(traces, Mark(ID, 1, START, START, START, "lea"), "f" * 64)
    before[journal.path(traces)] = journal.path(traces).read_bytes()
    (traces / "notes.txt").write_text(BOB)
    before[traces / "notes.txt"] = BOB.encode()
    assert run(traces) == 1
    said = capsys.readouterr().out
    assert dict(everything(traces)) == before
    assert "state-box-17.json: in 1 place" in said
    assert f"{traces / 'notes.txt'}: not ours" in said
    assert f"not reached: the export of {ID} that lea took on 2026-11-23" in said
    assert "Nothing is changed" in said


def test_somebody_else_s_file_is_left_and_named(
    traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (traces / "notes.txt").write_text(BOB)
    assert run(traces, "--yes") == 2
    assert f"{traces / 'notes.txt'}: the hash is still in it" in capsys.readouterr().err
    assert (traces / "notes.txt").read_text() == BOB
    assert [path for path, body in everything(traces) if BOB.encode() in body] == [
        traces / "notes.txt"
    ]


def test_two_who_are_erased_stay_two(traces: Path) -> None:
    def people() -> int:
        pairs = [pair for it in read.examine(traces).incidents for pair in it.pairs]
        return len({person for pair in pairs for person in pair})

    assert people() == 3
    for person in (BOB, EVE):
        words = ["review", "erase", person, "--by=x", "--yes", "--source", str(traces)]
        assert cli.main(words) == 0
    assert people() == 3


def test_a_directory_in_two_places_gets_one_name(traces: Path, tmp_path: Path) -> None:
    second = Recorder(tmp_path / "second")
    second.leak(at=5)
    second.store.close()
    before = read.examine([traces, tmp_path / "second"]).document(START)
    assert run(traces, "--yes", "--source", str(tmp_path / "second")) == 0
    after = read.examine([traces, tmp_path / "second"]).document(START)
    assert [len(it["pairs"]) for it in after["incidents"]] == [
        len(it["pairs"]) for it in before["incidents"]
    ]


@pytest.mark.parametrize("words", [("x" * 32,), ("b" * 31,), ("B" * 32,), (BOB, "--note", BOB)])
def test_bad_input(traces: Path, words: tuple[str, ...]) -> None:
    line = ["review", "erase", *words, "--by=x", "--yes", "--source", str(traces)]
    assert cli.main(line) == 2
    assert not journal.deeds(traces, journal.ERASE)


def test_a_journal_that_cannot_be_written_stops_it(traces: Path) -> None:
    journal.path(traces).unlink()
    journal.path(traces).mkdir()
    before = dict(everything(traces))
    assert run(traces, "--yes") == 2
    assert dict(everything(traces)) == before


# --- ends and edges ---------------------------------------------------------------------------


def test_wherever_it_stands_in_a_file(tmp_path: Path) -> None:
    """At every place about the end of a page, and about the end of what is read at once."""
    path = tmp_path / "violations-box-1-2-3.jsonl"
    for gap in (*range(4096 - 33, 4096 + 1), *((1 << 20) - it for it in (33, 32, 31, 16, 1, 0))):
        path.write_bytes(b"x" * gap + BOB.encode() + b"y" * 5000 + BOB.encode())
        assert erase.erase(tmp_path, BOB, NAME) == 2
        assert path.read_bytes() == b"x" * gap + NAME.encode() + b"y" * 5000 + NAME.encode()


def test_killed_in_the_middle_it_is_finished_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "violations-box-1-2-3.jsonl"
    real = os.pwrite
    for cut in range(1, 32):
        path.write_bytes(b"x" * (4096 - cut) + BOB.encode() + EVE.encode())
        calls: list[int] = []

        def once(descriptor: int, data: bytes, at: int, calls: list[int] = calls) -> int:
            calls.append(at)
            if len(calls) > 1:
                raise OSError("killed")
            return real(descriptor, data, at)

        monkeypatch.setattr(os, "pwrite", once)
        with pytest.raises(OSError, match="killed"):
            erase.erase(tmp_path, BOB, NAME)
        monkeypatch.setattr(os, "pwrite", real)
        assert BOB.encode() not in path.read_bytes()
        assert erase.find(tmp_path, BOB).files == {path: 1}
        again = erase.new_name()
        assert erase.erase(tmp_path, BOB, again) == 1
        assert path.read_bytes() == b"x" * (4096 - cut) + again.encode() + EVE.encode()
        assert not erase.find(tmp_path, BOB).files


WRITER = """
import sys, time
from pathlib import Path
from tests.unit.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), segment_bytes=100_000)
until = time.monotonic() + 0.7
number = 0
while time.monotonic() < until:
    recorder.leak(at=number)
    number += 1
    if number == 50:
        print("begun", flush=True)
    if not number % 50:
        recorder.store.sync()
recorder.store.sync()
print(number, flush=True)
sys.stdin.readline()
"""


def test_a_process_that_writes_is_not_disturbed(
    tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "live")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        codes = {run(tmp_path / "live", "--yes") for _ in range(3)}
        assert "is running: it may write of that person again" in capsys.readouterr().out
        number = int(writer.stdout.readline())
        assert run(tmp_path / "live", "--yes") == 0
        writer.communicate("\n")
    assert codes <= {0, 2}  # 2: it wrote again before we looked, which is said
    (incident,) = read.examine(tmp_path / "live").incidents
    assert (incident.attempted, incident.events) == (number, number)
    assert not erase.find(tmp_path / "live", BOB).files
    problems = read.examine(tmp_path / "live").problems
    assert len(problems) == 1  # no last coverage record; no line is torn or corrupt


def test_a_review_that_began_before_keeps_nothing(
    traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_WORTH_KEEPING", 1)
    reading = columns.Columns(traces, None, EVERYTHING)
    assert run(traces, "--yes") == 0
    reading.read()
    reading.close()
    assert not list((traces / lines.CACHE).glob("*"))
    columns.examine(traces)
    assert list((traces / lines.CACHE).glob("*"))
