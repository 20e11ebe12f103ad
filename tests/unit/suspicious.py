# SPDX-License-Identifier: Apache-2.0
"""Application objects that notice being asked: for tests that nothing of theirs is run.

Reading whose data something is must not load a lazy user, open a database or raise. Each
class here writes down what of it was called.
"""

from __future__ import annotations

from typing import Any

CALLED: list[str] = []

_SPECIAL = (
    "__bool__",
    "__bytes__",
    "__contains__",
    "__dir__",
    "__eq__",
    "__float__",
    "__format__",
    "__ge__",
    "__getitem__",
    "__gt__",
    "__hash__",
    "__index__",
    "__int__",
    "__iter__",
    "__le__",
    "__len__",
    "__lt__",
    "__ne__",
    "__repr__",
    "__reversed__",
    "__str__",
)


class TouchedError(Exception):
    """Somebody ran a method of the application's."""


def _touch(name: str) -> Any:
    def method(*args: Any, **kwargs: Any) -> Any:
        CALLED.append(name)
        raise TouchedError(name)

    return method


def _touchy(base: type, *, slots: bool = False) -> type:
    names: dict[str, Any] = {name: _touch(name) for name in _SPECIAL}
    names["__getattr__"] = _touch("__getattr__")
    names["__class__"] = property(_touch("__class__"))
    for name in ("user_id", "id", "pk", "username", "email", "tenant_id", "type", "data"):
        names[name] = property(_touch(name))
    for name in ("is_authenticated", "user", "scope", "sub"):
        names[name] = property(_touch(name))
    if slots:
        names["__slots__"] = ()
    return type("Touchy", (base,), names)


Touchy = _touchy(object)
TouchySlots = _touchy(object, slots=True)
TouchyDict = _touchy(dict)
TouchyStr = _touchy(str)
TouchyBytes = _touchy(bytes)
TouchyInt = _touchy(int)
TouchyList = _touchy(list)


class Meta(type):
    """A metaclass with an opinion."""

    def __getattribute__(cls, name: str) -> Any:
        CALLED.append(f"Meta.{name}")
        raise TouchedError(name)


TouchyClass = type.__call__(Meta, "TouchyClass", (), {})


class EveryAccess:
    """Notices even the look-up of an attribute it has."""

    def __init__(self) -> None:
        self.user_id = "hidden"

    def __getattribute__(self, name: str) -> Any:
        CALLED.append(f"getattribute {name}")
        raise TouchedError(name)


def objects() -> list[Any]:
    """One of each."""
    return [
        Touchy(),
        TouchySlots(),
        TouchyDict(a=1),
        TouchyStr("text"),
        TouchyBytes(b"bytes"),
        TouchyInt(5),
        TouchyList([1]),
        type.__call__(TouchyClass),
        EveryAccess(),
    ]
