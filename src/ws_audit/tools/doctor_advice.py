# SPDX-License-Identifier: Apache-2.0
"""What settles a kind of delivery that could not be judged: a line to paste, or why there is none.

Why it exists: onboarding is finished by lines of configuration, and whoever writes them should
not have to guess. A line is only proposed for a place that was seen to name the right user, or
with the words that it was not.

It must never propose a key this version refuses, nor one that takes away what works: a list
replaces the built-in names, so it repeats those in use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import naming
from ws_audit.classes.signs import words
from ws_audit.model import (
    INCOMPARABLE,
    INTERNAL_ERROR,
    LIMIT,
    NO_PRINCIPAL,
    NONE,
    OPAQUE,
    OTHER,
    UNDECLARED_BROADCAST,
    UNREADABLE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

OWNER, CONNECTION = "payload.owner", "identity.connection"
BROADCAST: Final = "[[policy]] broadcast"  # where an event is proposed as one everybody may see
_SOCKET: Final = re.compile(naming.SOCKETS, re.IGNORECASE)
_USUALLY: Final = 0.9  # of the deliveries looked at
BIND: Final = "ws_audit.bind(websocket, user_id)"


class Advice(NamedTuple):
    """What to do. `settings` are (key or class, name, value) as they go into the file."""

    text: str
    settings: tuple[tuple[str, str, Any], ...] = ()
    code: str = ""


class Config:
    """The settings proposed so far, merged, and the TOML they make."""

    def __init__(self, documents: Iterable[dict[str, Any]]) -> None:
        documents = list(documents)
        given = {one["key"]: one for document in documents for one in document["settings"]}
        self._in_pyproject = any("[tool.ws-audit]" in one["source"] for one in given.values())
        self._tables = list(given.get("manager", {"value": []})["value"])
        self._in_use: dict[str, list[str]] = {OWNER: [], CONNECTION: []}
        for key, known in self._in_use.items():
            known.extend(given.get(key, {"value": []})["value"])
        if not self._in_use[OWNER]:
            self._in_use[OWNER].append("user_id")  # what most messages call it, seen or not
        for document in documents:
            for name, source in document["sources"]:
                self._used(name, source)
        self._limits = {key: one["value"] for key, one in given.items() if key[:6] == "limits"}
        self._lists: dict[str, list[str]] = {}
        self._numbers: dict[str, int] = {}
        self._managers: dict[str, dict[str, Any]] = {}
        self._broadcasts: dict[str, None] = {}

    def _used(self, name: str, source: str) -> None:
        key, path = OWNER, source
        if name == "connection":
            key = CONNECTION
            path = f"scope.{source}" if source.startswith("session.") else source
            if not path.startswith(("scope.", "dependency:")):
                return
        elif name != "payload" or source == "inbound":
            return
        if path not in self._in_use[key]:
            self._in_use[key].append(path)

    def limit(self, key: str) -> int:
        """A limit in force."""
        return int(self._limits.get(key, 0))

    def known(self, cls: str) -> bool:
        """Whether a table names the class already."""
        return cls in self._tables

    def fits(self, settings: Iterable[tuple[str, str, Any]]) -> bool:
        """Whether these settings do not contradict what was proposed before."""
        return all(
            self._managers.get(where, {}).get(name, value) == value
            for where, name, value in settings
            if ":" in where
        )

    def add(self, settings: Iterable[tuple[str, str, Any]]) -> None:
        """Propose these as well."""
        for where, name, value in settings:
            if where == BROADCAST:
                self._broadcasts[value] = None
            elif ":" in where:
                self._managers.setdefault(where, {})[name] = value
            elif isinstance(value, int):
                self._numbers[name] = max(value, self._numbers.get(name, 0))
            else:
                known = self._lists.setdefault(name, list(self._in_use[name]))
                known.extend(one for one in [value] if one not in known)

    def alone(self, settings: Iterable[tuple[str, str, Any]]) -> str:
        """The TOML of one proposal."""
        other = Config([])
        other._in_use, other._tables = self._in_use, self._tables
        other._in_pyproject = self._in_pyproject
        other.add(settings)
        return other.toml()

    def toml(self) -> str:
        """Everything proposed, ready to paste."""
        lines = [f"{name} = {_toml(value)}" for name, value in sorted(self._lists.items())]
        lines += [f"{name} = {value}" for name, value in sorted(self._numbers.items())]
        if lines and self._in_pyproject:
            lines.insert(0, "[tool.ws-audit]")
        table = "[[tool.ws-audit.manager]]" if self._in_pyproject else "[[manager]]"
        for cls, values in self._managers.items():
            if lines:
                lines.append("")
            lines.append(f"# in the table of {cls}:" if cls in self._tables else table)
            if cls not in self._tables:
                lines.append(f"class = {_toml(cls)}")
            lines += [f"{name} = {_toml(value)}" for name, value in values.items()]
        if self._broadcasts:
            lines += [""] * bool(lines)
            lines.append("[[tool.ws-audit.policy]]" if self._in_pyproject else "[[policy]]")
            lines += ['kind = "broadcast"', f"events = {_toml(list(self._broadcasts))}"]
            lines.append('reason = "TODO: why everybody it goes to may see it"')
        return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def advise(row: dict[str, Any], document: dict[str, Any], config: Config) -> Advice:
    """What settles one kind of delivery."""
    reason = row["reason"]
    if reason == UNDECLARED_BROADCAST:
        return _broadcast(row)
    if reason == INTERNAL_ERROR:
        return Advice(
            "This is an error of ws-audit: please report it with the line on stderr that begins"
            " with 'ws-audit: internal error'."
        )
    if reason == LIMIT:
        return _limit(row, config)
    if reason == NO_PRINCIPAL:
        return _connection(row, document, config)
    return _message(row, config)


def _broadcast(row: dict[str, Any]) -> Advice:
    private = (
        " If it carries one person's data, put their id into the message (a field user_id) instead:"
        " then it is judged."
    )
    event = row["event"]
    if event in (NONE, OTHER) or not event.isprintable() or '"' in event or "\\" in event:
        return Advice(
            "If everybody it goes to may see it, give it a name of its own (a field type) and"
            f" declare that in a [[policy]] of kind broadcast.{private}"
        )
    return Advice(
        f"If everybody it goes to may see what is in an event {event}, declare it, and say"
        f" why.{private}",
        ((BROADCAST, "events", fnmatch_literal(event)),),
    )


def fnmatch_literal(name: str) -> str:
    """A pattern that means this very name."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _limit(row: dict[str, Any], config: Config) -> Advice:
    key = row["places"][0]["path"] if row["places"] else "limits.payload_bytes"
    what = "connections at a time" if "connections" in key else "bytes in a message"
    now = config.limit(key)
    return Advice(
        f"The limit is {now:,} {what}. Raise it if this is normal traffic.",
        (("", key, max(1, now * 4)),),
    )


