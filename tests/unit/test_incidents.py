# SPDX-License-Identifier: Apache-2.0
"""Which violations are one incident, and what its figures are."""

from __future__ import annotations

import threading
from hashlib import blake2b

from ws_audit.book import MAX_EARLIER, Book
from ws_audit.incidents import MAX_TRACE_IDS, Incident, incident_id, timestamp
from ws_audit.model import Finding

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_795_000_000 * SECOND
ALICE, BOB, EVE = "a" * 32, "b" * 32, "e" * 32

FINDING = Finding(
    service="chat",
    version="1.2.3",
    rule="payload_vs_connection",
    severity="probable",
    recipient=ALICE,
    owner=BOB,
    event="agent_started",
    manager="app.ws:Hub",
    site="app.ws:Hub.push:42",
    first_ns=START,
    last_ns=START,
    count=1,
    delivered=1,
    size=100,
    trace_id="1" * 32,
)


def at(seconds: float) -> Finding:
    """The same finding, that long after the first."""
    ns = START + int(seconds * SECOND)
    return FINDING._replace(first_ns=ns, last_ns=ns)


def test_the_id_is_the_contracts() -> None:
    digest = blake2b(b"chat\npayload_vs_connection\napp.ws:Hub.push", digest_size=16).hexdigest()
    assert incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42") == digest[:12]


def test_the_id_outlives_an_edit_above_and_tells_causes_apart() -> None:
    one = incident_id("chat", "canary", "app.ws:push:42")
    assert one == incident_id("chat", "canary", "app.ws:push:43")
    assert len({one, *(incident_id("chat", "canary", it) for it in ("none", "app.ws:pop:42"))}) == 3
    assert one != incident_id("mail", "canary", "app.ws:push:42")
    assert one != incident_id("chat", "argument_vs_connection", "app.ws:push:42")


def test_an_id_never_fails_on_an_odd_name() -> None:
    assert len(incident_id("ch\udc80t", "canary", "none")) == 12


def test_times_keep_their_nanoseconds() -> None:
    assert timestamp(1_795_428_000 * SECOND + 1) == "2026-11-23T10:00:00.000000001Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000000000Z"


def test_an_incident_is_exactly_the_contracts_json() -> None:
    incident = Book().add(FINDING)
    assert incident.as_dict(START) == {
        "id": incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42"),
        "rule": "payload_vs_connection",
        "severity": "probable",
        "first_seen": timestamp(START),
        "last_seen": timestamp(START),
        "ongoing": True,
        "acknowledged": False,
        "events": 1,
        "attempted": 1,
        "bytes": 100,
        "pairs": [
            {
                "recipient": ALICE,
                "owner": BOB,
                "severity": "probable",
                "events": 1,
                "first_seen": timestamp(START),
                "last_seen": timestamp(START),
            }
        ],
        "managers": ["app.ws:Hub"],
        "sites": ["app.ws:Hub.push:42"],
        "services": ["chat"],
        "versions": ["1.2.3"],
        "trace_ids": ["1" * 32],
    }


def test_figures_add_up() -> None:
    book = Book()
    book.add(FINDING)
    book.add(at(1)._replace(delivered=0, trace_id="2" * 32))  # refused
    storm = at(2)._replace(last_ns=START + 9 * SECOND, count=50, delivered=50, size=5000)
    book.add(storm._replace(severity="confirmed"))
    incident = book.add(at(3)._replace(owner=EVE, site="app.ws:Hub.push:44", version="1.2.4"))

    seen = incident.as_dict(START + HOUR)
    assert (seen["events"], seen["attempted"], seen["bytes"]) == (52, 53, 5200)
    assert seen["severity"] == "confirmed"
    assert seen["last_seen"] == timestamp(START + 9 * SECOND)
    assert [(it["owner"], it["events"], it["severity"]) for it in seen["pairs"]] == [
        (BOB, 51, "confirmed"),
        (EVE, 1, "probable"),
    ]
    assert seen["sites"] == ["app.ws:Hub.push:42", "app.ws:Hub.push:44"]
    assert seen["versions"] == ["1.2.3", "1.2.4"]
    assert seen["trace_ids"] == ["1" * 32, "2" * 32]
    assert seen["ongoing"] is False


