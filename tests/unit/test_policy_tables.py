# SPDX-License-Identifier: Apache-2.0
"""The `[[policy]]` tables: what becomes of each key, and what is said of every mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.requirements import CONTRACT
from ws_audit.configuration.policy_tables import KINDS, PolicyTable
from ws_audit.configuration.settings import load
from ws_audit.schema import POLICIES

if TYPE_CHECKING:
    from pathlib import Path

WHY = 'reason = "because"'
KIND = "one of broadcast, room, share, impersonation, system"
EVENTS = 'a list of event names or patterns, such as ["presence.*"]'
USERS = 'a list of user ids, such as ["support-1"]'
REASON = "a text that says why this is right"
DATE = "a date without quotes, such as 2027-06-30"
MEMBERSHIP = '"module:function", or "socketio" or "channels"'
PLACE = 'a field of the message, such as "data.room_id", or "argument:NAME" of the sending method'

# The table, what is wrong with it, and what is said ("{at}" is its place).
WRONG = [
    (WHY, f"no kind in {{at}}: expected {KIND}"),
    (f'kind = "rooms"\n{WHY}', f"kind = 'rooms' in {{at}}: expected {KIND}"),
    (f"kind = 1\n{WHY}", f"kind = 1 in {{at}}: expected {KIND}"),
    ('kind = "broadcast"\nevents = ["a"]', f"no reason in {{at}}: expected reason = {REASON}"),
    (
        'kind = "broadcast"\nevents = ["a"]\nreason = " "',
        f"reason = ' ' in {{at}}: expected {REASON}",
    ),
    (f'kind = "broadcast"\n{WHY}', f"no events in {{at}}: expected events = {EVENTS}"),
    (f'kind = "broadcast"\nevents = []\n{WHY}', f"events = [] in {{at}}: expected {EVENTS}"),
    (f'kind = "broadcast"\nevents = "a"\n{WHY}', f"events = 'a' in {{at}}: expected {EVENTS}"),
    (
        f'kind = "broadcast"\nevents = ["a"]\nexpires = "2027-06-30"\n{WHY}',
        f"expires = '2027-06-30' in {{at}}: expected {DATE}",
    ),
    (
        f'kind = "system"\nprincipals = ["a"]\nexpires = 2027-06-30T10:00:00Z\n{WHY}',
        f"expected {DATE}",
    ),
    (
        f'kind = "system"\nprincipals = ["a"]\nmembership = "a:b"\n{WHY}',
        "membership in {at}: not a key of kind 'system', which takes reason, expires, principals",
    ),
    (
        f'kind = "system"\nprincipal = ["a"]\nprincipals = ["a"]\n{WHY}',
        "unknown key principal in {at}; nearest: principals",
    ),
    (f'kind = "system"\n{WHY}', f"no principals in {{at}}: expected principals = {USERS}"),
    (f'kind = "impersonation"\nactors = [3]\n{WHY}', f"actors = [3] in {{at}}: expected {USERS}"),
    (f'kind = "room"\n{WHY}', f"no membership in {{at}}: expected membership = {MEMBERSHIP}"),
    (
        f'kind = "room"\nmembership = "app.rooms.members"\n{WHY}',
        f"membership = 'app.rooms.members' in {{at}}: expected {MEMBERSHIP}",
    ),
    (
        f'kind = "room"\nmembership = "socketio"\nroom = "rooms[]"\n{WHY}',
        f"room = 'rooms[]' in {{at}}: expected {PLACE}",
    ),
    (
        f'kind = "share"\nmembership = "a:b"\n{WHY}',
        f"no resource in {{at}}: expected resource = {PLACE}",
    ),
]


def policies(tmp_path: Path, *tables: str) -> tuple[tuple[PolicyTable, ...], list[str]]:
    file = tmp_path / "ws.toml"
    file.write_text("\n".join(f"[[policy]]\n{table}" for table in tables))
    settings, problems = load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    return settings.policy, problems


def test_the_kinds_are_those_of_the_contract() -> None:
    assert tuple(KINDS) == POLICIES


def test_the_contracts_policies() -> None:
    settings, _ = load({"WS_AUDIT_CONFIG": str(CONTRACT / "ws-audit.example.toml")}, "/srv")
    assert settings.policy == (
        PolicyTable(
            1, "broadcast", "presence is public inside a tenant", "2027-06-30", ("presence.*",)
        ),
        PolicyTable(
            *(2, "room", "group chat"),
            events=("chat.message",),
            membership="app.rooms:members",
            where="data.room_id",
        ),
        PolicyTable(3, "impersonation", "support console", users=("support-1",)),
        PolicyTable(4, "system", "server notices", users=("system",)),
        PolicyTable(
            *(5, "share", "shared documents"),
            membership="app.documents:readers",
            where="document_id",
        ),
    )
    assert settings.mode == "observe"
    assert settings.block == ()
    assert settings.identity_accessor == ""
    assert settings.identity_aliases == "app.identity:aliases"


@pytest.mark.parametrize(("table", "told"), WRONG)
def test_a_mistake_is_named_and_the_table_ignored(table: str, told: str, tmp_path: Path) -> None:
    good = f'kind = "system"\nprincipals = ["bot"]\n{WHY}'
    found, problems = policies(tmp_path, good, table, good)
    assert [one.number for one in found] == [1, 3]
    (problem,) = problems
    assert told.format(at=f"[[policy]] 2 of {tmp_path}/ws.toml") in problem


def test_every_mistake_of_a_table_is_named(tmp_path: Path) -> None:
    found, problems = policies(tmp_path, 'kind = "room"\nrom = "a"\nexpires = 3')
    assert found == ()
    assert len(problems) == 4  # the key, the date, no reason, no membership


def test_the_argument_of_a_call_may_name_the_room(tmp_path: Path) -> None:
    table = f'kind = "room"\nmembership = "socketio"\nroom = "argument:room"\n{WHY}'
    found, problems = policies(tmp_path, table)
    assert problems == []
    assert found[0].where == "argument:room"
