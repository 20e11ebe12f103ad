# SPDX-License-Identifier: Apache-2.0
"""Every reader numbers and closes incidents alike: review, running agent, restarted agent."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.test_incidents import BOB, EVE, FINDING, HOUR, SECOND, START, at
from ws_audit.book import Book
from ws_audit.incidents import Incident, Mark, incident_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.model import Finding

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
DAY = 24 * 3600


def ack(seconds: float, *, number: int = 1, first: float = 0, last: float = 0) -> Mark:
    """An acknowledgement that long after the first finding."""
    first_ns, last_ns, time_ns = (START + int(it * SECOND) for it in (first, last, seconds))
    return Mark(ID, number, first_ns, last_ns, time_ns, "ada", "seen")


def numbers(incidents: Iterable[Incident]) -> dict[str, tuple[int, bool]]:
    """What is asserted of each: how many, and whether it is closed."""
    return {it.id: (it.attempted, it.ack is not None) for it in incidents}


def whole(incident: Incident) -> dict[str, Any]:
    """Everything a review would tell, with the order of traces left open.

    Of what is closed a running agent that noticed it late may remember more; the counts agree.
    """
    told = incident.as_dict(START)
    if incident.ack is not None:
        told = {key: told[key] for key in ("id", "acknowledged", "events", "attempted", "bytes")}
    else:
        told["trace_ids"].sort()
    return {**told, "open": incident.open}


# --- acknowledged -----------------------------------------------------------------------------


def test_an_acknowledgement_closes_and_the_next_finding_is_the_next_incident() -> None:
    book = Book(marks=[ack(10)])
    found = book.fold([at(0), at(9), at(11), at(12)])
    assert numbers(found) == {ID: (2, True), f"{ID}-2": (2, False)}
    assert [it.as_dict(START)["acknowledged"] for it in found] == [True, False]


def test_what_was_found_before_it_was_written_is_in_it() -> None:
    """Also what nobody had read yet: the last one known was at 0."""
    assert numbers(Book(marks=[ack(10)]).fold([at(0), at(5), at(10)])) == {ID: (3, True)}


def test_silence_closes_nothing() -> None:
    book = Book()
    found = book.fold([at(0), at(2 * DAY), at(4 * DAY)])
    assert numbers(found) == {ID: (1, False), f"{ID}-2": (1, False), f"{ID}-3": (1, False)}
    assert book.open() == 3


def test_an_older_incident_is_closed_without_cutting_the_one_that_goes_on() -> None:
    found = Book(marks=[ack(2 * DAY + 5)]).fold([at(0), at(2 * DAY), at(2 * DAY + 10)])
    assert numbers(found) == {ID: (1, True), f"{ID}-2": (2, False)}


def test_two_acknowledgements_are_one_each() -> None:
    marks = [ack(10), ack(11), ack(30, number=2, first=20, last=20)]
    found = Book(marks=marks).fold([at(0), at(20), at(40)])
    assert numbers(found) == {ID: (1, True), f"{ID}-2": (1, True), f"{ID}-3": (1, False)}
    assert found[0].ack == marks[0]  # the first that was written


def test_an_aggregate_that_goes_on_after_it_opens_the_next() -> None:
    storm = at(9.5)._replace(last_ns=START + 10 * SECOND + SECOND // 2, count=50, delivered=50)
    found = Book(marks=[ack(10, last=9)]).fold([at(0), storm, at(9)])
    assert numbers(found) == {ID: (2, True), f"{ID}-2": (50, False)}
    # Also if something else was found in its second, before the acknowledgement.
    found = Book(marks=[ack(10, first=9, last=10)]).fold([storm, at(9.7)])
    assert numbers(found) == {ID: (1, True), f"{ID}-2": (50, False)}


def test_other_causes_are_untouched() -> None:
    other = FINDING._replace(rule="canary")
    book = Book(marks=[ack(10)])
    book.fold([at(0), other])
    assert book.open() == 1


@pytest.mark.parametrize(
    ("severity", "open_"), [("confirmed", 1), ("probable", 1), ("suspected", 0), ("hygiene", 0)]
)
def test_only_what_pages_is_counted_as_open(severity: str, open_: int) -> None:
    book = Book()
    book.add(FINDING._replace(severity=severity))
    assert book.open() == open_


# --- numbers when the evidence of earlier ones is gone ------------------------------------------


def test_an_acknowledgement_keeps_the_number_of_what_follows() -> None:
    marks = [ack(10), ack(2 * DAY + 10, number=2, first=2 * DAY, last=2 * DAY)]
    findings = [at(0), at(2 * DAY), at(4 * DAY)]
    every = Book(marks=marks).fold(findings)
    assert [it.number for it in every] == [1, 2, 3]
    for gone in (1, 2):
        left = Book(marks=marks).fold(findings[gone:])
        assert [it.id for it in left] == [it.id for it in every[gone:]]
        assert [it.ack for it in left] == [it.ack for it in every[gone:]]


def test_what_was_acknowledged_keeps_the_number_it_was_acknowledged_by() -> None:
    """Of the one before it nothing is left: neither evidence nor an acknowledgement."""
    mark = ack(2 * DAY + 10, number=2, first=2 * DAY, last=2 * DAY)
    found = Book(marks=[mark]).fold([at(2 * DAY), at(2 * DAY + 20)])
    assert numbers(found) == {f"{ID}-2": (1, True), f"{ID}-3": (1, False)}


def test_an_acknowledgement_of_a_deleted_incident_closes_no_other() -> None:
    """By its number it might: the incident two days later is the first that is left."""
    found = Book(marks=[ack(3 * DAY)]).fold([at(2 * DAY), at(2 * DAY + 1)])
    assert numbers(found) == {f"{ID}-2": (2, False)}


def test_what_began_after_a_silence_is_marked_and_keeps_its_number() -> None:
    live = Book(max_pairs=10)
    for days in (0, 2, 4):
        live.add(at(days * DAY))
    marks = live.begun()
    assert [it.incident for it in marks] == [f"{ID}-2", f"{ID}-3"]
    assert live.begun() == []
    later = [at(4 * DAY), at(4 * DAY + 9)]
    assert [it.id for it in Book(marks=marks).fold(later)] == [f"{ID}-3"]
    assert [it.id for it in Book(marks=marks).fold(later[1:])] == [f"{ID}-3"]
    assert [it.id for it in Book(marks=marks).fold([*later, at(9 * DAY)])] == [
        f"{ID}-3",
        f"{ID}-4",
    ]


def test_what_follows_an_acknowledgement_needs_no_mark() -> None:
    live = Book(max_pairs=10, marks=[ack(10)])
    live.add(at(0))
    assert live.add(at(20)).id == f"{ID}-2"
    assert live.begun() == []


# --- a running agent ----------------------------------------------------------------------------


def learn(book: Book, findings: Iterable[Finding] = (), marks: Iterable[Mark] = ()) -> list[str]:
    """What others found, and the journal; the ids of those to be told of once more."""
    marks = list(marks)
    parts = book.parts(marks)
    for finding in findings:
        parts.add(finding)
    return [it.id for it in book.learn(parts, marks)]


def test_a_finding_goes_on_in_the_incident_that_was_read_back() -> None:
    book = Book(max_pairs=10)
    assert learn(book, [at(0), at(1)]) == []
    incident = book.add(at(5))
    assert numbers([incident]) == {ID: (3, False)}
    assert book.all() == [incident]


def test_what_was_found_while_it_was_read_joins_and_keeps_being_the_one_others_hold() -> None:
    book = Book(max_pairs=10)
    held = book.add(at(5))
    assert learn(book, [at(0), at(1)]) == []  # the id was right
    assert book.all() == [held]
    assert held.attempted == 3


def test_a_number_that_was_not_known_is_told_of_once_more() -> None:
    book = Book(max_pairs=10)
    held = book.add(at(2 * DAY))
    assert held.id == ID
    assert learn(book, [at(0)]) == [f"{ID}-2"]
    assert held.id == f"{ID}-2"
    assert learn(book) == []


def test_an_acknowledgement_noticed_late_divides_what_was_found_meanwhile() -> None:
    book = Book(max_pairs=10)
    held = book.add(at(0))
    book.add(at(11))
    book.add(at(12)._replace(owner=EVE))
    book.correct(at(12)._replace(owner=EVE, count=0, delivered=-1, size=-100))
    assert learn(book, marks=[ack(10)]) == [f"{ID}-2"]
    assert numbers(book.all()) == {ID: (1, True), f"{ID}-2": (2, False)}
    assert held.last_ns <= START + 10 * SECOND
    (_, second) = book.all()
    assert (second.events, second.size) == (1, 100)
    assert second.first_ns == START + 11 * SECOND


def test_a_journal_that_is_gone_opens_again() -> None:
    book = Book(max_pairs=10)
    learn(book, [at(0)], [ack(10)])
    assert book.open() == 0
    learn(book)
    assert book.open() == 1


def test_learning_twice_counts_once() -> None:
    book = Book(max_pairs=10)
    for _ in range(3):
        learn(book, marks=[ack(10)])
    learn(book, [at(0)], [ack(10)])
    learn(book, [], [ack(10)])
    assert numbers(book.all()) == {ID: (1, True)}


def test_the_call_path_adds_while_others_are_learnt_from() -> None:
    book = Book(max_pairs=10)
    done = threading.Event()

    def read() -> None:
        seconds = 0
        while not done.is_set():
            seconds += 1
            learn(book, [at(seconds % 1000)], [ack(2 * DAY)])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(3000):
            book.add(at(number % 1000)._replace(owner=BOB))
    finally:
        done.set()
        thread.join()
    (incident,) = book.all()
    assert incident.id == ID
    assert incident.attempted >= 3000
    assert sum(pair.events for pair in incident.pairs.values()) == incident.events


# --- all of them alike --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100))
def test_live_and_restored_are_what_the_review_folds(seed: int) -> None:
    """Findings of three processes over two weeks, people who acknowledge, a restart in between.

    The agent under test is one of the processes. It sees its own at once, those of others in any
    order and late, and the journal late; the review sees everything at the end.
    """
    chance = random.Random(seed)
    hours = sorted(chance.uniform(0, 14 * 24) for _ in range(chance.randrange(3, 60)))
    findings = [
        at(hour * 3600)._replace(
            owner=chance.choice([BOB, EVE]),
            severity=chance.choice(["confirmed", "probable", "suspected"]),
            rule=chance.choice(["payload_vs_connection", "canary"]),
            delivered=chance.choice([0, 1, 1]),
            trace_id=f"{number + 1:032x}",
        )
        for number, hour in enumerate(hours)
    ]
    mine = [chance.random() < 0.4 for _ in findings]
    marks: list[Mark] = []
    restart = chance.randrange(len(findings))

    live = Book(max_pairs=1000)
    behind: list[Finding] = []  # what others wrote, and the agent has not read yet
    for number, finding in enumerate(findings):
        if number == restart:  # everything so far is others' now, and read in any order
            live, behind = Book(max_pairs=1000), findings[:number]
            chance.shuffle(behind)
        if mine[number]:
            live.add(finding)
        else:
            behind.append(finding)
        if chance.random() < 0.3:  # a person reads the review and closes something
            review = Book(marks=marks).fold(findings[: number + 1])
            still = [it for it in review if it.ack is None]
            if still:
                one = chance.choice(still)
                when = finding.first_ns + 60 * SECOND
                marks.append(
                    Mark(one.id[:12], one.number, one.first_ns, one.last_ns, when, "ada", "seen")
                )
        if chance.random() < 0.5:
            learn(live, behind, marks)
            behind = []
            marks += live.begun()  # as the agent writes them into the journal
    learn(live, behind, marks)

    review = Book(marks=marks).fold(findings)
    assert sorted(map(whole, live.all()), key=str) == sorted(map(whole, review), key=str)
    assert live.open() == sum(it.open for it in review)
    assert {it.incident for it in live.begun()} <= {it.id for it in review}


def test_the_review_is_the_same_whatever_the_order(tmp_path: object) -> None:
    chance = random.Random(1)
    findings = [at(chance.uniform(0, 10 * DAY)) for _ in range(100)]
    marks = [ack(DAY, last=DAY // 2), ack(5 * DAY, number=2, first=4 * DAY, last=4.5 * DAY)]
    expected = list(map(whole, Book(marks=marks).fold(findings)))
    for _ in range(5):
        chance.shuffle(findings)
        chance.shuffle(marks)
        assert list(map(whole, Book(marks=marks).fold(findings))) == expected
    assert HOUR
