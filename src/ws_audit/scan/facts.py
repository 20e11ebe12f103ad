# SPDX-License-Identifier: Apache-2.0
"""What one source file says that matters to a scan.

Why it exists: files are read in other processes; what comes back has to be small, and the same
in whatever order they were read.

It must never hold a syntax tree, nor logic.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

# How an expression can be known without running it, as a tuple that begins with one of these.
# After CALL, NAME and ITEM comes a dotted name; after ON an expression and a method; after ANY
# expressions; after TYPE the names of an annotation; after OTHER a type's name.
CALL, ON, NAME, ITEM, ANY, TYPE, OTHER, NONE = (
    *("call", "on", "name", "item", "any", "type", "other", "none"),
)
Expression = tuple[Any, ...]

# What a name of a module is bound to.
CLASS, FUNCTION, IMPORTED, MODULE, VALUE = "class", "function", "imported", "module", "value"

# Where the socket of a write comes from: its own function's parameter, a table of connections,
# an attribute.
OWN, TABLE, ATTRIBUTE = "own", "table", "attribute"

# How many connections a class keeps.
MANY, ONE, NO = "many", "one", ""


class Binding(NamedTuple):
    """One way in which a module gets one of its names."""

    name: str
    kind: str
    target: Expression  # of IMPORTED and MODULE: (level, module, name)
    line: int
    branch: tuple[int, str] | None  # (statement, which of its branches); None: always
    typing: bool  # only for type checkers


class Star(NamedTuple):
    """`from module import *`."""

    level: int
    module: str
    line: int


class Write(NamedTuple):
    """A message given to a socket."""

    line: int
    socket: str  # as it is written
    origin: str


class Call(NamedTuple):
    """Something called that may be a class."""

    name: str
    line: int


class Function(NamedTuple):
    """A function or method."""

    qualname: str
    owner: str  # the class it is a method of
    line: int
    is_async: bool
    decorators: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]  # with annotations
    annotation: tuple[str, ...]  # the names in what it says it returns
    returns: tuple[tuple[Expression, int], ...]
    assigned: dict[str, tuple[Expression, ...]]
    imports: dict[str, tuple[int, str, str]]
    calls: tuple[Call, ...]
    writes: tuple[Write, ...]
    serves: bool  # a framework calls it with each new connection
    registers: bool  # it gives the socket it serves to somebody who keeps it
    shares: tuple[str, ...]  # names it declares global or nonlocal


class Method(NamedTuple):
    """A method of a class as others see it."""

    name: str
    kind: str  # the hook kind its name suggests; empty: none
    is_async: bool
    parameters: tuple[str, ...]


class Class(NamedTuple):
    """A class."""

    qualname: str
    line: int
    bases: tuple[str, ...]
    taken: str  # why the agent would take it for a manager; empty: it would not
    endpoint: bool  # a framework's own consumer, handler or namespace
    abstract: bool
    double: bool  # by its name a test's stand-in or an interface
    keeps: str
    emits: bool  # through a library that knows the sockets
    queues: bool  # into its subscribers' queues
    delivers: bool  # it gives something to what it keeps
    methods: tuple[Method, ...]
    attributes: dict[str, tuple[Expression, ...]]
    digest: str  # of its code without names of its own, comments and texts


class File(NamedTuple):
    """What one file says; `problem` instead if it could not be read."""

    path: str
    problem: str = ""
    bindings: tuple[Binding, ...] = ()
    stars: tuple[Star, ...] = ()
    exported: tuple[str, ...] | None = None  # __all__
    lazy: tuple[Binding, ...] = ()  # what its __getattr__ answers
    functions: tuple[Function, ...] = ()
    classes: tuple[Class, ...] = ()
    calls: tuple[Call, ...] = ()  # of the module's own statements
    shim: bool = False  # it only hands on what others define
    loads: tuple[tuple[int, str, str], ...] = ()  # what it imports when it is imported


NOTHING: Final = (OTHER, "")