def _checked(row: dict[str, Any], sorts: tuple[str, ...]) -> list[dict[str, Any]]:
    """The places that named the right user in (nearly) every delivery looked at."""
    enough = max(1, row["looked_at"] * _USUALLY)
    found = [one for one in row["places"] if one["sort"] in sorts and one["agreed"] >= enough]
    return sorted(found, key=lambda one: sorts.index(one["sort"]))


def _seen(row: dict[str, Any], sorts: tuple[str, ...]) -> list[dict[str, Any]]:
    enough = max(1, row["looked_at"] * _USUALLY)
    return [one for one in row["places"] if one["sort"] in sorts and one["seen"] >= enough]


def _said(place: dict[str, Any], row: dict[str, Any]) -> str:
    number = row["looked_at"]
    every = "each" if place["agreed"] >= number else f"{place['agreed']}"
    return f"in {every} of the {number} looked at" if number > 1 else "in the one looked at"


def _place(place: dict[str, Any], key: str) -> tuple[tuple[str, str, Any], ...]:
    """The setting that makes the agent read a place."""
    if place["sort"] == "parameter":
        cls, _, name = _parameter(place["path"])
        return ((cls, "recipient", name),)
    return (("", key, place["path"]),)


def _parameter(path: str) -> tuple[str, str, str]:
    """(class, method, parameter)"""
    function, _, name = path.rpartition(":")
    cls, _, method = function.rpartition(".")
    return cls, method, name


