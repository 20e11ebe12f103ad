# SPDX-License-Identifier: Apache-2.0
"""The leak benchmark's own arithmetic: what counts as seen, as found, as invented."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.leaks import people
from benchmarks.leaks.case import Swap
from benchmarks.leaks.score import _hashes, bound, score, truth
from benchmarks.leaks.world import HASH_KEY, Played
from ws_audit.model import Principal
from ws_audit.principals.identity import Hasher

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000_000_000_000


@pytest.fixture
def crowd() -> list[people.Person]:
    return people.invent()


def line(who: people.Person, text: str, at: int = NOW) -> dict[str, Any]:
    return {"t": at, "who": who.name, "connection": 1, "text": text}


def incident(rule: str, severity: str, *pairs: tuple[str, str, int]) -> dict[str, Any]:
    seen = "2023-11-14T22:13:19.500000000Z"
    return {
        "rule": rule,
        "pairs": [
            {
                "recipient": recipient,
                "owner": owner,
                "severity": severity,
                "events": events,
                "first_seen": seen,
                "last_seen": seen,
            }
            for recipient, owner, events in pairs
        ],
    }


def played(
    crowd: list[people.Person], journal: list[dict[str, Any]], *incidents: dict[str, Any]
) -> Played:
    return Played(crowd, journal, {"incidents": list(incidents), "coverage": {}}, "")


def hashed(user: str, tenant: str | None = None) -> str:
    return Hasher(HASH_KEY)(Principal(tenant, user, "id", "opaque"))


def test_a_person_is_known_by_each_hash_the_agent_may_write(crowd: list[people.Person]) -> None:
    names = _hashes(crowd)
    for one in crowd:
        for user in (str(one.id), one.uuid, one.name, one.email, one.subject):
            assert names[hashed(user)] == names[hashed(user, one.tenant)] == one.name


def test_only_a_foreign_secret_is_a_leak(crowd: list[people.Person]) -> None:
    alice, bob, *_ = crowd
    journal = [
        line(alice, f"mine: {alice.secret}"),
        line(alice, f"theirs: {bob.secret}", NOW + 5),
        line(alice, f"again: {bob.private}", NOW + 9),
        line(bob, f"no secret, but a canary: {alice.canary}"),
    ]
    pairs, when = truth(played(crowd, journal))
    assert pairs == {(alice.name, bob.name): 2}
    assert when == {(alice.name, bob.name): (NOW + 5, NOW + 9)}


def test_found_is_a_true_pair(crowd: list[people.Person]) -> None:
    alice, bob, carol, *_ = crowd
    journal = [line(alice, bob.secret)]
    to, of, wrong = (hashed(str(one.id)) for one in (alice, bob, carol))
    rule = "payload_vs_connection"
    right = score("x", played(crowd, journal, incident(rule, "probable", (to, of, 1))))
    assert (right.named, right.exact, right.recalled, right.invented) == ("probable", True, 1, 0)
    assert not right.times
    other = score("x", played(crowd, journal, incident(rule, "probable", (to, wrong, 1))))
    assert (other.named, other.exact, other.recalled, other.invented) == ("", False, 0, 1)
    many = score("x", played(crowd, journal, incident(rule, "suspected", (to, of, 3))))
    assert (many.named, many.exact, many.recalled, many.invented) == ("suspected", False, 1, 2)
    back = score("x", played(crowd, journal, incident(rule, "probable", (of, to, 1))))
    assert back.named == ""
    stranger = score("x", played(crowd, journal, incident(rule, "probable", (to, "00", 1))))
    assert (stranger.named, stranger.strangers) == ("", 1)


def test_what_is_no_delivery_names_two_people_either_way(crowd: list[people.Person]) -> None:
    alice, bob, *_ = crowd
    pair = (hashed(bob.uuid, bob.tenant), hashed(alice.uuid, alice.tenant), 1)
    seen = score(
        "x", played(crowd, [line(alice, bob.secret)], incident("shared_state", "probable", pair))
    )
    assert (seen.named, seen.recalled, seen.exact) == ("probable", 0, False)


def test_times_after_the_receipt_or_long_before_are_told(crowd: list[people.Person]) -> None:
    alice, bob, *_ = crowd
    pair = (hashed(str(alice.id)), hashed(str(bob.id)), 1)
    leak = incident("payload_vs_connection", "probable", pair)  # half a second before NOW
    for at, wrong in ((NOW, False), (NOW - 600_000_000, True), (NOW + 600_000_000, True)):
        seen = score("x", played(crowd, [line(alice, bob.secret, at)], leak))
        assert bool(seen.times) is wrong


@pytest.mark.parametrize(
    ("events", "frames", "expected"), [(0, 100, 0.0295), (0, 3000, 0.000998), (2, 100, 0.0616)]
)
def test_the_bound_is_clopper_and_pearsons(events: int, frames: int, expected: float) -> None:
    assert bound(events, frames) == pytest.approx(expected, rel=0.01)


def test_an_edit_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("one two two")
    Swap("app.py", "one", "1").apply(tmp_path)
    assert (tmp_path / "app.py").read_text() == "1 two two"
    for old in ("two", "three"):
        with pytest.raises(ValueError, match="times instead of once"):
            Swap("app.py", old, "x").apply(tmp_path)


def test_people_survive_being_written_down(tmp_path: Path, crowd: list[people.Person]) -> None:
    people.save(crowd, tmp_path / "people.json")
    assert people.load(tmp_path / "people.json") == crowd
    assert json.loads((tmp_path / "people.json").read_text())[0]["secret"] == crowd[0].secret
