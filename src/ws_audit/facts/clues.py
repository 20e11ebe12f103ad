# SPDX-License-Identifier: Apache-2.0
"""Why a delivery could not be judged, and where the answer may have stood: sampled.

Why it exists: "no evidence" helps nobody. Whoever is to settle it must know which field,
parameter or scope key held the user, and that can only be seen while the message is there.

It must never keep a value: of a place that may name somebody only its path remains, and
whether it agreed with what else was known. It looks at few messages of each kind, and runs
no application code (identity reads).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ws_audit import naming
from ws_audit.model import INCOMPARABLE, LIMIT, NO_PRINCIPAL, NONE, OTHER
from ws_audit.principals.identity import (
    CELL_KEY,
    SAME,
    agree,
    compare,
    describe,
    fields_of,
    is_a,
    principal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ws_audit.messages.intents import Frame
    from ws_audit.model import Evidence, Principal
    from ws_audit.principals.identity import Cell

Kind = tuple[str, str, str, str]  # manager, function, event, reason
Place = tuple[str, str]  # "field", "scope", "dependency" or "parameter"; then its path

_FIRST: Final = 16  # this many of each kind are looked at, then one of every _EVERY
_EVERY: Final = 256
_KINDS: Final = 1_000
_PLACES: Final = 40
_TEXT: Final = 65_536
_CONNECTIONS: Final = 1_024
# What ASGI itself and the frameworks put into a scope; no user is there.
_PLUMBING: Final = frozenset(
    {
        *("type", "asgi", "http_version", "server", "client", "scheme", "path", "raw_path"),
        *("query_string", "root_path", "headers", "subprotocols", "app", "router", "endpoint"),
        *("path_params", "extensions", "route", "starlette.exception_handlers", "app_root_path"),
        *("fastapi_inner_astack", "fastapi_function_astack", "fastapi_middleware_astack"),
        CELL_KEY,
    }
)


class Clues:
    """Places that named somebody, by kind of delivery: how often seen, how often it agreed."""

    def __init__(self, application_site: Callable[[], str], *, thorough: bool = False) -> None:
        self._application_site = application_site
        self._every = 1 if thorough else _EVERY  # somebody waits for the answer
        self._seen: dict[Kind, int] = {}
        self._places: dict[Kind, dict[Place, list[int]]] = {}
        self._looked: dict[Kind, int] = {}
        self._pairs: dict[Kind, dict[tuple[str, str], None]] = {}
        self._offers = 0
        # What frameworks and connect methods were given, by connection: (place, who).
        self._offered: dict[int, list[tuple[Place, Principal]]] = {}

    def unjudged(
        self,
        cell: Cell,
        scope: dict[str, Any],
        content: object,
        frame: Frame | None,
        evidence: tuple[Evidence, ...],
        event: str,
        reason: str,
    ) -> str:
        """Look at some of the deliveries nobody could judge; the site of one that joined none."""
        kind = (
            NONE if frame is None else frame.intent.manager,
            "" if frame is None else frame.intent.function,
            event,
            reason,
        )
        number = self._seen.get(kind)
        if number is None:
            if len(self._seen) >= _KINDS:
                kind = (OTHER, "", OTHER, reason)
            number = self._seen.get(kind, 0)
        self._seen[kind] = number + 1
        if number >= _FIRST and number % self._every:
            return ""
        self._look(kind, cell, scope, content, frame, evidence)
        return self._application_site() if frame is None else ""

    def _look(
        self,
        kind: Kind,
        cell: Cell,
        scope: dict[str, Any],
        content: object,
        frame: Frame | None,
        evidence: tuple[Evidence, ...],
    ) -> None:
        reason = kind[3]
        self._looked[kind] = self._looked.get(kind, 0) + 1
        places = self._places.setdefault(kind, {})
        connection = evidence[0] if evidence and evidence[0].name == "connection" else None
        if reason == LIMIT:
            key = "limits.connections" if connection is None else "limits.payload_bytes"
            _note(places, ("limit", key), True)
        elif connection is not None:
            for place, who in self._of_message(content, frame):
                _note(places, place, agree(connection, who) == SAME)
        if reason in (NO_PRINCIPAL, INCOMPARABLE):
            others = [item.principal for item in evidence if item is not connection]
            if connection is None:  # what the message and its call say, by whatever name
                others += [who for _, who in self._of_message(content, frame)]
            offered = self._offered.get(cell.connection_id, ())
            for place, who in (*_of_scope(scope), *offered):
                _note(places, place, any(compare(who, one) == SAME for one in others))
        if reason == INCOMPARABLE and connection is not None:
            pairs = self._pairs.setdefault(kind, {})
            for item in evidence[1:]:
                if len(pairs) < _PLACES:
                    pairs[_told(connection), _told(item)] = None

    def offer(self, connection: int, sort: str, path: str, value: object, kind: str) -> None:
        """A dependency's result, or an argument of a connect method, that no rule took."""
        self._offers += 1
        if self._offers > _CONNECTIONS and self._offers % _EVERY:
            return
        if len(self._offered) >= _CONNECTIONS:
            self._offered.pop(next(iter(self._offered)), None)
        offered = self._offered.setdefault(connection, [])
        for below, who in _named(value, kind, 1):
            if len(offered) < _PLACES:
                offered.append(((sort, path + below), who))

    @property
    def found(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._seen)

    def of(self, kind: Kind) -> dict[Place, list[int]]:
        """Place -> [how often it named somebody, how often it agreed with what else was known]."""
        return self._places.get(kind, {}).copy()

    def looked(self, kind: Kind) -> int:
        """How many deliveries of this kind were looked at."""
        return self._looked.get(kind, 0)

    def pairs(self, kind: Kind) -> list[tuple[str, str]]:
        """The kinds of identifier that could not be compared: connection's, message's."""
        return list(self._pairs.get(kind, ()))

    def forget(self) -> None:
        """After a fork: what was seen was the parent's."""
        self._seen, self._looked = {}, {}
        self._places, self._pairs, self._offered = {}, {}, {}

    @staticmethod
    def _of_message(content: object, frame: Frame | None) -> Iterator[tuple[Place, Principal]]:
        for path, who in below(message_of(content), 2):
            yield ("field", path.removeprefix(".")), who
        while frame is not None:
            for path, who in frame.offered:
                yield ("parameter", path), who
            frame = frame.above


