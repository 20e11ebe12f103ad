# SPDX-License-Identifier: Apache-2.0
"""What clean traffic allows to propose: which field is whose, and which events are for all.

Why it exists: the counts of several processes become a few lines of configuration here, each
with the numbers it stands on, or commented out if they are too small.

It must never propose that something is harmless because it was rare, take a built-in name away
on thin evidence, or write anything that is not a name from code or a number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import naming

from .doctor_advice import CONNECTION
from .doctor_findings import unjudged

if TYPE_CHECKING:
    from collections.abc import Iterable

ENOUGH: Final = 200  # frames, before a line counts without a person's help
SURE: Final = 0.999  # of them: the field names the connection's user
DOUBTFUL: Final = 0.9  # between the two a built-in name stays: the traffic may not be clean
PEOPLE: Final = 2  # for a field; with one user every constant agrees
CROWD: Final = 3  # for a broadcast: two may be a leak and its victim
FEW: Final = 20  # frames, for a broadcast


class Line(NamedTuple):
    """One entry of a list; without a `why` it repeats a name in use that did not occur.

    `active`: it is proposed as it stands, not commented out.
    """

    value: str
    why: str
    active: bool


class Table(NamedTuple):
    """One table of an array. `comments` stand before it."""

    name: str
    values: tuple[tuple[str, Any], ...]
    comments: tuple[str, ...]
    active: bool


class Proposal(NamedTuple):
    """What to write. `lists` are (key, entries, whether anything differs from the defaults)."""

    frames: int
    users: int
    no_principal: int
    hidden: int
    violations: int
    lists: dict[str, list[Line]]
    tables: list[Table]
    remarks: list[str]

    @property
    def active(self) -> bool:
        """Whether anything is proposed that is not commented out."""
        lines = any(line.active for entries in self.lists.values() for line in entries)
        return lines or any(table.active for table in self.tables)


class _Sum:
    """One path, over events."""

    def __init__(self) -> None:
        self.seen = self.agreed = self.named = self.users = 0

    def add(self, field: dict[str, Any]) -> None:
        self.seen += field["seen"]
        self.agreed += field["agreed"]
        self.named += field["named"]
        self.users = max(self.users, field["users"])

    @property
    def share(self) -> float:
        return self.agreed / self.seen if self.seen else 0.0


def propose(documents: list[dict[str, Any]]) -> Proposal:
    """From the facts of the processes that looked at everything."""
    learned = [one["learned"] for one in documents if one.get("learned")]
    events = _events(learned)
    crowd = {name for name, event in events.items() if _for_many(event)}
    lists: dict[str, list[Line]] = {}
    tables: list[Table] = []
    remarks: list[str] = []
    for_one = {name: event for name, event in events.items() if name not in crowd}
    roles = _roles(for_one, _given(documents), remarks)
    if roles.owner:
        lists["payload.owner"] = roles.owner
    if roles.actor:
        lists["payload.actor"] = roles.actor
    connections, managers = _connections(documents, remarks)
    if connections:
        lists["identity.connection"] = connections
    tables += managers
    for name in sorted(crowd | roles.public):
        table = _policy(name, events[name], roles.public)
        if table is not None:
            tables.append(table)
    words = sorted({word for event in events.values() for word in _system(event)})
    if words:
        tables.append(_system_policy(words, events))
    _aliases(documents, remarks)
    return Proposal(
        sum(event["frames"] for event in events.values()),
        max((one["users"] for one in learned), default=0),
        sum(one["no_principal"] for one in learned),
        sum(one["hidden"] for one in learned),
        sum(_violations(event) for event in events.values()),
        lists,
        tables,
        remarks,
    )


def _events(learned: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The counts of all processes: sums; of users the most any of them saw."""
    found: dict[str, dict[str, Any]] = {}
    for document in learned:
        for event in document["events"]:
            known = found.setdefault(
                event["event"],
                {"frames": 0, "users": 0, "broadcast": 0, "room": 0, "many": 0}
                | {"verdicts": {}, "fields": {}},
            )
            for name in ("frames", "broadcast", "room", "many"):
                known[name] += event[name]
            known["users"] = max(known["users"], event["users"])
            for name, amount in event["verdicts"].items():
                known["verdicts"][name] = known["verdicts"].get(name, 0) + amount
            for field in event["fields"]:
                sums = known["fields"].setdefault(field["path"], (_Sum(), {}))
                sums[0].add(field)
                for word, amount in field["system"].items():
                    sums[1][word] = sums[1].get(word, 0) + amount
    return found


