# SPDX-License-Identifier: Apache-2.0
"""Narrowed reviews of random stores: columns and lines say the same, and what was counted by hand.

By hand: each stored violation is put into the incident of the whole review that it lies in by its
time, and what is asked for of it is added up. Folding only what is left would number it anew.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.review.test_columns import PEOPLE, RULES, Store
from tests.unit.recorder import SECOND, START, Recorder
from ws_audit.book import cause_of
from ws_audit.incidents import MAX_TRACE_IDS, incident_id, timestamp
from ws_audit.model import SEVERITIES
from ws_audit.review.databases import columns
from ws_audit.review.segments import lines, read
from ws_audit.review.selection import Selection, SelectionError
from ws_audit.schema import EVENT_RULES

if TYPE_CHECKING:
    from pathlib import Path

    from ws_audit.incidents import Incident
    from ws_audit.model import Finding
    from ws_audit.review.segments.read import Review

NOW = START + 400_000 * SECOND


@pytest.fixture(autouse=True)
def _small_stores_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_WORTH_KEEPING", 1)


def some(chance: random.Random, whole: list[Incident]) -> Selection:
    """A question as somebody may ask it."""

    def maybe(names: list[str]) -> tuple[str, ...]:
        if chance.random() < 0.6 or not names:
            return ()
        return tuple(chance.sample(names, min(len(names), chance.choice([1, 1, 2]))))

    moments = [ns for it in whole for ns in (it.first_ns, it.last_ns, it.last_ns + 1)]
    moments += [START + chance.randrange(400_000) * SECOND, 0, 0, 0]
    return Selection(
        chance.choice(moments),
        tuple(it[: chance.choice([32, 32, 12])] for it in maybe([it for it in PEOPLE if it])),
        maybe(RULES),
        maybe(["chat", "mail"]),
        maybe([it.id for it in whole]),
        chance.choice(["", "", *SEVERITIES]),
    )


def by_hand(directory: Path, asked: Selection, whole: list[Incident]) -> list[dict[str, Any]]:
    """The incidents that are to be shown, as the JSON has them."""
    homes: dict[str, list[Finding]] = {}
    found = [it for it in read.read(directory).findings if not it.synthetic]
    for one in sorted(found, key=lambda it: it.first_ns):
        finding = one
        cause = incident_id(*cause_of(finding))
        turns = [it for it in whole if it.id.partition("-")[0] == cause]
        turns.sort(key=lambda it: it.first_ns)
        # An aggregate that goes on after an acknowledgement is all of the next incident.
        home = [it for it in turns if it.first_ns <= finding.first_ns] or turns[:1]
        following = turns[turns.index(home[-1]) + 1 :]
        if following and following[0].first_ns <= finding.last_ns:
            home = following[:1]
            finding = finding._replace(first_ns=max(finding.first_ns, home[-1].first_ns))
        homes.setdefault(home[-1].id, []).append(finding)
    shown = []
    for incident in whole:
        left = [
            it
            for it in homes.get(incident.id, [])
            if it.last_ns >= asked.since_ns
            and (not asked.users or any(_is(it, user) for user in asked.users))
            and it.rule in (asked.rules or [it.rule])
            and it.service in (asked.services or [it.service])
        ]
        if not left or incident.id not in (asked.incidents or [incident.id]):
            continue
        told = _told(incident, left)
        if SEVERITIES.index(told["severity"]) <= SEVERITIES.index(asked.severity or "hygiene"):
            shown.append(told)
    return sorted(shown, key=lambda it: it["id"])


def _is(finding: Finding, user: str) -> bool:
    return any(it[: len(user)] == user for it in (finding.owner, finding.recipient))


def _told(incident: Incident, left: list[Finding]) -> dict[str, Any]:
    def events(findings: list[Finding]) -> int:
        happened = incident.rule in EVENT_RULES
        return sum(it.count if happened else it.delivered for it in findings)

    def span(findings: list[Finding]) -> dict[str, Any]:
        first, last = min(it.first_ns for it in findings), max(it.last_ns for it in findings)
        worst = min((it.severity for it in findings), key=SEVERITIES.index)
        return {
            "severity": worst,
            "first_seen": timestamp(first),
            "last_seen": timestamp(last),
            "events": events(findings),
        }

    pairs: dict[tuple[str, str], list[Finding]] = {}
    for it in left:
        pairs.setdefault((it.recipient, it.owner), []).append(it)
    return {
        "id": incident.id,
        "rule": incident.rule,
        **span(left),
        "ongoing": NOW - max(it.last_ns for it in left) <= 600 * SECOND,
        "acknowledged": incident.ack is not None,
        "attempted": sum(it.count for it in left),
        "bytes": sum(it.size for it in left if events([it])),
        "pairs": sorted(
            ({"recipient": to, "owner": of, **span(its)} for (to, of), its in pairs.items()),
            key=lambda it: (-it["events"], it["recipient"], it["owner"]),
        ),
        "services": [incident.service],
        "versions": sorted({it.version for it in left if it.version}),
        "sites": sorted({it.site for it in left}),
        "trace_ids": list({it.trace_id: 0 for it in left})[:MAX_TRACE_IDS],
    }


def covered(directory: Path, asked: Selection) -> int:
    """How many frames of the coverage are asked for, line by line."""
    frames = 0
    for path in directory.glob("coverage-*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                spans = lines.spans(line, {})
            except (lines.ForeignError, *lines.CORRUPT):
                continue
            for span in spans:
                service = span.resource.get("service.name", "")
                if span.end_ns >= asked.since_ns and service in (asked.services or [service]):
                    frames += (span.counts or {}).get("frames", 0)
    return frames


def examined(reader: Any, directory: Path, asked: Selection) -> Review | str:
    """The review, or why there is none."""
    try:
        found: Review = reader.examine(directory, asked=asked)
    except SelectionError as error:
        return str(error)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_narrowed_review_is_what_one_counts_by_hand(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = Store(tmp_path / "store", chance)
    shown = 0
    for step in range(3):
        store.live()
        whole = columns.examine(store.directory)
        if step:
            store.acknowledge(whole.document(NOW))
            store.suffer()
            if not any(store.directory.glob("*-*.jsonl")):
                return
            whole = read.examine(store.directory)
        for _ in range(6):
            asked = some(chance, whole.incidents)
            found = examined(read, store.directory, asked)
            again = examined(columns, store.directory, asked)
            if isinstance(found, str) or isinstance(again, str):
                assert found == again  # both say what is not there
                continue
            document = found.document(NOW)
            assert again.document(NOW) == document
            expected = by_hand(store.directory, asked, whole.incidents)
            told = sorted(document["incidents"], key=lambda it: it["id"])
            for it in told:
                del it["managers"]  # a hundred of them, in no order of ours
            assert json.loads(json.dumps(told)) == json.loads(json.dumps(expected))
            assert document["coverage"]["frames"] == covered(store.directory, asked)
            assert len(found.whole) == len(whole.incidents)
            shown += len(expected)
    assert shown


def test_a_cut_goes_through_what_is_condensed(tmp_path: Path) -> None:
    """Where hundreds of violations are one row of an answer, only some of them are asked for."""
    chance = random.Random(1)
    recorder = Recorder(tmp_path)
    for _ in range(300):
        count = chance.choice([1, 1, 4])
        more = {"ws_audit__count": count, "ws_audit__delivered": count - 1} if count > 1 else {}
        recorder.leak(
            chance.choice(["ok", "refused"]) if count == 1 else None,
            at=chance.randrange(200_000) / 1000 + chance.choice([0, 2 * 86_400]),
            user__hash=chance.choice(PEOPLE[:2]),
            ws_audit__owner__hash=PEOPLE[2],
            **more,
        )
    whole = read.examine(tmp_path)
    assert len(columns.examine(tmp_path).stored.findings) < 300
    for second in (0, 5, 99.5, 150, 86_400, 2 * 86_400 + 100):
        for users in ((), (PEOPLE[0],)):
            asked = Selection(START + int(second * SECOND), users)
            found = columns.examine(tmp_path, asked=asked).document(NOW)
            assert found == read.examine(tmp_path, asked=asked).document(NOW)
            told = by_hand(tmp_path, asked, whole.incidents)
            assert [it["events"] for it in sorted(found["incidents"], key=lambda it: it["id"])] == [
                it["events"] for it in told
            ]
