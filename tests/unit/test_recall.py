# SPDX-License-Identifier: Apache-2.0
"""What a process reads of others' findings: each once, none of its own, whatever state it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import SECOND, START, Recorder
from tests.unit.test_violations import leak
from ws_audit import journal
from ws_audit.incidents import Incident, Mark
from ws_audit.model import OK
from ws_audit.outputs.recall import Recall
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.outputs.violations import Violations
from ws_audit.principals.identity import Hasher
from ws_audit.review.segments.read import review
from ws_audit.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path


class Process:
    """The parts of an agent that find, write and read back."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory, resource={"service.name": "chat"})
        self.violations = Violations(
            SpanMaker(Hasher("key"), "chat", "1"),
            self.store,
            Tally(),
            log=False,
            export=lambda _: None,
            push=lambda _: None,
            wake=lambda: None,
        )
        self.said: list[str] = []
        self.first: list[list[str]] = []
        self.recall = Recall(
            self.store,
            self.violations,
            first=self._first,
            failed=lambda stage, fault: pytest.fail(f"{stage}: {fault!r}"),
            say=self.said.append,
        )

    def _first(self, incidents: list[Incident]) -> None:
        self.first.append([it.id for it in incidents])

    def find(self, number: int) -> None:
        delivery = leak(number)
        self.violations.record(delivery)
        self.violations.outcome(delivery._replace(outcome=OK))

    def counts(self) -> list[int]:
        self.recall._read()
        return sorted(it.attempted for it in self.violations.book.all())


def test_its_own_lines_are_not_read(tmp_path: Path) -> None:
    process = Process(tmp_path)
    for number in range(1, 4):
        process.find(number)
    Recorder(tmp_path).leak()
    assert process.counts() == [1, 3]
    process.find(4)
    assert process.counts() == [1, 4]
    assert process.first == [[it["id"] for it in review(tmp_path, START)["incidents"][:1]]]


def test_a_line_counts_once_its_end_is_there(tmp_path: Path) -> None:
    Recorder(tmp_path).leak("refused")
    (path,) = tmp_path.glob("violations-*")
    whole = path.read_bytes()
    process = Process(tmp_path)
    path.write_bytes(whole[:100])
    assert process.counts() == []
    path.write_bytes(whole[:-10])
    assert process.counts() == [1]
    (incident,) = process.violations.book.all()
    assert incident.events == 1  # it may have gone out
    path.write_bytes(whole)
    assert process.counts() == [1]
    assert (incident.events, incident.size) == (0, 0)
    assert process.counts() == [1]


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number in range(300):
        recorder.leak(at=number)
    process = Process(tmp_path)
    process.recall._stopping = True
    process.recall._read()
    assert process.violations.book.all() == []
    process.recall._stopping = False
    assert process.counts() == [300]


def test_a_forked_child_begins_anew_with_its_parents_lines(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.find(1)
    Recorder(tmp_path).leak()
    assert process.counts() == [1, 1]
    for part in (process.store, process.violations, process.recall):
        part.forget()  # as after a fork
    process.store.sync()
    process.find(2)
    assert process.counts() == [1, 2]


def test_acknowledgements_stay_while_the_journal_cannot_be_read(tmp_path: Path) -> None:
    Recorder(tmp_path).leak()
    (incident,) = review(tmp_path, START)["incidents"]
    journal.append(tmp_path, [Mark(incident["id"], 1, START, START, START + SECOND, "ada", "x")])
    process = Process(tmp_path)
    process.recall._read()
    assert process.violations.open() == 0
    assert process.first == [[]]
    journal.path(tmp_path).rename(tmp_path / "kept")
    journal.path(tmp_path).mkdir()
    for _ in range(2):
        process.recall._read()
        assert process.violations.open() == 0
    assert len(process.said) == 1
    assert "journal.jsonl: cannot be read" in process.said[0]
    journal.path(tmp_path).rmdir()
    process.recall._read()
    assert process.violations.open() == 1  # somebody has taken it away


def test_what_began_after_a_silence_is_written_down_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for days in (0, 2):
        recorder.leak(at=days * 86_400)
    process = Process(tmp_path)
    for _ in range(3):
        process.recall._read()
    other = Process(tmp_path)
    other.recall._read()
    (mark,) = journal.read(tmp_path).marks
    assert (mark.number, mark.time_ns) == (2, 0)
    assert process.violations.open() == other.violations.open() == 2
