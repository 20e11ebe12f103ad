# SPDX-License-Identifier: Apache-2.0
"""One scan from beginning to end: files, names, managers, findings.

Why it exists: it is the order in which the parts of this room are asked, and where the work is
shared among processors.

It must always give the same answer for the same files, in whatever order they were read, and
never import one of them.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Final, NamedTuple

from . import factories, findings, inventory, strays
from .files import find
from .graph import Graph
from .names import name_all
from .products import Products
from .reading import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .factories import Factory
    from .facts import File
    from .findings import Finding
    from .graph import Target
    from .inventory import Implementation

    Progress = Callable[[int, int], None]

_FEW: Final = 200  # files that are read sooner than processes are started
_CHUNK: Final = 16
_SHOWN: Final = 4


class Survey(NamedTuple):
    """What a scan has found."""

    root: str
    files: int
    tests: int
    implementations: list[Implementation]
    duties: dict[Target, str]
    factories: list[Factory]
    findings: list[Finding]
    unparsed: int
    unread: int  # of the files; what is too large is not among these
    problems: list[str]

    @property
    def summary(self) -> dict[str, int]:
        """The counts of the issue's third section."""
        stray = ("past-factory", "socket-write", "own-socket-write", "private-socket")
        return {
            "implementations": len(self.implementations),
            "import_paths": len({path for one in self.implementations for path in one.paths}),
            "factories": len(self.factories),
            "inconsistent_factories": sum(bool(one.why) for one in self.factories),
            "bypasses": sum(one.sites for one in self.findings if one.rule in stray),
            "unparsed": self.unparsed,
        }


class NotThereError(Exception):
    """Something the scan was asked for is not there; the text says what is."""


def survey(
    path: str,
    canonical: Iterable[str] = (),
    progress: Progress | None = None,
    usual: str = "",
) -> Survey:
    """Scan a directory, or one file.

    `usual` is what others are compared with if nothing is declared and it is there.
    """
    found = find(path)
    problems = list(found.problems)
    files: dict[str, File] = {}
    unparsed = sum(one.endswith("skipped") and " bytes, more than " in one for one in problems)
    for done, file in enumerate(_all(found.root, found.files), 1):
        if file.problem:
            problems.append(file.problem)
            unparsed += 1
        else:
            files[file.path] = file
        if progress is not None:
            progress(done, len(found.files))
    if not files and not problems:
        problems.append("no Python files" + (" but tests" if found.tests else ""))

    imported = [
        inner if not other else f"{inner}.{other}"
        for file in files.values()
        for level, inner, other in file.loads
        if not level
    ]
    named = name_all(found.root, files, imported)
    problems += named.problems
    graph = Graph({name: files[path] for name, path in sorted(named.modules.items())})
    products = Products(graph)
    known, duties = inventory.implementations(graph, products, canonical, usual)
    _check(canonical, known)
    handed_out = factories.factories(products, known)
    told: list[Finding] = []
    if known:
        told += findings.implementations(known)
        told += findings.different_classes(graph, known)
        told += findings.second_paths(known, graph)
        told += findings.factories(graph, handed_out)
        made = strays.constructions(graph, products, known, handed_out)
        told += findings.constructions(graph, made)
        told += findings.writers(graph, strays.writers(graph, products, duties))
    problems += [
        f"circular import: {ring}; that name leads nowhere" for ring in sorted(graph.circles)
    ]
    problems += map(_ring, graph.import_circles())
    return Survey(
        found.root,
        len(found.files),
        found.tests,
        known,
        duties,
        handed_out,
        findings.ordered(told),
        unparsed,
        len(found.files) - len(files),
        problems,
    )


def _all(root: str, paths: list[str]) -> Iterator[File]:
    """Each file's facts, in the order of the paths."""
    one = functools.partial(read, root)
    workers = min(_processors(), 8)
    begun = 0
    if len(paths) > _FEW and workers > 1:
        try:
            with ProcessPoolExecutor(workers) as pool:
                for file in pool.map(one, paths, chunksize=_CHUNK):
                    begun += 1
                    yield file
        except (BrokenProcessPool, OSError):  # no processes to be had: the rest is read here
            pass
    yield from map(one, paths[begun:])


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _ring(modules: list[str]) -> str:
    shown = ", ".join(modules[:_SHOWN])
    rest = f" and {len(modules) - _SHOWN} more" if len(modules) > _SHOWN else ""
    return f"circular import: {shown}{rest} import each other while they are imported"


def _check(canonical: Iterable[str], known: list[Implementation]) -> None:
    """What is declared canonical has to be there, or nothing is compared with it."""
    there = {str(one.target) for one in known}
    for name in canonical:
        if name not in there:
            others = ", ".join(sorted(there)) or "none"
            raise NotThereError(
                f"inventory.canonical names {name}, which is not there; managers found: {others}"
            )
