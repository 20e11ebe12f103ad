# SPDX-License-Identifier: Apache-2.0
"""What is made of counts: thresholds, and what a few wrong messages may not do."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ws_audit.configuration import settings
from ws_audit.tools.learn_proposal import Proposal, propose
from ws_audit.tools.learn_toml import write

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def field(path: str, seen: int, agreed: int, **more: Any) -> dict[str, Any]:
    return {
        "path": path,
        "seen": seen,
        "agreed": agreed,
        "named": seen - agreed,
        "users": 5,
        "system": {},
        **more,
    }


def event(name: str, frames: int, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "event": name,
        "frames": frames,
        "users": 5,
        "broadcast": 0,
        "room": 0,
        "many": 0,
        "verdicts": {"violation probable": frames},
        "hidden_fields": 0,
        "fields": list(fields),
        **more,
    }


def of(*events: dict[str, Any], **more: Any) -> Proposal:
    learned = {"users": 5, "no_principal": 0, "hidden": 0, "events": list(events)}
    return propose([{"learned": learned, "unjudged": [], "settings": [], "sources": [], **more}])


def toml(proposal: Proposal) -> dict[str, Any]:
    """What a parser makes of it; settings know every key of it."""
    found = tomllib.loads(write(proposal))
    problems: list[str] = []
    settings._flat(found, "learned", problems)
    assert [one for one in problems if "not supported" not in one and "policy" not in one] == []
    return found


@pytest.mark.parametrize(
    ("seen", "agreed", "users", "active"),
    [
        (200, 200, 5, True),
        (199, 199, 5, False),
        (10_000, 9_990, 5, True),
        (10_000, 9_989, 5, None),
        (200, 200, 2, True),
        (200, 200, 1, False),
    ],
)
def test_when_a_path_is_an_owners(seen: int, agreed: int, users: int, active: bool | None) -> None:
    found = of(event("note", seen, field("for_whom", seen, agreed, users=users)))
    assert toml(found).get("payload", {}).get("owner", [""])[0] == ("for_whom" if active else "")
    assert ("for_whom" in write(found)) is (active is not None)
    if active is not None:
        assert f"{agreed:,} of {seen:,} messages" in write(found)


def test_a_leak_in_the_traffic_does_not_take_a_built_in_name_away() -> None:
    found = of(event("note", 1_000, field("user_id", 1_000, 950)))
    assert toml(found) == {}
    assert "almost always. Either the traffic was not clean" in write(found)


def test_few_messages_do_not_take_a_built_in_name_away() -> None:
    assert toml(of(event("note", 199, field("user_id", 199, 0)))) == {}
    taken = toml(of(event("note", 200, field("user_id", 200, 0))))
    assert taken["payload"]["actor"][0] == "user_id"
    assert "user_id" not in taken["payload"]["owner"]


def test_what_was_configured_is_kept() -> None:
    given = [
        {"key": "payload.owner", "value": ["reader", "items[].user_id"], "source": "file"},
        {"key": "payload.actor", "value": ["writer"], "source": "file"},
    ]
    good, bad = field("for_whom", 200, 200), field("reader", 200, 0)
    found = toml(of(event("note", 200, good, bad), settings=given))["payload"]
    assert found == {"owner": ["for_whom", "items[].user_id"], "actor": ["reader", "writer"]}


def test_what_is_called_an_actor_never_becomes_an_owner() -> None:
    assert toml(of(event("echo", 500, field("sender_id", 500, 500)))) == {}


def test_what_names_nobody_gets_no_role() -> None:
    # A number now and then equals somebody's.
    found = of(event("note", 500, field("shelf", 500, 20, named=20)))
    assert "shelf" not in write(found)


def test_an_event_for_all_says_nothing_of_roles() -> None:
    told = field("user_id", 500, 100)
    found = of(event("presence", 500, told, broadcast=500))
    assert "payload" not in toml(found)
    assert toml(found)["policy"][0]["events"] == ["presence"]


@pytest.mark.parametrize(
    ("frames", "users", "active"), [(20, 3, True), (19, 3, False), (20, 2, False), (500, 2, False)]
)
def test_when_an_event_is_for_all(frames: int, users: int, active: bool) -> None:
    found = of(event("presence", frames, broadcast=frames, users=users))
    assert ("policy" in toml(found)) is active
    assert '"presence"' in write(found)


def test_what_one_person_gets_is_no_broadcast() -> None:
    assert "presence" not in write(of(event("presence", 500, broadcast=500, users=1)))


def test_what_is_judged_needs_no_policy() -> None:
    assert toml(of(event("presence", 50, broadcast=50, verdicts={"match": 50}))) == {}


@pytest.mark.parametrize("name", ["none", "other", 'a"b', "a\nb"])
def test_events_without_a_name_of_their_own_get_no_policy(name: str) -> None:
    assert toml(of(event(name, 50, broadcast=50))) == {}


def test_a_name_that_looks_like_a_pattern_means_itself() -> None:
    found = toml(of(event("a*[b]?", 50, broadcast=50)))
    assert found["policy"][0]["events"] == ["a[*][[]b][?]"]


def test_several_processes_are_one() -> None:
    half = {"users": 5, "no_principal": 3, "hidden": 2, "events": []}
    half["events"] = [event("note", 100, field("for_whom", 100, 100))]
    document = {"learned": half, "unjudged": [], "settings": [], "sources": []}
    found = propose([document, document])
    assert (found.frames, found.users, found.no_principal, found.hidden) == (200, 5, 6, 4)
    assert toml(found)["payload"]["owner"][0] == "for_whom"


def row(looked: int, agreed: int, **more: Any) -> dict[str, Any]:
    place = {"sort": "scope", "path": "scope.passport.holder", "seen": looked, "agreed": agreed}
    return {
        "site": "app:f:1",
        "event": "note",
        "reason": "no_principal",
        "manager": "none",
        "method": "",
        "count": looked,
        "estimated": False,
        "looked_at": looked,
        "places": [place],
        "hidden_places": 0,
        "pairs": [],
        **more,
    }


@pytest.mark.parametrize(
    ("looked", "agreed", "active"),
    [(200, 200, True), (199, 199, False), (1_000, 998, False), (1_000, 999, True)],
)
def test_when_a_path_is_the_connections(looked: int, agreed: int, active: bool) -> None:
    document = {"unjudged": [row(looked, agreed)], "classes": []}
    document["sources"] = [["connection", "session.user_id"]]  # type: ignore[list-item]
    found = of(**document)
    lines = toml(found).get("identity", {}).get("connection", [])
    assert lines == (["scope.passport.holder", "scope.session.user_id"] if active else [])
    assert "scope.passport.holder" in write(found)
    assert f"{looked:,} messages went to connections whose user is unknown" in write(found)


def test_the_parameter_of_a_connect_method() -> None:
    place = {
        "sort": "parameter",
        "path": "chat:ChatManager.connect:member_ref",
        "seen": 300,
        "agreed": 300,
    }
    found = of(unjudged=[row(300, 300, places=[place])], classes=[])
    assert toml(found)["manager"] == [{"class": "chat:ChatManager", "recipient": "member_ref"}]


def test_two_kinds_of_identifier_are_told_and_not_settled() -> None:
    pairs = [["scope.user.id (id, int)", "user_id (subject, opaque)"]]
    found = of(unjudged=[row(40, 0, reason="incomparable", pairs=pairs)], classes=[])
    assert toml(found) == {}
    assert 'identity.aliases = "module:function"' in write(found).replace("\n# ", " ")
    assert "scope.user.id (id, int) against user_id (subject, opaque)" in (
        write(found).replace("\n# ", " ")
    )
