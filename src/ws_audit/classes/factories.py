# SPDX-License-Identifier: Apache-2.0
"""Which functions and methods hand out managers.

Why it exists: fragmentation begins in factories, and a manager made inside a function is
first seen when one returns it. Like classes they are found by what teams call them and by
what their annotations say; a function that then never returns a manager counts for nothing.

It must never run application code; see classify.
"""

from __future__ import annotations

import re
from functools import _lru_cache_wrapper
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import naming

from .classify import classes_of, method_kind, returned, undecorated
from .signs import words

if TYPE_CHECKING:
    from collections.abc import Iterable

_FUNCTION: Final = re.compile(naming.FACTORY_FUNCTION)
_CLASS: Final = re.compile(naming.FACTORY_CLASS)
_METHOD: Final = re.compile(naming.FACTORY_METHOD)
_PRODUCT: Final = re.compile(f"{naming.MANAGER_CLASS}|{naming.MAYBE_CLASS}")


class Factory(NamedTuple):
    """A function or method that hands out managers: where it stands, and the plain function."""

    owner: type | ModuleType
    name: str
    function: Any


def factories_of(module: ModuleType) -> Iterable[Factory]:
    """The factories one module defines: functions, and methods of its classes."""
    for name, value in list(vars(module).items()):
        function = _function(value)
        if function is None or function.__module__ != module.__name__:
            continue  # imported: it is hooked where it stands
        if _FUNCTION.search(words(name)) or _hands_out(function):
            yield Factory(module, name, function)
    for cls in classes_of(module):
        makes = _CLASS.search(words(cls.__name__)) is not None
        for name, value in list(cls.__dict__.items()):
            shell = issubclass(type(value), (staticmethod, classmethod))
            function = _function(value.__func__ if shell else value)
            if function is None or name.startswith("__") or method_kind(name) is not None:
                continue
            named = _FUNCTION.search(words(name)) is not None
            if named or ((makes or shell) and _METHOD.search(words(name))):
                yield Factory(cls, name, function)


def _function(value: Any) -> FunctionType | None:
    if type(value) is FunctionType:
        return value
    inner = value.__wrapped__ if type(value) is _lru_cache_wrapper else None
    return inner if type(inner) is FunctionType else None


def _hands_out(function: FunctionType) -> bool:
    """Whether its annotation says that it returns a manager."""
    return any(_PRODUCT.search(words(name)) for name in returned(undecorated(function)))
