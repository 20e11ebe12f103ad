# SPDX-License-Identifier: Apache-2.0
"""A narrowed review: the incidents of the whole one, with what is left of each.

The oracle sorts every finding into the incident that the whole review has it in, by time alone,
and adds up what is left by hand. Folding what is left would be another review: other numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import ALICE, BOB, EVE, SECOND, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.review import selection
from ws_audit.review.read import examine
from ws_audit.review.selection import AbsentError, Selection, SelectionError

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600
FIRST = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
OTHER = incident_id("mail", "canary", "app:send:1")


def busy(directory: Path) -> None:
    """Two incidents of one cause with a day between them, and one of another service."""
    chat, mail = Recorder(directory, "chat"), Recorder(directory, "mail")
    for second in range(10):
        chat.leak(at=second)
    chat.leak("refused", at=10, user__hash=EVE, ws_audit__severity="suspected")
    chat.leak(at=48 * HOUR, ws_audit__severity="probable")
    chat.leak(at=48 * HOUR + 5, user__hash=EVE)
    mail.leak(
        at=3, security_rule__name="canary", ws_audit__site="app:send:1", ws_audit__owner__hash=EVE
    )
    for recorder in (chat, mail):
        for minute in range(3):
            recorder.cover(at=minute * 60, frames=100, judged=90, unattributed=10, final=False)
        recorder.cover(at=49 * HOUR, frames=7, judged=7)


def shown(directory: Path, **asked: object) -> dict[str, tuple[str, int, int]]:
    found = examine(directory, asked=Selection(**asked))  # type: ignore[arg-type]
    return {it.id: (it.severity, it.events, it.attempted) for it in found.incidents}


def test_ids_and_numbers_are_those_of_the_whole(tmp_path: Path) -> None:
    busy(tmp_path)
    second, late = f"{FIRST}-2", START + 10 * HOUR * SECOND
    assert shown(tmp_path) == {
        FIRST: ("confirmed", 10, 11),
        second: ("confirmed", 2, 2),
        OTHER: ("confirmed", 1, 1),
    }
    assert shown(tmp_path, since_ns=late) == {second: ("confirmed", 2, 2)}
    assert shown(tmp_path, incidents=(second, OTHER)).keys() == {second, OTHER}
    assert shown(tmp_path, users=(EVE,)) == {
        FIRST: ("suspected", 0, 1),
        second: ("confirmed", 1, 1),
        OTHER: ("confirmed", 1, 1),
    }
    assert shown(tmp_path, users=(EVE,), severity="probable").keys() == {second, OTHER}
    assert shown(tmp_path, users=(BOB,), since_ns=late, severity="probable") == {
        second: ("confirmed", 2, 2)
    }
    assert shown(tmp_path, users=(BOB, EVE), services=("mail",)).keys() == {OTHER}
    assert shown(tmp_path, rules=("canary", "thread_as_user")).keys() == {OTHER}
    assert shown(tmp_path, since_ns=START + 8 * SECOND, incidents=(FIRST,)) == {
        FIRST: ("confirmed", 2, 3)
    }
    assert shown(tmp_path, rules=("thread_as_user",)) == {}


def test_an_acknowledged_incident_stays_acknowledged(tmp_path: Path) -> None:
    busy(tmp_path)
    when = START + 5 * SECOND + 1
    journal.append(tmp_path, [Mark(FIRST, 1, START, START + 5 * SECOND, when, "me")])
    assert shown(tmp_path, services=("chat",)) == {
        FIRST: ("confirmed", 6, 6),
        f"{FIRST}-2": ("confirmed", 4, 5),
        f"{FIRST}-3": ("confirmed", 2, 2),
    }
    found = examine(tmp_path, asked=Selection(since_ns=START + 5 * SECOND, users=(ALICE,)))
    assert {it.id: (it.ack is not None, it.events) for it in found.incidents} == {
        FIRST: (True, 1),
        f"{FIRST}-2": (False, 4),
        f"{FIRST}-3": (False, 1),
    }


def test_an_outcome_counts_when_its_violation_does(tmp_path: Path) -> None:
    """Also where the violation is older than what is asked for and its outcome is not."""
    recorder = Recorder(tmp_path)
    span = recorder._span("ws_audit.violation", START)
    for at in (0, 20):
        recorder.leak(None, at=at)
    for number, at in ((-1, 30), (0, 31)):
        late = START + at * SECOND
        told = {"ws_audit.outcome": "refused"}
        recorder.store.write_violation(
            span._replace(
                span_id=recorder.spans + number, start_ns=late, end_ns=late, attributes=told
            )
        )
    assert shown(tmp_path, since_ns=START + 10 * SECOND) == {FIRST: ("confirmed", 0, 1)}


def test_coverage_is_of_the_time_and_the_services(tmp_path: Path) -> None:
    busy(tmp_path)

    def covered(**asked: object) -> tuple[int, int, int, int]:
        stored = examine(tmp_path, asked=Selection(**asked)).stored  # type: ignore[arg-type]
        return (
            stored.coverage["frames"],
            stored.reasons["no_evidence"],
            stored.first_ns and stored.first_ns - START,
            stored.last_ns and stored.last_ns - START,
        )

    last = 49 * HOUR * SECOND + 5_000_000
    assert covered() == (614, 24, 0, last)
    assert covered(services=("mail",)) == (307, 12, 0, last)
    assert covered(since_ns=START + 60 * SECOND) == (414, 18, 60 * SECOND, last)
    assert covered(since_ns=START + 61 * SECOND) == (214, 12, 61 * SECOND, last)
    assert covered(since_ns=START + 100 * HOUR * SECOND) == (0, 0, 0, 0)
    # What is asked of the violations alone leaves it as it is.
    assert covered(users=(ALICE,), rules=("canary",), severity="confirmed") == covered()


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    busy(tmp_path)
    for asked, told in (
        (Selection(users=("c" * 8,)), "no violation is about user cccccccc"),
        (Selection(incidents=(f"{FIRST}-3",)), f"no incident '{FIRST}-3'; there are: "),
        (Selection(services=("chät",)), "no record of a service 'chät'; there are: chat, mail"),
    ):
        with pytest.raises(AbsentError, match=told):
            examine(tmp_path, asked=asked)
    Recorder(tmp_path).leak(user__hash="a" * 20 + "b" * 12)
    with pytest.raises(SelectionError, match=f"may be several; there are: {ALICE}, a{{20}}b"):
        examine(tmp_path, asked=Selection(users=("aaaaaa",)))
    assert shown(tmp_path, users=("a" * 20 + "b",)) == {FIRST: ("confirmed", 1, 1)}


def test_what_is_asked_is_told() -> None:
    asked = Selection(START, (ALICE, BOB), ("canary",), ("chat",), (FIRST,), "probable")
    assert asked.told() == (
        f"since 2026-11-23T10:00:00.000000000Z, user {ALICE} or {BOB}, rule canary, "
        f"service chat, incident {FIRST}, severity probable or worse"
    )
    assert Selection().told() == ""
    assert Selection(severity="confirmed").told() == "severity confirmed"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", -90), ("30m", -1800), ("2h", -7200), ("7d", -604800), ("2026-11-23T09:59:59Z", -1)],
)
def test_a_time_or_a_span(text: str, seconds: int) -> None:
    assert selection.since(text, START) == START + seconds * SECOND


@pytest.mark.parametrize("text", ["", "0s", "2", "-2h", "2 h", "1w", "yesterday", "²h", "1e3s"])
def test_no_time_and_no_span(text: str) -> None:
    with pytest.raises(ValueError):
        selection.since(text, START)


@pytest.mark.parametrize("text", ["abcde", "g" * 8, "a" * 33, "", "%", "aaaaaa' OR 1"])
def test_no_user(text: str) -> None:
    with pytest.raises(ValueError, match="is no user"):
        selection.user(text)
    assert selection.user("ABCDEF") == "abcdef"
