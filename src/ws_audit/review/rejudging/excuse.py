# SPDX-License-Identifier: Apache-2.0
"""The policy that would excuse an incident, and what else it would excuse.

Why it exists: whoever knows that an incident is no leak must not have to guess the line that says
so; nor excuse a real leak with it unseen.

It must never propose what its replay has not shown to excuse, never hide what else goes with it,
and never put a name into a policy that the store does not have.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.configuration.policy_tables import BROADCAST, IMPERSONATION, SYSTEM, PolicyTable
from ws_audit.principals.identity import DIFFERENT, agree
from ws_audit.schema import EVENT_RULES
from ws_audit.verdict import stored

if TYPE_CHECKING:
    from ws_audit.incidents import Incident
    from ws_audit.model import Evidence
    from ws_audit.verdict.stored import Stored

    from .replay import Change, Replay, Replayer

_MOST_USERS: Final = 3  # past this many it is no role that somebody has
_MOST_EVENTS: Final = 50


class Proposal(NamedTuple):
    """One table, and what it would excuse; its users are hashes, since no store has more.

    `excused` of `total` deliveries of the incident are, `untold` cannot be told; `others` are the
    changes of other incidents that it makes, and `unsure` deliveries of them cannot be told.
    """

    table: PolicyTable
    replay: Replay
    total: int
    excused: int
    untold: int
    others: list[Change]
    unsure: int

    @property
    def whole(self) -> bool:
        """Whether it surely excuses all of the incident."""
        return self.excused == self.total

    @property
    def beside(self) -> int:
        """How many deliveries of other incidents it would excuse."""
        return sum(change.excused.total() for change in self.others)


class Answer(NamedTuple):
    """What can be said: proposals, the narrowest first, or why there is none.

    `shown` is what the records of the incident have in common.
    """

    proposals: list[Proposal]
    refusal: str
    shown: dict[str, list[str]]


def propose(replayer: Replayer, incident: Incident) -> Answer:
    """Look for the policies that would excuse an incident."""
    rows = [
        row for row, home in zip(replayer.rows, replayer.homes, strict=True) if home == incident.id
    ]
    shown = {
        "event": sorted({row.event for row in rows}),
        "manager": sorted({row.manager for row in rows}),
        "site": sorted({row.site for row in rows}),
    }
    refusal = _never(incident.rule)
    if refusal:
        return Answer([], refusal, shown)
    records = [record for row in rows if (record := replayer.record(row)) is not None]
    if not records:
        return Answer([], "nothing that was stored of it can be judged again", shown)
    tables, why_not = _tables(records)
    found = [_tried(replayer, incident, table) for table in tables]
    useful = [one for one in found if one.excused]
    # The one that excuses most of it; of these what excuses least beside it; else as they came.
    useful.sort(key=lambda one: (-one.excused, one.beside))
    if useful:
        return Answer(useful, "", shown)
    if found:
        reasons = found[0].replay.notes
        why_not = why_not or "; ".join(reasons) or "none that its records show a use for does"
    return Answer([], why_not, shown)


def toml(table: PolicyTable, incident: str) -> str:
    """The table as the settings take it; a user stands in it as what the store has, a hash."""
    reason = f"incident {incident}: looked at, and no leak"
    lines = ["[[policy]]", f"kind = {_text(table.kind)}"]
    if table.events:
        lines.append(f"events = [{', '.join(map(_text, table.events))}]")
    if table.users:
        key = "actors" if table.kind == IMPERSONATION else "principals"
        lines.append(f"{key} = [")
        lines += [
            f'    "",  # the user id that has the hash {stored.plain_hash(who)}'
            for who in table.users
        ]
        lines.append("]")
    return "\n".join([*lines, f"reason = {_text(reason)}", ""])


def _text(value: str) -> str:
    """JSON's texts are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _never(rule: str) -> str:
    """Why no policy at all excuses incidents of a rule."""
    if rule == "canary":
        return "no policy excuses a canary: its token was on somebody else's connection"
    if rule in EVENT_RULES:
        return f"no policy excuses {rule}: it is no delivery"
    if not rule.endswith("_vs_connection"):
        return f"no policy excuses {rule}: it is an identifier that is no user's"
    return ""


def _tables(records: list[Stored]) -> tuple[list[PolicyTable], str]:
    """The tables worth trying, the likeliest first; and why there is none for the content."""
    recipients = {record.evidence[0].principal.user for record in records}
    owners = {one.principal.user for record in records for one in _dissents(record)}
    names = {record.names[0] for record in records}
    argument = any(one.name == "argument" for record in records for one in _dissents(record))

    why_not = ""
    broadcast = []
    if argument:
        why_not = (
            "the caller named somebody else: no policy about a message's content excuses that,"
            f" and its {len(recipients):,} recipients and {len(owners):,} owners are no one role"
        )
    elif None in names or "" in names or len(names) > _MOST_EVENTS:
        why_not = (
            "its messages have no event's name that a policy could list"
            if "" in names
            else "the names of its events were not stored: list them in payload.events"
        )
    else:
        events = tuple(sorted(_literal(name) for name in names if name))
        broadcast = [PolicyTable(0, BROADCAST, "", events=events)]
    system = []
    if len(owners) <= _MOST_USERS:
        system = [PolicyTable(0, SYSTEM, "", users=tuple(sorted(owners)))]
    impersonation = []
    if len(recipients) <= _MOST_USERS:
        impersonation = [PolicyTable(0, IMPERSONATION, "", users=tuple(sorted(recipients)))]
    if len(owners) == 1 < len(recipients):
        return [*system, *broadcast, *impersonation], why_not
    if len(recipients) == 1 < len(owners):
        return [*impersonation, *broadcast, *system], why_not
    return [*broadcast, *impersonation, *system], why_not


def _literal(name: str) -> str:
    """The pattern that takes this name alone."""
    return "".join(f"[{it}]" if it in "*?[" else it for it in name)


def _dissents(record: Stored) -> list[Evidence]:
    """What names somebody else; for whom a task runs only where nothing else does."""
    connection, *others = record.evidence
    found = [one for one in others if agree(connection, one.principal) == DIFFERENT]
    return [one for one in found if one.name != "context"] or found


def _tried(replayer: Replayer, incident: Incident, table: PolicyTable) -> Proposal:
    replay = replayer.with_more((table,))
    own = next(it for it in replay.changes if it.before and it.before.id == incident.id)
    others = [it for it in replay.changes if it is not own]
    return Proposal(
        table,
        replay,
        incident.attempted,
        own.excused.total(),
        own.untold.total(),
        [it for it in others if it.excused],
        sum(it.untold.total() for it in others),
    )