def _named(place: dict[str, Any]) -> str:
    path = str(place["path"])
    if place["sort"] == "parameter":
        cls, method, name = _parameter(path)
        return f"The parameter {name} of {cls.rpartition(':')[2]}.{method}()"
    if place["sort"] == "field":
        return f"The field {path} of the message"
    return f"The value at {path}"


def _connection(row: dict[str, Any], document: dict[str, Any], config: Config) -> Advice:
    sorts = ("scope", "dependency", "parameter")
    for place in _checked(row, sorts):
        settings = _place(place, CONNECTION)
        if config.fits(settings):
            return Advice(
                f"{_named(place)} held the user the message was for, {_said(place, row)}.", settings
            )
    places = _seen(row, sorts)
    if len(places) == 1 and config.fits(_place(places[0], CONNECTION)):
        return Advice(
            f"{_named(places[0])} may be the user: nothing else named anybody, so this could not"
            " be checked. Check it before you paste.",
            _place(places[0], CONNECTION),
        )
    for told in document["classes"]:
        found = _connects(told)
        if found and config.fits(found) and not places:
            return Advice(
                f"{told['class']} has a method that takes a socket and is not hooked; if that is"
                " where connections are registered, name it.",
                found,
            )
    could = f" It may be one of: {', '.join(one['path'] for one in places)}." if places else ""
    return Advice(
        f"Tell the agent whose connection it is, once you have authenticated it.{could}",
        code=f"import ws_audit; {BIND}",
    )


def _connects(told: dict[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    for method in told["not_hooked"]:
        names = method["parameters"]
        others = [name for name in names if not _SOCKET.match(words(name).lstrip("_"))]
        if len(others) < len(names) and others:
            users = [name for name in others if words(name).lstrip("_") in naming.RECIPIENTS]
            cls = told["class"]
            bind: tuple[str, str, Any] = (cls, "bind", [method["name"]])
            if users:
                return (bind,)
            if len(others) == 1:
                return (bind, (cls, "recipient", others[0]))
    return ()


def _message(row: dict[str, Any], config: Config) -> Advice:
    checked = _checked(row, ("parameter", "field", "scope", "dependency"))
    for place in checked:
        key = OWNER if place["sort"] == "field" else CONNECTION
        settings = _place(place, key)
        if config.fits(settings):
            other = "whose message it is" if key == CONNECTION else "the connection's user"
            what = "the connection's user" if place["sort"] == "parameter" else other
            return Advice(f"{_named(place)} named {what}, {_said(place, row)}.", settings)
    if row["reason"] == INCOMPARABLE:
        pairs = "; ".join(f"{one} against {two}" for one, two in row["pairs"]) or "unknown"
        return Advice(
            f"Seen: {pairs}. Tell the agent the identifier that the messages use:"
            " nothing it saw of the connection holds it.",
            code=f"import ws_audit; {BIND}",
        )
    if row["reason"] in (OPAQUE, UNREADABLE):
        return Advice(
            "Send JSON objects with a field user_id, or through a method of a manager class that"
            " takes the recipient (user_id) as a parameter."
        )
    fields = [one["path"] for one in row["places"] if one["sort"] == "field"]
    seen = (
        f"Its fields {', '.join(fields[:4])} could name somebody, but not reliably the"
        " connection's user. "
        if fields
        else ""
    )
    return Advice(
        f"{seen}Put the recipient's id into the message (a field user_id), or send it through a"
        " method that takes the recipient (user_id) as a parameter. A message that carries"
        " nobody's data, such as a ping, may stay as it is."
    )
