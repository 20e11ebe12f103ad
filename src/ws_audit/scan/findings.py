# SPDX-License-Identifier: Apache-2.0
"""What a scan finds, in sentences, the surest and gravest first.

Why it exists: somebody reads the first twenty. Each names a place, what is there and what it is
compared with, so that it can be judged without running the scan again.

It must never contain a line that moves when something above it in the file changes, but for the
line number: baselines are compared by what findings say.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from .facts import NAME, TABLE, VALUE
from .inventory import EMITTER, drift, similarity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .factories import Factory
    from .graph import Graph, Target
    from .inventory import Implementation
    from .strays import Construction, Writer

ERROR, WARNING, NOTE = "error", "warning", "note"

# rule -> (level, what it is about), in the order they are told.
RULES: Final = {
    "second-implementation": (
        ERROR,
        "More than one class keeps connections and sends to them.",
    ),
    "different-class": (
        ERROR,
        "A name leads to another class here than it does elsewhere.",
    ),
    "inconsistent-factory": (
        ERROR,
        "A factory does not always hand out the same type.",
    ),
    "past-factory": (
        WARNING,
        "A manager is made past the factories there are for it.",
    ),
    "socket-write": (
        WARNING,
        "A message is given to a socket past every manager.",
    ),
    "own-socket-write": (
        NOTE,
        "An endpoint answers past every manager on a connection that somebody else keeps as well.",
    ),
    "private-socket": (
        NOTE,
        "Endpoints speak on connections that no manager knows.",
    ),
    "second-path": (
        NOTE,
        "A class that is declared canonical can be imported by another path.",
    ),
}
_ALIKE: Final = 0.3
_SHOWN: Final = 3


class Finding(NamedTuple):
    """One thing to act upon."""

    rule: str
    path: str
    line: int
    message: str
    subject: str  # what it is about, the same wherever in the file that stands
    sites: int = 1

    @property
    def level(self) -> str:
        """error, warning or note."""
        return RULES[self.rule][0]

    @property
    def fingerprint(self) -> str:
        """The same from run to run, whatever is added above it."""
        text = f"{self.rule}\n{self.path}\n{self.subject}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """In the order of the rules, each by file and line; one for each place and subject."""
    rank = {rule: number for number, rule in enumerate(RULES)}
    unique = {one.fingerprint: one for one in reversed(list(found))}
    return sorted(
        unique.values(), key=lambda one: (rank[one.rule], one.path, one.line, one.subject)
    )


def implementations(known: list[Implementation]) -> Iterator[Finding]:
    """Each that is not the canonical one."""
    for one in known:
        if one.canonical or len(known) < 2:
            continue
        others = [other for other in known if other.canonical] or known[:1]
        lead = max(others, key=lambda other: similarity(one, other))
        what = "sends to sockets itself" if one.duty == EMITTER else "keeps connections and sends"
        said = "the canonical implementation is" if lead.declared else "most of the code uses"
        message = f"{one.target} {what}; {said} {lead.target}"
        message += "".join(f"; {part}" for part in _likeness(one, lead, known))
        yield Finding("second-implementation", one.path, one.cls.line, message, str(one.target))


def _likeness(
    one: Implementation, lead: Implementation, known: list[Implementation]
) -> Iterator[str]:
    copies = [
        str(other.target)
        for other in known
        if other.cls.digest == one.cls.digest and other.target != one.target
    ]
    if copies:
        yield f"its code is that of {', '.join(copies)}"
        return
    if similarity(one, lead) >= _ALIKE:
        ours, theirs = set(one.public), set(lead.public)
        yield f"{len(ours & theirs)} of {len(ours | theirs)} public methods are shared"
    differing = drift(one, lead)
    if differing:
        yield _few(differing)


def different_classes(graph: Graph, known: list[Implementation]) -> Iterator[Finding]:
    """Names that are handed on and lead to another implementation than the same name elsewhere."""
    targets = {one.target: one for one in known}
    meant: dict[str, set[Target]] = {}
    places: list[tuple[str, str, int, tuple[Target, ...], bool]] = []
    for module in sorted(graph.files):
        for name, line in sorted(graph.names(module).items()):
            found = tuple(one for one in graph.lookup(module, name, every=True) if one in targets)
            if not found:
                continue
            meant.setdefault(name, set()).update(found)
            places.append((module, name, line, found, _hands_on(graph, module, name, found)))
    for module, name, last, found, hands_on in places:
        line = last
        depends = [one.line for one in graph.bindings(module, name) if one.branch is not None]
        if len(found) > 1 and not depends:
            continue  # an alias of such a name
        if len(found) > 1:
            line = depends[0]
            leads = " or ".join(map(str, found))
            message = f"{module}.{name} is {leads}, as it happens when the module is imported"
        elif hands_on and len(meant[name]) > 1 and not targets[found[0]].canonical:
            others = sorted(map(str, meant[name] - set(found)))
            message = f"{module}.{name} leads to {found[0]}; elsewhere it is {_few(others)}"
        else:
            continue
        path = graph.files[module].path
        yield Finding("different-class", path, line, message, f"{module}.{name}")


def _hands_on(graph: Graph, module: str, name: str, found: tuple[Target, ...]) -> bool:
    """Whether a module binds a name for others to import, rather than to use it."""
    if (module, name) == (found[0].module, found[0].name):
        return False
    file = graph.files[module]
    if file.path.endswith("__init__.py") or file.shim or name in (file.exported or ()):
        return True
    aliases = (one for one in graph.bindings(module, name) if one.kind == VALUE)
    return any(one.target[0] == NAME for one in aliases) or any(
        one.name == name for one in file.lazy
    )


def second_paths(known: list[Implementation], graph: Graph) -> Iterator[Finding]:
    """Further ways to import what is declared canonical, where they are made for others."""
    for one in known:
        if not one.declared:
            continue
        for path in one.paths:
            module, _, name = path.rpartition(".")
            if not _hands_on(graph, module, name, (one.target,)):
                continue
            line = graph.names(module)[name]
            message = f"{path} is another way to import {one.target}"
            yield Finding("second-path", graph.files[module].path, line, message, path)


def factories(graph: Graph, known: Iterable[Factory]) -> Iterator[Finding]:
    """Each that is inconsistent."""
    for one in known:
        if one.why:
            message = f"{one.name}: {'; '.join(one.why)}"
            path = graph.files[one.module].path
            yield Finding("inconsistent-factory", path, one.function.line, message, one.name)


def constructions(graph: Graph, known: Iterable[Construction]) -> Iterator[Finding]:
    """Each manager made past its factories; one for each function that does so."""
    grouped: dict[tuple[str, str, Target], list[Construction]] = {}
    for one in known:
        grouped.setdefault((one.module, one.where, one.target), []).append(one)
    for (module, where, target), sites in grouped.items():
        place = f"{module}:{where}" if where else module
        times = f" {len(sites)} times" if len(sites) > 1 else ""
        message = f"{place} makes {target} itself{times}, past {_few(list(sites[0].factories))}"
        path = graph.files[module].path
        subject = f"{place} {target}"
        yield Finding("past-factory", path, sites[0].line, message, subject, len(sites))


def writers(graph: Graph, known: list[Writer]) -> Iterator[Finding]:
    """Each function that writes to sockets past every manager."""
    private = [one for one in known if one.private]
    if private:
        # One finding: a stream of its own is a fact to know, and seldom one to act upon.
        places = [f"{one.module}:{one.function.qualname}" for one in private]
        speak = "speaks" if len(places) == 1 else "speak"
        message = f"{', '.join(places)} {speak} on connections that no manager knows"
        path = graph.files[private[0].module].path
        sites = sum(len(one.lines) for one in private)
        yield Finding("private-socket", path, private[0].lines[0], message, "", sites)
    for one in known:
        if one.private:
            continue
        place = f"{one.module}:{one.function.qualname}"
        times = f" {len(one.lines)} times" if len(one.lines) > 1 else ""
        what = f"writes to {_few([f'`{socket}`' for socket in one.sockets])} itself{times}"
        tables = any(write.origin == TABLE for write in one.function.writes)
        message = f"{place} {what}"
        message += ", a socket it has from a table" if tables else ""
        message += ", past every manager"
        rule = "own-socket-write" if one.own else "socket-write"
        path = graph.files[one.module].path
        yield Finding(rule, path, one.lines[0], message, place, len(one.lines))


def _few(texts: list[str]) -> str:
    rest = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + rest