def _violations(event: dict[str, Any]) -> int:
    return sum(n for name, n in event["verdicts"].items() if name.startswith("violation"))


def _for_many(event: dict[str, Any]) -> bool:
    """Sent by a broadcast method, or the same to several people, nearly always."""
    frames = event["frames"]
    many: bool = event["broadcast"] >= DOUBTFUL * frames or event["many"] >= frames / 2
    return many and event["users"] >= PEOPLE


# --- roles -------------------------------------------------------------------------------------


class _Roles(NamedTuple):
    owner: list[Line]
    actor: list[Line]
    public: set[str]  # events in which an owner's field names somebody else throughout


def _roles(
    events: dict[str, dict[str, Any]],
    given: dict[str, dict[str, None]],
    remarks: list[str],
) -> _Roles:
    sums: dict[str, _Sum] = {}
    for event in events.values():
        for path, (field, _) in event["fields"].items():
            total = sums.setdefault(path, _Sum())
            total.seen += field.seen
            total.agreed += field.agreed
            total.named += field.named
            total.users = max(total.users, field.users)
    built_in = given.get("payload.owner") or _built_in()
    owner: list[Line] = []
    actor: list[Line] = []
    gone: set[str] = set()
    public: set[str] = set()
    for path, total in sorted(sums.items(), key=lambda one: (-one[1].seen, one[0])):
        by_name = path.rpartition(".")[2] in naming.ACTOR_FIELDS
        told = f"equal to the connection's user in {total.agreed:,} of {total.seen:,} messages"
        told += f", {total.users:,} user{'' if total.users == 1 else 's'}"
        if by_name or not total.seen:
            continue  # an actor already; who only ever talks to themselves proves nothing
        if total.share >= SURE:
            if path in built_in:
                continue  # it is one, and stays one
            sure = total.seen >= ENOUGH and total.users >= PEOPLE
            owner.append(Line(path, told if sure else f"{told}: {_too_few(total)}", sure))
            continue
        others = _split(path, events) if path in built_in else set()
        if others:
            public |= others
            remarks.append(
                f"{path} names the owner in most events, and somebody else in"
                f" {', '.join(sorted(others))}: see the policies."
            )
            continue
        if path not in built_in and not _names_people(path, total):
            continue
        sure = total.seen >= ENOUGH and total.share < DOUBTFUL
        why = told
        if total.share >= DOUBTFUL:
            why = f"{told}: almost always. Either the traffic was not clean or it is no owner"
        elif not sure:
            why = f"{told}: {_too_few(total)}"
        actor.append(Line(path, why, sure))
        if sure and path in built_in:
            gone.add(path)
    return _Roles(_with_built_in(owner, built_in, gone, sums), _with_actors(actor, given), public)


def _too_few(total: _Sum) -> str:
    if total.seen < ENOUGH:
        return f"fewer than {ENOUGH} messages"
    return "only one user was connected"


def _given(documents: Iterable[dict[str, Any]]) -> dict[str, dict[str, None]]:
    """The paths the processes were configured with, which a proposal must not take away."""
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for one in document["settings"]:
            if one["key"] in ("payload.owner", "payload.actor") and one["value"]:
                found.setdefault(one["key"], {}).update(dict.fromkeys(one["value"]))
    return found


def _built_in() -> dict[str, None]:
    prefixes = ("", *(f"{name}." for name in naming.NESTED))
    names = (*naming.OWNER_FIELDS, *naming.USER_ID_FIELDS)
    return {prefix + name: None for prefix in prefixes for name in names}


