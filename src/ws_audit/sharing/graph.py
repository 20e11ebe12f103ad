# SPDX-License-Identifier: Apache-2.0
"""What hangs on a per-user instance: containers, by the path that leads to them.

Why it exists: a list that two users' emitters both append to is a leak that no message shows
until it is too late. To see it one has to look at what the instances refer to.

It must never run application code: exact containers are read with their types' own methods,
instances through `__dict__` and slots, classes through their namespace. It keeps nothing: a
path consists of names and numbers and is followed anew each time. How much it looks at is
bounded in depth, number and time.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict, defaultdict, deque
from enum import Enum
from itertools import islice
from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from ws_audit import naming
from ws_audit.classes.classify import undecorated
from ws_audit.classes.signs import words
from ws_audit.principals.identity import fields_of, is_a, peek, principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEPTH: Final = 4
NODES: Final = 500
_FIELDS: Final = 200  # attributes of an instance or a class
_KEYS: Final = 64
_ITEMS: Final = 16
_ENDS: Final = 32  # of a long list both ends are compared
_LOOK_INTO: Final = 8
_NAMES: Final = 10_000

_DICTS: Final = (dict, defaultdict, OrderedDict)
_LISTS: Final = (list, deque)
_MUTABLE: Final = frozenset({*_DICTS, *_LISTS, set, bytearray})
_BY_DESIGN: Final = re.compile(naming.SHARED_BY_DESIGN)

ATTRIBUTE, CLASS, DEFAULT, KEY, ITEM, NAMESPACE = range(6)

_mro = type.__dict__["__mro__"].__get__
_namespace = type.__dict__["__dict__"].__get__
_qualname = type.__dict__["__qualname__"].__get__


class Step(NamedTuple):
    """One step of a path; `within` is the class, or its method, that a step goes through."""

    sort: int
    name: str | int
    within: str = ""


Path = tuple[Step, ...]


def told(path: Path) -> str:
    """A path as people read it: `memory.messages`, `history (class attribute)`."""
    text = ""
    for step in path:
        if step.sort == ITEM:
            text += "[]"
        elif step.sort == DEFAULT:
            text += f".{step.within.rpartition('.')[2]}({step.name}=)"
        else:
            text += f".{step.name}"
    return text.removeprefix(".")


class Reader:
    """Reads what instances refer to.

    `stands` says whether a name stands in the application's code (a dict may be keyed by user
    ids), `application` whether a module is the application's, `manager` whether an object is a
    manager instance, `owner` whom an object says it is for.
    """

    def __init__(
        self,
        stands: Callable[[str], bool],
        application: Callable[[str], bool],
        manager: Callable[[object], bool],
        owner: Callable[[object], object],
    ) -> None:
        self._stands = stands
        self._application = application
        self._manager = manager
        self._owner = owner
        self._shared_names: dict[str, bool] = {}
        self.users: set[str] = set()  # the owners seen: as keys and elements they are labels

    # -- walking ----------------------------------------------------------------------------

    def walk(self, root: object, deadline_ns: int) -> tuple[list[tuple[Path, int]], bool]:
        """The paths of mutable objects below an instance, nearest first, with their ids.

        And whether there was time for all of them.
        """
        found: list[tuple[Path, int]] = []
        seen = {id(root)}
        waiting: deque[tuple[object, Path]] = deque([(root, ())])
        while waiting:
            value, path = waiting.popleft()
            for step, child in self._children(value):
                key = id(child)
                if key in seen or (path and step.sort == NAMESPACE):
                    continue
                seen.add(key)
                if len(seen) > NODES:
                    return found, True
                # Asking the clock costs as much as looking at two objects.
                if not len(seen) & 7 and time.thread_time_ns() > deadline_ns:
                    return found, False
                below = (*path, step)
                helper = self._helper(child)
                if type(child) in _MUTABLE or (helper and self._owner(child) is not None):
                    found.append((below, key))
                if len(below) < DEPTH and (helper or type(child) in (*_DICTS, *_LISTS, tuple)):
                    waiting.append((child, below))
        return found, True

    def _helper(self, value: object) -> bool:
        """An instance of an application's class that is no manager: those are roots, or shared."""
        return self._ours(type(value)) and not self._manager(value)

    def _ours(self, kind: type) -> bool:
        module = _namespace(kind).get("__module__")
        return type(module) is str and not issubclass(kind, type) and self._application(module)

    def _children(self, value: object) -> Iterator[tuple[Step, object]]:
        kind = type(value)
        if kind in _DICTS:
            yield from self._values(value, KEY)
        elif kind in (*_LISTS, tuple):
            yield from (
                (Step(ITEM, index), item) for index, item in enumerate(_some(value, _ITEMS))
            )
        elif not is_a(value, dict):
            fields = fields_of(value)
            if fields is not None:
                yield Step(NAMESPACE, "__dict__"), fields
                yield from self._values(fields, ATTRIBUTE)
            yield from self._of_class(value, kind, fields or {})

    def _values(self, fields: Any, sort: int) -> Iterator[tuple[Step, object]]:
        """Under names that stand in code: other keys make a registry or a cache of a dict."""
        for name, value in _some(dict.items(fields), _FIELDS if sort == ATTRIBUTE else _KEYS):
            if self._named(name):
                yield Step(sort, name), value

    def _named(self, name: object) -> bool:
        return (
            type(name) is str
            and name not in self.users
            and self._stands(name)
            and not self._by_name(name)
        )

    def _by_name(self, name: str) -> bool:
        """Whether a name says that what it names is shared on purpose."""
        found = self._shared_names.get(name)
        if found is None:
            if len(self._shared_names) >= _NAMES:
                self._shared_names.clear()
            found = self._shared_names[name] = _BY_DESIGN.search(words(name)) is not None
        return found

    def _of_class(
        self, value: object, kind: type, fields: dict[Any, Any]
    ) -> Iterator[tuple[Step, object]]:
        """Slots, and what all instances of a class share: its mutable attributes and defaults."""
        hidden: set[str] = set()
        for base in _mro(kind):
            if not self._ours(base):
                continue
            where = class_name(base)
            for name, inner in _some(_namespace(base).items(), _FIELDS):
                sort = type(inner)
                if sort is FunctionType:
                    if inner.__defaults__ or inner.__kwdefaults__:
                        for parameter, default in _defaults(inner):
                            if type(default) in _MUTABLE and not self._by_name(parameter):
                                yield Step(DEFAULT, parameter, f"{where}.{name}"), default
                elif name in hidden or name in fields:
                    continue
                elif sort is MemberDescriptorType and not self._by_name(name):
                    yield Step(ATTRIBUTE, name), peek(value, name)
                elif sort in _MUTABLE and name[:2] != "__" and not self._by_name(name):
                    yield Step(CLASS, name, where), inner
                hidden.add(name)

    # -- following ---------------------------------------------------------------------------

    def follow(self, root: object, path: Path) -> list[object]:
        """The objects along a path, the one at its end last; empty if it leads nowhere now."""
        found: list[object] = []
        value: object = root
        for step in path:
            value = _next(value, step)
            if value is None:
                return []
            found.append(value)
        return found

    def by_design(self, one: list[object], other: list[object]) -> bool:
        """Whether two ways lead through an object that both share and that is nobody's own.

        A service, a manager, a room: that is what sharing is for, and what is below it is its
        business. An object that says whose it is belongs to one user.
        """
        ids = {id(value) for value in one[:-1]}
        return any(
            id(value) in ids
            and type(value) not in (*_MUTABLE, tuple)
            and self._owner(value) is None
            for value in other[:-1]
        )

    # -- what it holds --------------------------------------------------------------------------

    def fingerprint(self, value: object) -> int:
        """Of what could be somebody's data; the same while that does not change.

        Numbers, sockets, managers, tasks and functions are no data, nor are texts that stand
        in code, user ids in lists, or what a dict holds under other keys than names.
        """
        kind = type(value)
        if kind is bytearray:
            held: Any = value
            return hash((len(held), crc32(held[:_KEYS]), crc32(held[-_KEYS:])))
        if kind is set:
            return hash(frozenset(id(one) for one in _some(value, _KEYS) if self._tells(one)))
        if kind in _LISTS:
            return self._of_list(value)
        fields = value if kind in _DICTS else fields_of(value)
        if fields is None:
            return 0
        shallow = [
            (name, id(inner))
            for name, inner in _some(dict.items(fields), _KEYS)  # type: ignore[arg-type]
            if self._named(name) and self._tells(inner, record=True)
        ]
        return hash(tuple(shallow))

    def _of_list(self, value: Any) -> int:
        ends = _some(value, _ENDS)
        ends += _some(reversed(value), _ENDS)
        ids = tuple(id(one) for one in ends if self._tells(one))
        return hash((len(value), ids)) if ids else 0

    def _tells(self, value: object, *, record: bool = False, deep: bool = True) -> bool:
        """Whether it could be somebody's data; `record`: under a name, where a user id is."""
        kind = type(value)
        if kind is str:
            return self._text(value, record)  # type: ignore[arg-type]
        if kind in (bytes, bytearray):
            return True
        if kind in _DICTS or kind in (*_LISTS, tuple, set, frozenset):
            if not deep:
                return False
            inside = dict.values(value) if kind in _DICTS else value  # type: ignore[arg-type]
            return any(
                self._tells(one, record=True, deep=False) for one in _some(inside, _LOOK_INTO)
            )
        return (
            self._helper(value)
            and not is_a(value, Enum)
            and all(peek(value, name) is None for name in naming.SOCKET_ATTRIBUTES)
        )

    def _text(self, text: str, record: bool) -> bool:
        if self._stands(text) or not text:
            return False
        if record:
            return True
        who = principal(text)
        return text not in self.users and (who is None or who.shape == "opaque")


