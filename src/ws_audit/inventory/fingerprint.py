# SPDX-License-Identifier: Apache-2.0
"""A hash of what a class does: the same wherever the same code runs, another where it does not.

Why it exists: three services say that they run the same manager, and one of them runs last
month's. What they loaded is compared, not what a package's version claims.

It must never run application code, and never depend on where a file lies, on lines, comments,
docstrings, annotations or the build of Python. Bytecode differs between 3.11 and 3.12, though:
the first three digits say of which version it is, and only fingerprints of one version compare.
"""

from __future__ import annotations

import dis
import functools
import sys
from functools import _lru_cache_wrapper
from hashlib import blake2b
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIGITS: Final = 16
VERSION_DIGITS: Final = 3
_VERSION: Final = f"{sys.version_info[0]:x}{sys.version_info[1]:02x}"
# Of a code object's flags those that change what a call does: *args, **kwargs, generators,
# coroutines. Not whether there is a docstring, or which `__future__` it was compiled with.
_FLAGS: Final = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
_DEPTH: Final = 20
_BASES: Final = type.__dict__["__mro__"].__get__
_OWN: Final = type.__dict__["__dict__"].__get__
_DEFAULTS: Final = frozenset({bool, int, float, complex, str, bytes, type(None)})


class Fingerprint:
    """Being worked out of one class, a function at a time; `ours` tells wrappers of the agent."""

    def __init__(self, cls: type, ours: Callable[[CodeType], bool]) -> None:
        self._parts: list[tuple[str, bytes]] = []
        self._ours = ours
        self._work = self._members(cls)

    def step(self) -> bool:
        """Read on; whether there is more."""
        return next(self._work, None) is not None

    def text(self) -> str:
        """The fingerprint: hexadecimal digits."""
        digest = blake2b(digest_size=DIGITS // 2)
        for name, part in sorted(self._parts):
            digest.update(name.encode("utf-8", "backslashreplace") + b"\0" + part)
        return _VERSION + digest.hexdigest()[: DIGITS - VERSION_DIGITS]

    def _members(self, cls: type) -> Iterator[int]:
        """Every function a call on an instance may reach, its bases' as well."""
        seen: set[str] = set()
        for base in _BASES(cls):
            names = _OWN(base)
            if _is_standard(names.get("__module__")):
                continue
            for name, value in list(names.items()):
                if name in seen:
                    continue
                seen.add(name)
                for role, function in _functions(value):
                    self._parts.append((f"{name}:{role}", self._function(function)))
                    yield 1

    def _function(self, function: FunctionType) -> bytes:
        """A function and those it stands around; what the agent put there left out."""
        digest = blake2b(digest_size=16)
        for _ in range(_DEPTH):
            if not self._ours(function.__code__):
                defaults = (function.__defaults__, tuple((function.__kwdefaults__ or {}).items()))
                digest.update(repr([_default(one) for one in defaults]).encode("utf-8", "replace"))
                digest.update(code_digest(function.__code__))
            inner = function.__dict__.get("__wrapped__")
            if type(inner) is not FunctionType:
                break
            function = inner
        return digest.digest()


def fingerprint(cls: type, ours: Callable[[CodeType], bool] = lambda _: False) -> str:
    """A class's fingerprint, all at once."""
    work = Fingerprint(cls, ours)
    while work.step():
        pass
    return work.text()


def _is_standard(module: object) -> bool:
    return type(module) is str and module.partition(".")[0] in sys.stdlib_module_names


def _functions(value: Any) -> Iterator[tuple[str, FunctionType]]:
    """The functions in an attribute of a class, by what they are there for."""
    kind = type(value)
    if kind is FunctionType:
        yield "method", value
    elif kind in (staticmethod, classmethod):
        if type(value.__func__) is FunctionType:
            yield kind.__name__, value.__func__
    elif kind is property:
        for role, part in (("get", value.fget), ("set", value.fset), ("del", value.fdel)):
            if type(part) is FunctionType:
                yield role, part
    elif kind is functools.cached_property and type(value.func) is FunctionType:
        yield "cached", value.func
    elif kind is _lru_cache_wrapper and type(value.__wrapped__) is FunctionType:
        yield "cached", value.__wrapped__


def _default(value: Any) -> Any:
    """A default as far as it is written in the code; of anything else its class alone."""
    if type(value) is tuple:
        return tuple(_default(one) for one in value)
    return value if type(value) in _DEFAULTS else type(value).__name__


# --- code ---------------------------------------------------------------------------------------


def code_digest(code: CodeType, depth: int = 0) -> bytes:
    """What code does: its instructions with the names and constants they use, by their values."""
    digest = blake2b(digest_size=16)

    def add(*parts: Any) -> None:
        digest.update(repr(parts).encode("utf-8", "backslashreplace"))

    add(
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _FLAGS,
        code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        code.co_freevars,
    )
    steps = [one for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"]
    places: dict[int, int] = {}  # where each stands, when what only marks a line is left out
    number = 0
    for one in steps:
        places[one.offset] = number
        number += one.opname != "NOP"
    jumps = {*dis.hasjrel, *dis.hasjabs}
    for one in steps:
        if one.opname == "NOP":
            continue
        if one.opcode in jumps:
            add(one.opname, places.get(one.argval, -1))
        elif one.opcode in dis.hasconst:
            add(one.opname, _constant(one.argval, depth))
        elif isinstance(one.argval, (str, tuple, int)):
            add(one.opname, one.argval)
        else:
            add(one.opname, one.arg)
    add([(_at(places, a), _at(places, b), _at(places, c), d) for a, b, c, d in _guarded(code)])
    return digest.digest()


def _at(places: dict[int, int], offset: int) -> int:
    """The number of the instruction at an offset, or of the next one."""
    if offset in places:
        return places[offset]
    return min((number for at, number in places.items() if at > offset), default=-1)


def _constant(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is CodeType:
        return code_digest(value, depth + 1).hex() if depth < _DEPTH else "code"
    if kind is tuple:
        return "tuple", [_constant(one, depth) for one in value]
    if kind is frozenset:  # its order is another in each process
        return "frozenset", sorted(repr(_constant(one, depth)) for one in value)
    return kind.__name__, repr(value)


def _guarded(code: CodeType) -> list[tuple[int, int, int, int]]:
    """Which instructions lead where when they raise: (from, to, handler, depth), as offsets.

    From Python 3.11 on this stands beside the instructions, as numbers of six bits a byte.
    """
    table = iter(getattr(code, "co_exceptiontable", b""))

    def read() -> int:
        byte = next(table)
        value = byte & 63
        while byte & 64:
            byte = next(table)
            value = value << 6 | byte & 63
        return value

    found: list[tuple[int, int, int, int]] = []
    while True:
        try:
            start, length, target, last = read(), read(), read(), read()
        except StopIteration:
            return found
        found.append((start * 2, (start + length) * 2, target * 2, last))
