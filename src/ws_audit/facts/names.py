# SPDX-License-Identifier: Apache-2.0
"""Which names stand in code, and may therefore be told.

Why it exists: a field's name helps whoever configures the agent. But a dict may be keyed by
user ids, and then its "field names" are somebody's data. A name that stands in the application's
code, or on our own list, was written by a developer.

It must never take a name from a value, and reads modules a little at a time.
"""

from __future__ import annotations

import time
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from ws_audit import naming
from ws_audit.classes.classify import classes_of, undecorated
from ws_audit.process.forks import Undivided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMIT: Final = 100_000
# Keys of frameworks in an ASGI scope.
_FRAMEWORKS: Final = ("user", "auth", "session", "state", "url_route", "principal", "claims")


class Names:
    """The identifiers of the application's code; `modules` lists what is application code."""

    def __init__(self, modules: Callable[[], list[ModuleType]]) -> None:
        self._modules = modules
        self._known = _ours()
        self._reading: Iterator[None] | None = None
        self._one_reader = Undivided()  # the drain in its slices, and the end of the process
        self.complete = False

    def read(self, budget_ns: int | None = None) -> None:
        """Read on in the application's modules, for so long or to the end."""
        with self._one_reader:
            begun = time.perf_counter_ns()
            if self._reading is None:
                self._reading = self._read()
            for _ in self._reading:
                if budget_ns is not None and time.perf_counter_ns() - begun > budget_ns:
                    return
            self.complete = True

    def tell(self, path: str) -> bool:
        """Whether each step of a path is a name somebody wrote."""
        return all(step in self._known for step in path.split("."))

    def _read(self) -> Iterator[None]:
        for module in self._modules():
            for name, value in list(vars(module).items()):
                self._add(name)
                if type(value) is FunctionType and value.__module__ == module.__name__:
                    self._code(value.__code__)
                    yield
            for cls in classes_of(module):
                # As it lies there: annotations that are made on demand are application code.
                notes = cls.__dict__.get("__annotations__")  # noqa: RUF063
                for name in list(notes) if type(notes) is dict else ():
                    self._add(name)
                for name, value in list(cls.__dict__.items()):
                    self._add(name)
                    if type(value) is FunctionType:
                        self._code(undecorated(value).__code__)
                        yield

    def _code(self, code: CodeType) -> None:
        for name in (*code.co_names, *code.co_varnames):
            self._add(name)
        self._constants(code.co_consts)

    def _constants(self, constants: tuple[Any, ...]) -> None:
        for value in constants:
            if type(value) is tuple:  # the keys of a dict, the names of keyword arguments
                self._constants(value)
            elif isinstance(value, CodeType):
                self._code(value)
            else:
                self._add(value)

    def _add(self, name: object) -> None:
        if type(name) is str and name.isidentifier() and len(self._known) < _LIMIT:
            self._known.add(name)


def _ours() -> set[str]:
    found = set(_FRAMEWORKS) | {"scope"}
    for value in vars(naming).values():
        if isinstance(value, (dict, frozenset)) or type(value) is tuple:
            found.update(one for one in value if one.isidentifier())
    return found
