# SPDX-License-Identifier: Apache-2.0
"""The application's functions that the settings name: memberships, the accessor, aliases.

Why it exists: they know what the agent cannot see, and they are the only code of the application
that the agent calls. Whoever names one has asked for that.

It must never let one's error out (the guard counts it), run any further code of the application to
read an answer, or import one's module while a message waits: they are resolved when a server takes
the application.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from ws_audit.principals.identity import describe, evidence_of, principal
from ws_audit.process.modules import name_of
from ws_audit.verdict.excuses import Members

from .guard import asked
from .person import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ws_audit.model import Evidence, Principal

_LISTS: Final[tuple[type, ...]] = (list, tuple, set, frozenset, dict, type({}.keys()))
_name_of = type.__dict__["__name__"].__get__  # past what a metaclass may have put before it
MOST: Final = 100_000  # people of one room
ACCESSOR: Final = "identity.accessor"
ALIASES: Final = "identity.aliases"


def _module(name: str) -> Any:
    """The module of that name; the one that runs as `__main__` must not be imported once more."""
    main = sys.modules.get("__main__")
    if name not in sys.modules and main is not None and name_of(main) == name:
        return main
    return import_module(name)


class Asking:
    """Calls the declared functions of one process, each named as "module:function"."""

    def __init__(
        self,
        memberships: Iterable[str],
        accessor: str,
        aliases: str,
        count: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._names = dict.fromkeys(memberships, "membership")
        self._names |= {accessor: ACCESSOR, aliases: ALIASES}
        self._accessor, self._aliases = accessor, aliases
        self._count = count
        self._say = say
        self._told: set[str] = set()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._resolved = False

    def resolve(self) -> None:
        """A server takes the application: find the functions, and say which cannot be used."""
        if self._resolved:
            return
        self._resolved = True
        for name in self._names:
            module, _, path = name.partition(":")
            if not path:  # a framework's, or not set
                continue
            try:
                found: Any = _module(module)
                for step in path.split("."):
                    found = getattr(found, step)
                plain = callable(found) and not iscoroutinefunction(found)
            except (Exception, SystemExit) as fault:  # a script may end as it is imported
                self._tell(name, f"there is none ({_name_of(type(fault))})")
                continue
            if not plain:
                self._tell(name, "expected a plain function, not a coroutine function or a value")
                continue
            self._functions[name] = asked(found, functools.partial(self._failed, name))

    def members(self, name: str, room: object) -> Members | None:
        """Who is in the room now; None if that cannot be said."""
        answer = self._call(name, room)
        people = self._listed(name, answer)
        if people and (type(answer) is set or type(answer) is frozenset):
            people.insert(0, min(people, key=lambda one: one.user))  # the same one each time
        return None if people is None else Members(people)

    def aliases(self, who: Principal) -> tuple[Principal, ...]:
        """Other identifiers of the same person."""
        answer = self._call(self._aliases, Person(who))
        one = principal(answer)
        people = [one] if one is not None else self._listed(self._aliases, answer) or []
        return tuple(other for other in people if other != who)

    def accessor(self, scope: dict[str, Any]) -> Evidence | None:
        """Whose connection it is, from the declared accessor."""
        answer = self._call(self._accessor, scope)
        tenant = None
        if type(answer) is tuple and len(answer) == 2:
            answer, tenant = answer
        found = evidence_of(answer, ACCESSOR)
        holder = principal(tenant)
        if found is None or holder is None:
            return found
        return found._replace(
            principal=found.principal._replace(tenant=holder.user),
            aliases=tuple(one._replace(tenant=holder.user) for one in found.aliases),
        )

    def _call(self, name: str, argument: object) -> Any:
        function = self._functions.get(name)
        answer = None if function is None else function(argument)
        if type(answer) is CoroutineType:
            answer.close()  # it has not begun: nobody waits for it
            self._wrong(name)
            return None
        return answer

    def _failed(self, name: str, fault: BaseException) -> None:
        self._count()
        # The type only: the text of an exception may quote anything.
        kind = _name_of(type(fault))
        hint = ""
        if self._names[name] == ALIASES:  # the usual mistake
            hint = ' (it gets an identifier as text: "17", not 17)'
        self._tell(name, f"it raised {kind}{hint}; further errors are only counted")

    def _wrong(self, name: str) -> None:
        self._count()
        self._tell(name, "expected a list, tuple, set or dict of users as its answer")

    def _tell(self, name: str, what: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._say(f"{self._names[name]} = {name!r}: {what}; nothing is excused by it")

    def _listed(self, name: str, answer: Any) -> list[Principal] | None:
        """The people in an answer; one that is no plain collection would run code to be read."""
        if answer is None:
            return None
        if not any(type(answer) is one for one in _LISTS) or len(answer) > MOST:
            self._wrong(name)
            return None
        return [who for one in answer for who in describe(one)]