def _note(places: dict[Place, list[int]], place: Place, agreed: bool) -> None:
    entry = places.get(place)
    if entry is None:
        if len(places) >= _PLACES:
            return
        entry = places[place] = [0, 0]
    entry[0] += 1
    entry[1] += agreed


def _told(item: Evidence) -> str:
    """An identifier's source and sort, without the identifier."""
    return f"{item.source} ({item.principal.kind}, {item.principal.shape})"


def message_of(content: object) -> object:
    """A message as a dict, as far as it is one."""
    if is_a(content, (str, bytes)):
        text: Any = content
        if len(text) > _TEXT or text[:64].lstrip()[:1] not in ("{", b"{"):
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None
    return content


def _of_scope(scope: dict[str, Any]) -> Iterator[tuple[Place, Principal]]:
    for name, value in list(dict.items(scope)):
        if type(name) is str and name not in _PLUMBING and "." not in name:
            for below, who in _named(value, naming.RECIPIENTS.get(name, "id"), 2):
                yield ("scope", f"scope.{name}{below}"), who


def _named(value: object, kind: str, depth: int) -> Iterable[tuple[str, Principal]]:
    """Who a value names: itself, or what is below it."""
    direct = describe(value, kind)
    if direct:
        yield "", direct[0]
    yield from below(value, depth)


def below(value: object, depth: int) -> Iterator[tuple[str, Principal]]:
    """(path, who) of the fields of a dict or instance that could be somebody's identifier."""
    fields = fields_of(value)
    if fields is None:
        return
    number = 0
    for name, inner in list(dict.items(fields)):
        if type(name) is not str or not name.isidentifier():
            continue
        number += 1
        if number > _PLACES:
            return
        who = principal(inner, naming.RECIPIENTS.get(name, naming.USER_FIELDS.get(name, "id")))
        if who is not None:
            yield f".{name}", who
        elif depth > 1:
            for path, found in below(inner, depth - 1):
                yield f".{name}{path}", found