def test_events_that_are_no_delivery_count_as_they_happened() -> None:
    event = FINDING._replace(rule="inbound_vs_connection", severity="hygiene", delivered=0, count=7)
    assert Book().add(event).as_dict(START)["events"] == 7


def test_ongoing_means_seen_within_ten_minutes() -> None:
    incident = Book().add(FINDING)
    assert incident.as_dict(START + 600 * SECOND)["ongoing"] is True
    assert incident.as_dict(START + 600 * SECOND + 1)["ongoing"] is False


def test_a_day_of_silence_begins_the_next_incident() -> None:
    book = Book()
    first = book.add(at(0))
    assert book.add(at(86_399)) is first
    second = book.add(at(86_399 + 86_400))
    third = book.add(at(86_399 + 3 * 86_400))
    assert [second.id, third.id] == [f"{first.id}-2", f"{first.id}-3"]
    assert [it.id for it in book.all()] == [first.id, second.id, third.id]
    assert second.events == 1


def test_the_review_folds_findings_in_any_order() -> None:
    findings = [at(hours * 3600) for hours in (60, 0, 80, 20, 40)]  # no gap of a day
    (incident,) = Book().fold(findings)
    assert (incident.events, incident.first_ns) == (5, START)
    assert len(Book().fold([at(0), at(86_400 * 4), at(86_400 * 2)])) == 3


def test_a_live_book_is_bounded_and_its_sums_stay_exact() -> None:
    book = Book(max_pairs=3)
    for user in range(1000):
        incident = book.add(FINDING._replace(owner=f"{user:032x}", trace_id=f"{user:032x}"))
    seen = incident.as_dict(START)
    assert len(seen["pairs"]) == 4
    assert seen["pairs"][0]["owner"] == seen["pairs"][0]["recipient"] == "other"
    assert sum(pair["events"] for pair in seen["pairs"]) == seen["events"] == 1000
    assert len(seen["trace_ids"]) == MAX_TRACE_IDS == 100

    for day in range(1, 50):
        latest = book.add(at(2 * day * 86_400))
    assert len(book.all()) == MAX_EARLIER == 31  # a month of days
    assert book.all()[-1] is latest
    assert latest.id.endswith("-50")


def test_the_review_keeps_every_pair() -> None:
    book = Book()
    for user in range(1000):
        incident = book.add(FINDING._replace(owner=f"{user:032x}"))
    assert len(incident.as_dict(START)["pairs"]) == 1000


def test_ongoing_incidents_are_counted() -> None:
    book = Book(max_pairs=3)
    book.add(FINDING)
    book.add(at(500)._replace(rule="canary"))
    assert [book.ongoing(START + it * SECOND) for it in (500, 601, 1101)] == [2, 1, 0]


def test_threads_lose_no_count_and_readers_see_a_whole_incident() -> None:
    book = Book(max_pairs=10_000)
    failures: list[BaseException] = []

    def write(name: int) -> None:
        for user in range(500):
            book.add(FINDING._replace(owner=f"{name}-{user}"))

    def read() -> None:
        try:
            while any(writer.is_alive() for writer in writers):
                for incident in book.all():
                    seen = incident.as_dict(START)
                    assert sum(pair["events"] for pair in seen["pairs"]) == seen["events"]
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    threads = [*writers, threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (incident,) = book.all()
    assert not failures
    assert incident.events == 2000


def test_an_add_inside_an_add_does_not_hang() -> None:
    # As when the collector runs a finalizer that sends while the lock is held.
    book = Book()

    class Nosy(str):
        __slots__ = ()

        def __hash__(self) -> int:
            book.add(FINDING)
            return hash(str(self))

    done: list[Incident] = []
    thread = threading.Thread(
        target=lambda: done.append(book.add(FINDING._replace(owner=Nosy("x")))), daemon=True
    )
    thread.start()
    thread.join(5)
    assert done
