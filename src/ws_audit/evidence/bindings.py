# SPDX-License-Identifier: Apache-2.0
"""Where applications keep who is connected: scope, session, dependencies, and mere claims.

Why it exists: there is no one place. The usual ones are looked at unless the settings say
where this application's are.

It must never run application code (identity.peek reads), and never take what only a client
said for authenticated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ws_audit import naming
from ws_audit.messages.payloads import decoded
from ws_audit.model import ACCEPT, STRONG, WEAK, Evidence
from ws_audit.principals.identity import (
    SCOPE_USER,
    claim_of,
    describe,
    evidence_of,
    peek,
    principal,
    unwrapped,
)

if TYPE_CHECKING:
    from ws_audit.principals.identity import Cell

_GREETINGS = 4  # messages of a connection in which somebody may log in
_DEPENDENCY = "dependency:"


class _Path(NamedTuple):
    """`scope.user.id` or `dependency:current_user.id`: a root, then fields or attributes."""

    text: str
    root: str
    steps: tuple[str, ...]


def _parse(text: str) -> _Path:
    root, _, rest = text.removeprefix("scope.").partition(".")
    return _Path(text, root, tuple(rest.split(".")) if rest else ())


_PARAMETERS = tuple(map(_parse, naming.PATH_PARAMETERS))


class Bindings:
    """Finds connection evidence; `connection` and `tenant` are paths, empty for the usual."""

    def __init__(self, connection: tuple[str, ...] = (), tenant: tuple[str, ...] = ()) -> None:
        self._connection = [_parse(text) for text in connection]
        self._tenant = [_parse(text) for text in tenant]

    def from_scope(self, scope: dict[str, Any]) -> Evidence | None:
        """The authenticated user in an ASGI scope, else in its session."""
        if self._connection:
            for path in self._connection:
                if not path.root.startswith(_DEPENDENCY):
                    found = self._follow(path, scope.get(path.root))
                    if found is not None:
                        return self._with_tenant(found, scope)
            return None
        user = unwrapped(scope.get("user"))
        if user is not None and peek(user, "is_authenticated") is not False:
            found = evidence_of(user, SCOPE_USER)
            if found is not None:
                return self._with_tenant(found, scope)
        state = scope.get("state")  # where middleware of one's own likes to put it
        for name in ("user", "user_id"):
            found = evidence_of(peek(state, name), f"scope.state.{name}")
            if found is not None:
                return self._with_tenant(found, scope)
        session = scope.get("session")
        found = _from_session(session) if session is not None else None
        return None if found is None else self._with_tenant(found, scope)

    def from_dependency(self, name: str, value: object) -> Evidence | None:
        """The user a dependency's result names, if its name says that it is one."""
        root = _DEPENDENCY + name
        if self._connection:
            found = None
            for path in self._connection:
                if path.root == root and found is None:
                    found = self._follow(path, value)
        else:
            kind = naming.RECIPIENTS.get(name, "id")  # a bare `username` is a name
            found = evidence_of(value, root, kind) if name in naming.USER_DEPENDENCIES else None
        return None if found is None else self._with_tenant(found, {root: value})

    @staticmethod
    def claimed(scope: dict[str, Any]) -> Evidence | None:
        """Who the client says it is, in the path or the query: weak."""
        found = None
        for path in _PARAMETERS:
            value = scope.get(path.root)
            for step in path.steps:
                value = peek(value, step)
            found = found or claim_of(value, "path")
        query = scope.get("query_string")
        if found is None and query:
            from urllib.parse import parse_qsl

            found = claim_of(dict(parse_qsl(query.decode("latin-1")[:4096])), "query")
        return found

    def from_session(self, session: object) -> Evidence | None:
        """The user in a session that belongs to one connection alone, as a framework keeps it.

        There a `name` is the user's. In a browser's session it may be anything's.
        """
        found = self.from_scope({"session": session})
        for name in () if found is not None or self._connection else naming.SESSION_NAMES:
            who = principal(peek(session, name), "name")
            if who is not None:
                return Evidence("connection", who, ACCEPT, f"session.{name}", STRONG)
        return found

    @staticmethod
    def greeted(cell: Cell, message: object) -> Evidence | None:
        """Who a message says it is from that brings a credential, on a connection of nobody's.

        Weak, and only of the first few: whether the credential was good, nobody here knows.
        """
        if cell.greetings >= _GREETINGS:
            return None
        cell.greetings += 1
        fields = decoded(message)
        for level in (fields, *(peek(fields, name) for name in naming.NESTED)):
            if any(peek(level, name) for name in naming.CREDENTIALS):
                for name, kind in naming.LOGIN_FIELDS.items():
                    who = principal(peek(level, name), kind)
                    if who is not None:
                        found = Evidence("connection", who, ACCEPT, f"login.{name}", WEAK)
                        cell.claimed = found
                        return found
        return None

    @staticmethod
    def _follow(path: _Path, value: object) -> Evidence | None:
        if value is None:
            return None
        if not path.steps:
            return evidence_of(value, path.text)
        for step in path.steps[:-1]:
            value = peek(value, step)
        last = path.steps[-1]
        who = principal(peek(value, last), naming.USER_FIELDS.get(last, "id"))
        if who is None:
            return None
        others = tuple(one for one in describe(value) if one != who)
        return Evidence("connection", who, ACCEPT, path.text, STRONG, True, others)

    def _with_tenant(self, found: Evidence, roots: dict[str, Any]) -> Evidence:
        for path in self._tenant:
            value = roots.get(path.root)
            for step in path.steps:
                value = peek(value, step)
            holder = principal(value)
            if holder is not None:
                tenant = holder.user
                return found._replace(
                    principal=found.principal._replace(tenant=tenant),
                    aliases=tuple(alias._replace(tenant=tenant) for alias in found.aliases),
                )
        return found


def _from_session(session: object) -> Evidence | None:
    for name in naming.SESSION_FIELDS:
        who = principal(peek(session, name), naming.USER_FIELDS.get(name, "id"))
        if who is not None:
            return Evidence("connection", who, ACCEPT, f"session.{name}", STRONG)
    for name in naming.SESSION_OBJECTS:
        value = peek(session, name)
        if value is not None:
            return evidence_of(value, f"session.{name}")
    return None
