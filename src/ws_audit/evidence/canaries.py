# SPDX-License-Identifier: Apache-2.0
"""Canaries: synthetic users' tokens, looked for in everything that leaves.

Why it exists: a poisoned cache or an off-by-one reply is a correctly addressed message with
somebody else's content. Only the content tells, and only if it cannot be anybody else's.

It must never let a token, or where it stood, leave the process, and never read more of a
message than the settings allow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ws_audit.configuration import canary_tokens
from ws_audit.model import CONTENT, STRONG, Evidence
from ws_audit.principals.identity import DIFFERENT, SAME, agree, is_a, principal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LEAD: Final = 4  # tokens that begin alike are looked for by that first
_FINDS: Final = 100  # of one message: then it is a list of tokens, and the rest says no more


class Canaries:
    """One compiled search for all tokens; `limit` is how much of a message it reads."""

    def __init__(self, tokens: Mapping[str, str], limit: int) -> None:
        self._owners: dict[str, Evidence] = {}
        for user, token in tokens.items():
            who = principal(user)
            if who is not None:
                self._owners[token] = Evidence("canary", who, CONTENT, "token", STRONG, False)
        self._users = frozenset(one.principal.user for one in self._owners.values())
        self._kinds: set[str] = set()  # of identifiers that the file is known to use
        pattern = _any_of(sorted(self._owners))
        lead = _common(list(self._owners))
        self._lead = lead if len(lead) >= _LEAD else ""
        self._raw_lead = self._lead.encode()
        self._find: Any = re.compile(pattern).finditer
        self._find_raw: Any = re.compile(pattern.encode()).finditer
        self._limit = limit

    def search(self, content: Any, connection: Evidence) -> Evidence | None:
        """The evidence of a token in `content` that is not the connection's own user's.

        One that names somebody in a namespace the connection's user is not known in comes last.
        """
        kind = type(content)
        if kind is not str and kind is not bytes:
            # A subclass may have its own idea of searching.
            if is_a(content, str):
                content, kind = str.__str__(content), str
            elif is_a(content, (bytes, bytearray, memoryview)):
                content, kind = bytes(memoryview(content)), bytes
            else:
                return None
        lead: Any = self._lead if kind is str else self._raw_lead
        if lead and content.find(lead, 0, self._limit) < 0:
            return None
        find = self._find if kind is str else self._find_raw
        unknown = None
        for number, match in enumerate(find(content, 0, self._limit)):
            token = match.group() if kind is str else match.group().decode()
            found = self._as_known(self._owners[token], connection)
            result = _whose(found, connection)
            if result == DIFFERENT:
                return found
            if result != SAME:
                unknown = found
            if number >= _FINDS:
                break
        return unknown

    def _as_known(self, found: Evidence, connection: Evidence) -> Evidence:
        """The owner of a token, as the kind of identifier the connection's user is known by.

        The file does not say whether it calls people by id or by name. It has, as soon as the
        name of somebody who was connected is in it.
        """
        who, known = found.principal, connection.principal
        if known.user in self._users:
            self._kinds.add(known.kind)
        if who.kind == known.kind or who.shape != known.shape or known.kind not in self._kinds:
            return found
        return found._replace(principal=who._replace(kind=known.kind))


def load(path: str, limit: int, say: Callable[[str], None]) -> Canaries | None:
    """The tokens to look for, if there are any; a file that is bad was told of already."""
    if not path:
        return None
    try:
        return Canaries(canary_tokens.read(path), limit)
    except (OSError, ValueError):
        say("canary.tokens_file: gone since the settings were read; no canary is found")
        return None


def _whose(found: Evidence, connection: Evidence) -> int:
    """Whether a token is the connection's user's: by any of the names they are known by."""
    who = found.principal
    for known in (connection.principal, *connection.aliases):
        if known.user == who.user:
            return SAME
    return agree(connection, who)


def _common(words: list[str]) -> str:
    """What all words begin with."""
    first, last = min(words), max(words)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]


def _any_of(words: list[str], at: int = 0) -> str:
    """A pattern for sorted words of which none is part of another: one branch a letter."""
    if len(words) == 1:
        return re.escape(words[0][at:])
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[at], []).append(word)
    branches = [re.escape(first) + _any_of(them, at + 1) for first, them in groups.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
