# SPDX-License-Identifier: Apache-2.0
"""What a `[[manager]]` table makes of the class it names.

Why it exists: the table knows more than the rules, which are asked only for what it leaves out.
Whether it is right shows when the class is there: a method that does not exist would be a check
that is believed in and not made.

It must never be silent about a table that does not fit, nor say the same twice; and like
classify.py it calls nothing of the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit import naming
from ws_audit.configuration.wording import nearest
from ws_audit.model import BROADCAST

from .classify import (
    Method,
    Target,
    classes_of,
    given,
    own_methods,
    parameters,
)
from .signs import is_class, plain_function, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FunctionType, ModuleType

    from ws_audit.configuration.manager_tables import ManagerTable

Names = list[tuple[str, str]]  # a method's parameters with their annotations


class Declared:
    """The tables of this process; `say` hears of each that does not fit, once."""

    def __init__(self, tables: Iterable[ManagerTable], say: Callable[[str], None]) -> None:
        self._tables: Final[dict[str, list[ManagerTable]]] = {}
        for table in tables:
            self._tables.setdefault(table.module, []).append(table)
        self._say = say
        self._told: set[str] = set()

    def names(self, *modules: str) -> bool:
        """Whether a table names a class of a module with one of these names."""
        return any(module in self._tables for module in modules)

    def classes(self, name: str, module: ModuleType) -> Iterator[tuple[type, ManagerTable]]:
        """The classes of a module that tables name; `app` may be running as `__main__`."""
        for table in (
            one
            for key in dict.fromkeys((name, module.__name__))
            for one in self._tables.get(key, ())
        ):
            if "<locals>" in table.qualname:  # seen when the function has made it
                continue
            cls = _found(module, table.qualname)
            if cls is None:
                here = [one.__qualname__ for one in classes_of(module)]
                self._tell(
                    table, f"{table.module} has no such class; {_instead(table.qualname, here)}"
                )
            elif cls.__module__ != module.__name__:
                own = f"{cls.__module__}:{cls.__qualname__}"
                self._tell(table, f"that class is only imported there; its own name is {own}")
            else:
                yield cls, table

    def table(self, name: str, cls: type) -> ManagerTable | None:
        """The table that names a class of the module called `name`, if there is one."""
        for key in (name, cls.__module__):
            for table in self._tables.get(key, ()):
                if table.qualname == cls.__qualname__:
                    return table
        return None

    def target(self, cls: type, table: ManagerTable) -> Target | None:
        """The class as its table has it; None if it is to be left alone."""
        if table.ignore:
            return None
        kinds = {method.name: method.kind for method in own_methods(cls)}
        for name, kind in table.kinds:
            if _function(cls, name) is not None:
                kinds[name] = kind
            else:
                self._tell(table, f"{kind} = [{name!r}]: {_missing(cls, name)}")
        signatures = {name: _names(cls, name) for name in kinds}
        methods = tuple(
            Method(name, kind, _parameters(kind, name, signatures[name], table))
            for name, kind in kinds.items()
        )
        if not methods:
            self._tell(table, "no rule finds a method in it; say which of its methods send")
            return None
        self._check_parameters(table, signatures)
        reason = f"named in [[manager]] {table.number}"
        return Target(cls.__module__, cls.__qualname__, reason, methods, table.instance_user)

    def _check_parameters(self, table: ManagerTable, signatures: Mapping[str, Names]) -> None:
        known = {name for names in signatures.values() for name, _ in names}
        for key, wanted in (("recipient", table.recipient), ("payload", table.payload)):
            if wanted and wanted not in known:
                told = f"{key} = {wanted!r}: none of its hooked methods has such a parameter"
                self._tell(table, f"{told}; {_instead(wanted, known)}")

    def _tell(self, table: ManagerTable, what: str) -> None:
        text = f"[[manager]] {table.number}, {table.name}: {what}"
        if text not in self._told:
            self._told.add(text)
            self._say(text)


def _parameters(kind: str, method: str, names: Names, table: ManagerTable) -> Any:
    """What the rules say of the parameters, once those are set aside that the table names."""
    has = {name for name, _ in names}
    told = {table.recipient, table.payload} & has
    meant = parameters(kind, method, [one for one in names if one[0] not in told])
    if table.payload in has:
        meant = meant._replace(payload=table.payload)
    # Whom a broadcast names is its subject, whatever the parameter is called.
    if table.recipient in has and kind != BROADCAST:
        sort = naming.RECIPIENTS.get(words(table.recipient).lstrip("_"), "id")
        meant = meant._replace(recipient=table.recipient, recipient_kind=sort)
    return meant


def _found(module: ModuleType, qualname: str) -> type | None:
    """The class at this path, read from the dictionaries alone."""
    names: Mapping[str, Any] = vars(module)
    value: object = None
    for part in qualname.split("."):
        value = names.get(part)
        if not is_class(value):
            return None
        names = value.__dict__
    return value if is_class(value) else None


def _function(cls: type, name: str) -> FunctionType | None:
    return plain_function(cls.__dict__.get(name))


def _names(cls: type, name: str) -> Names:
    function = _function(cls, name)
    return [] if function is None else given(cls.__dict__[name], function)


def _missing(cls: type, name: str) -> str:
    """Why a class has no method of this name that could be hooked, and what it has instead."""
    if name in cls.__dict__:
        return f"it is no plain method but a {type(cls.__dict__[name]).__name__}"
    for base in cls.__mro__[1:]:
        if name in base.__dict__:
            return f"inherited from {base.__module__}:{base.__qualname__}; name that class instead"
    methods = [one for one in cls.__dict__ if _function(cls, one) and not one.startswith("__")]
    return f"no such method; {_instead(name, methods)}"


def _instead(name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"nearest: {nearest(name, known)}" if known else "there is none at all"
