# SPDX-License-Identifier: Apache-2.0
"""A narrowed review: the incidents of the whole one, with what is left of each.

The oracle sorts every finding into the incident that the whole review has it in, by time alone,
and adds up what is left by hand. Folding what is left would be another review: other numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import ALICE, BOB, EVE, SECOND, START, Recorder
from tests.unit.test_incidents import FINDING
from ws_audit import journal
from ws_audit.book import SILENCE_NS, Book
from ws_audit.incidents import Mark, incident_id
from ws_audit.review import selection
from ws_audit.review.segments import keep
from ws_audit.review.segments.read import examine
from ws_audit.review.selection import AbsentError, Selection, SelectionError
from ws_audit.review.telling import lives, narrowed, story
from ws_audit.tools import cli

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
        told: dict[str, str | int | bool | float] = {"ws_audit.outcome": "refused"}
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


def test_what_is_put_together_later_is_known_in_full() -> None:
    """Also where two parts of an incident turn out to be one."""
    findings = [FINDING._replace(first_ns=it, last_ns=it) for it in (1, SILENCE_NS + 1, SILENCE_NS)]
    book = Book()
    parts = book.parts(())
    for finding in findings:
        parts.add(finding)
    book.learn(parts, ())
    (incident,) = book.all()
    assert sorted(incident.findings or ()) == sorted(findings)
    # A running agent keeps none of them.
    assert Book(max_pairs=9).add(FINDING).findings is None


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
    with pytest.raises(ValueError, match="is no time; expected RFC 3339"):
        selection.since(text, START)


@pytest.mark.parametrize("text", ["abcde", "g" * 8, "a" * 33, "", "%", "aaaaaa' OR 1"])
def test_no_user(text: str) -> None:
    with pytest.raises(ValueError, match="is no user"):
        selection.user(text)
    assert selection.user("ABCDEF") == "abcdef"


# --- the command ------------------------------------------------------------------------------

LATE = "--now=2026-11-25T10:30:00Z"


def review(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and error."""
    code = cli.main(["review", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_first_line_says_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy(tmp_path)
    code, out, err = review(capsys, str(tmp_path), LATE, "--since=1h", "--user", EVE[:8])
    assert (code, err) == (1, "")
    assert out.splitlines()[:3] == [
        f"ONLY since 2026-11-25T09:30:00.000000000Z, user {EVE} (1 of 3 incidents)",
        "LEAK CONFIRMED, over since 2026-11-25T10:00:05.000000000Z",
        "  2 people in 1 pair, 1 event delivered of 1 attempted, 100 bytes",
    ]
    assert f"[incident {FIRST}-2]" in out
    assert "aaaaaaaa" not in out

    # The exit code is about what is shown.
    code, out, _ = review(capsys, str(tmp_path), LATE, "--rule=canary", "--since=1h")
    assert code == 0
    assert out.splitlines()[0].endswith("rule canary (0 of 3 incidents)")
    assert out.splitlines()[1] == "NO SUCH VIOLATION among 14 judged frames"
    code, out, _ = review(capsys, str(tmp_path), "--since=1m", "--now=2026-12-25T00:00:00Z")
    assert code == 0
    assert out.splitlines()[1].startswith("NOTHING RECORDED OF THAT")
    code, out, _ = review(capsys, str(tmp_path), LATE, "--severity=confirmed", "--service=chat")
    assert code == 1
    assert out.startswith("ONLY service chat, severity confirmed (2 of 3 incidents)\n")
    code, out, _ = review(capsys, str(tmp_path), LATE, "--severity=hygiene")
    assert out.startswith("ONLY severity hygiene or worse (3 of 3 incidents)\n")


def test_the_json_is_the_same_json_narrowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy(tmp_path)
    words = (str(tmp_path), LATE, "--format=json")
    _, whole, err = review(capsys, *words)
    assert err == ""
    code, out, err = review(capsys, *words, "--incident", f"{FIRST}-2")
    assert (code, err) == (
        1,
        f"ws-audit review: ONLY incident {FIRST}-2 (1 of 3 incidents)\n",
    )
    every = json.loads(whole)
    assert json.loads(out) == every | {
        "incidents": [it for it in every["incidents"] if it["id"] == f"{FIRST}-2"]
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--user", "c" * 32], f"no violation is about user {'c' * 32}"),
        (["--user=abc"], "'abc' is no user; expected the hash that the review shows"),
        (["--user=alice@example.com"], "ws-audit review who computes it"),
        (["--rule=canaries"], "choose from "),
        (["--severity=bad"], "choose from "),
        (["--service=char"], "no record of a service 'char'; there are: chat, mail"),
        (["--incident", FIRST[:8]], f"there is no incident '{FIRST[:8]}'; there are: "),
        (["--since=soon"], "'soon' is no time; expected RFC 3339"),
        (["--since=2026-11-25T11:00:00Z"], "is after 2026-11-25T10:30:00"),
    ],
)
def test_what_cannot_be_asked_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    busy(tmp_path)
    code, out, err = review(capsys, str(tmp_path), LATE, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_the_page_is_about_who_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, page = tmp_path / "store", tmp_path / "page.html"
    busy(store)
    journal.append(store, [Mark(OTHER, 1, START, START + 9 * SECOND, START + 60 * SECOND, "Ada")])
    words = (str(store), LATE, "--html", str(page))
    assert review(capsys, *words)[0] == 1
    assert "Not the whole" not in page.read_text()
    assert ALICE in page.read_text()
    assert "Ada" in page.read_text()

    code, _, _ = review(capsys, *words, "--user", EVE, "--service=chat", "--since=100h")
    told = page.read_text()
    assert code == 1
    assert told.count("Not the whole: only ") == 1
    assert f"user {EVE}, service chat (2 of 3 incidents)" in told
    for word in (ALICE, ALICE[:8], "Ada", "app:send", "mail"):
        assert word not in told


def test_a_gap_is_told_from_the_time_that_was_asked_for(tmp_path: Path) -> None:
    """Not from the start of the process, whose records of then are left out."""
    busy(tmp_path)
    since_ns = START + 47 * HOUR * SECOND

    def told(asked: Selection) -> story.Story:
        keeper = keep.Keeper()
        found = examine(tmp_path, None, keeper, asked)
        rows = narrowed.rows(keeper.all(), found)
        now_ns = START + 50 * HOUR * SECOND
        return story.tell(found.document(now_ns), rows, now_ns, "", found.only, since_ns)

    narrow = told(Selection(since_ns, services=("chat",)))
    (life,) = narrow.lives
    assert (life.first_ns, life.start is not None, life.frames) == (since_ns, True, 7)
    (gap,) = narrow.blind
    assert (gap.first_ns, gap.last_ns) == (since_ns, START + 49 * HOUR * SECOND)
    assert sum(it.count for it in life.violations) == 2
    # Nobody was there yet: that is no quiet time either.
    begun = since_ns + HOUR * SECOND
    assert lives.silences([life._replace(first_ns=begun)], since_ns) == [("chat", since_ns, begun)]
    # A process that has left nothing since is no part of it.
    later = Recorder(tmp_path, "chat")
    later.cover(at=100 * HOUR, frames=1, judged=1)
    since_ns = START + 90 * HOUR * SECOND
    assert [it.frames for it in told(Selection(since_ns)).lives] == [1]