def _split(path: str, events: dict[str, dict[str, Any]]) -> set[str]:
    """Events in which an owner's field is none, if it is one in all the others."""
    good = _Sum()
    others: set[str] = set()
    for name, event in events.items():
        field = event["fields"].get(path, (None,))[0]
        if field is None or not field.seen:
            continue
        if field.share >= SURE:
            good.seen += field.seen
            good.users = max(good.users, field.users)
        elif field.share < DOUBTFUL and name not in ("none", "other"):
            others.add(name)
        else:
            return set()
    return others if good.seen >= ENOUGH and good.users >= PEOPLE else set()


def _names_people(path: str, total: _Sum) -> bool:
    """Whether a field that is no owner names users at all: by what it held, and by its name."""
    last = path.rpartition(".")[2]
    known = last in naming.RECIPIENTS or last in naming.USER_FIELDS or last in naming.OWNER_FIELDS
    held = total.agreed + total.named
    return held >= total.seen / 2 and (known or re.search(_PERSON, last) is not None)


_PERSON: Final = r"(?i)(user|member|author|sender|owner|actor|person|people|by|who|from|to)(_?id)?$"


def _with_built_in(
    owner: list[Line], built_in: dict[str, None], gone: set[str], sums: dict[str, _Sum]
) -> list[Line]:
    """A list replaces the built-in names: those that were not contradicted are repeated."""
    if not gone and not any(line.active for line in owner):
        return [line for line in owner if not line.active]
    kept = []
    for path in built_in:
        if path in gone:
            continue
        total = sums.get(path)
        why = ""
        if total is not None and total.seen:
            why = f"in use; equal in {total.agreed:,} of {total.seen:,} messages"
        kept.append(Line(path, why, True))
    return [*owner, *kept]


def _with_actors(actor: list[Line], given: dict[str, dict[str, None]]) -> list[Line]:
    if not any(line.active for line in actor):
        return actor
    prefixes = ("", *(f"{name}." for name in naming.NESTED))
    built_in = {prefix + name: None for prefix in prefixes for name in naming.ACTOR_FIELDS}
    return [*actor, *(Line(path, "", True) for path in given.get("payload.actor") or built_in)]


# --- connections -------------------------------------------------------------------------------


def _connections(
    documents: list[dict[str, Any]], remarks: list[str]
) -> tuple[list[Line], list[Table]]:
    """What doctor proposes for the connections, held to this command's numbers."""
    rows, _ = unjudged([{**one, "unjudged": _of_connections(one)} for one in documents])
    lines: dict[str, Line] = {}
    managers: dict[str, Table] = {}
    for row in rows:
        for where, name, value in row_settings(row, documents):
            told, sure = _told(row, value)
            if where == "" and name == CONNECTION:
                if value not in lines or sure:
                    lines[value] = Line(value, told, sure)
            elif ":" in where:
                known = managers.get(where)
                values = dict(known.values) if known is not None else {"class": where}
                values[name] = value
                sure = sure or (known is not None and known.active)
                managers[where] = Table("manager", tuple(values.items()), (told,), sure)
    found = list(lines.values())
    if any(line.active for line in found):
        found += [
            Line(path, "in use already", True) for path in _in_use(documents) if path not in lines
        ]
    missing = sum(row["count"] for row in rows)
    if missing:
        remarks.append(
            f"{missing:,} messages went to connections whose user is unknown: nothing was learned"
            " of them. Learn again with what settles that."
        )
    return found, list(managers.values())


def _of_connections(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in document["unjudged"] if row["reason"] == "no_principal"]


def row_settings(
    row: dict[str, Any], documents: list[dict[str, Any]]
) -> tuple[tuple[str, str, Any], ...]:
    """Doctor's advice on a kind of delivery, as settings."""
    from .doctor_advice import Config, advise

    return advise(row, documents[0], Config(documents)).settings