def _some(values: Any, number: int) -> list[Any]:
    """The first few of a container that another thread may be changing."""
    try:
        return list(islice(values, number))
    except RuntimeError:
        return []


def _defaults(function: FunctionType) -> Iterable[tuple[str, object]]:
    code = undecorated(function).__code__  # a hooked method's own takes anything
    given = function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][-len(given) :] if given else ()
    yield from zip(names, given, strict=False)
    yield from list((function.__kwdefaults__ or {}).items())


def class_name(cls: type) -> str:
    """`module:qualname`, past what a metaclass may say."""
    return f"{_namespace(cls).get('__module__')}:{_qualname(cls)}"


def line_of(cls: type, name: str) -> int:
    """The first line of the class, or of its first method: of that base which has this name."""
    for base in _mro(cls):
        if class_name(base) != name:
            continue
        names = _namespace(base)
        line = names.get("__firstlineno__")
        if type(line) is int:
            return line
        lines = [
            undecorated(value).__code__.co_firstlineno
            for value in _some(names.values(), _FIELDS)
            if type(value) is FunctionType
        ]
        return min(lines, default=0)
    return 0


def _next(value: object, step: Step) -> object:
    name: Any = step.name
    if step.sort == ATTRIBUTE:
        return peek(value, name)
    if step.sort == NAMESPACE:
        return fields_of(value)
    if step.sort == KEY:
        return dict.get(value, name) if type(value) in _DICTS else None  # type: ignore[call-overload]
    if step.sort == ITEM:
        held: Any = value
        if type(value) not in (*_LISTS, tuple) or len(held) <= name:
            return None
        try:
            return held[name]
        except IndexError:  # another thread was faster
            return None
    return _of_class(value, step)


def _of_class(value: object, step: Step) -> object:
    where, method = step.within, ""
    if step.sort == DEFAULT:
        where, _, method = step.within.rpartition(".")
    for base in _mro(type(value)):
        if class_name(base) != where:
            continue
        found = _namespace(base).get(method or step.name)
        if step.sort == CLASS:
            fields = fields_of(value)
            return None if fields is not None and step.name in fields else found
        if type(found) is FunctionType:
            return dict(_defaults(found)).get(str(step.name))
    return None