def _told(row: dict[str, Any], value: Any) -> tuple[str, bool]:
    place = next(
        (one for one in row["places"] if value in (one["path"], one["path"].rpartition(":")[2])),
        None,
    )
    if place is None:
        return "not checked: nothing named anybody", False
    looked = row["looked_at"]
    told = f"held the user the message was for in {place['agreed']:,} of {looked:,} messages"
    sure = looked >= ENOUGH and place["agreed"] >= SURE * looked
    return told if sure else f"{told}: check it", sure


def _in_use(documents: list[dict[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for document in documents:
        for name, source in document["sources"]:
            path = f"scope.{source}" if source.startswith("session.") else source
            if name == "connection" and path.startswith(("scope.", "dependency:")):
                found[path] = None
    return list(found)


def _aliases(documents: list[dict[str, Any]], remarks: list[str]) -> None:
    pairs: dict[tuple[str, str], int] = {}
    for document in documents:
        for row in document["unjudged"]:
            for one, two in row["pairs"]:
                pairs[one, two] = pairs.get((one, two), 0) + row["count"]
    for (one, two), amount in sorted(pairs.items(), key=lambda pair: -pair[1])[:5]:
        remarks.append(
            f"{amount:,} messages name their user by another kind of identifier than the"
            f" connection: {one} against {two}. If both are the same person, name the function"
            ' that knows: identity.aliases = "module:function".'
        )


# --- policies ------------------------------------------------------------------------------------


def _policy(name: str, event: dict[str, Any], public: set[str]) -> Table | None:
    """An event everybody may see, if something of it is not judged a match."""
    unsettled = event["frames"] - event["verdicts"].get("match", 0)
    unsettled -= sum(n for said, n in event["verdicts"].items() if said.startswith("excused"))
    if not unsettled or name in ("none", "other") or not _writable(name):
        return None
    told = [f"{event['frames']:,} messages to {event['users']:,} users, {unsettled:,} not a match"]
    if name in public:
        told.append("Sent to one person at a time; its owner field names somebody else.")
    else:
        told.append(
            f"{event['broadcast']:,} of them sent by a broadcast method,"
            f" {event['many']:,} to one more person with the same call or text."
        )
    told += [
        f"Its field {path} names somebody else in {field.seen - field.agreed:,} of"
        f" {field.seen:,}: is everybody who gets it meant to see that person's?"
        for path, (field, _) in sorted(event["fields"].items())
        if field.seen > field.agreed and path in _built_in()
    ]
    least = ENOUGH if name in public else FEW
    enough = event["frames"] >= least and event["users"] >= CROWD
    values: list[tuple[str, Any]] = [("kind", "broadcast")]
    values += [("events", [re.sub(r"([*?[])", r"[\1]", name)]), ("reason", _REASON)]
    if event["room"] * 2 > event["frames"]:
        told.append("A room: name the function that knows its members, and the field of its id.")
        values[0] = ("kind", "room")
        values.insert(1, ("membership", "module:function"))
        enough = False
    elif not enough:
        told.append(f"Fewer than {least} messages or {CROWD} users.")
    return Table("policy", tuple(values), tuple(told), active=enough)


_REASON: Final = "proposed by ws-audit learn: say why this is right, or take it out"


def _writable(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name


def _system(event: dict[str, Any]) -> set[str]:
    """Words that name no person, in fields that name the owner."""
    built_in = _built_in()
    return {
        word for path, (_, words) in event["fields"].items() if path in built_in for word in words
    }


def _system_policy(words: list[str], events: dict[str, dict[str, Any]]) -> Table:
    built_in = _built_in()
    amount = sum(
        number
        for event in events.values()
        for path, (_, found) in event["fields"].items()
        if path in built_in
        for number in found.values()
    )
    values = (("kind", "system"), ("principals", words), ("reason", _REASON))
    told = f"{amount:,} messages name one of these as their owner"
    return Table("policy", values, (told,), active=amount >= FEW)
