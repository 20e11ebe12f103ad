# SPDX-License-Identifier: Apache-2.0
"""What is measured: one seeded defect, or one kind of benign traffic, of one application.

Why it exists: an application is written as its team would write it. A defect is an edit of that
source, as a careless change would be, so that nothing in a running application says "benchmark".

It must never hold a verdict: whether a defect leaks is decided by what clients received.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .actors import Stage

    Scenario = Callable[[Stage], Awaitable[None]]

APPS: Final = Path(__file__).parent / "apps"
CATEGORIES: Final = ("shared_state", "ownership", "content", "emitter", "recipient")
# What a delivery of the leak carries besides its text:
# routing - the application itself named a recipient, or the owner, and it went elsewhere;
# identity - some id of a person, run or session is in it or around it;
# content - nothing but the text tells whose it is.
CARRIES: Final = ("routing", "identity", "content")


@dataclass(frozen=True)
class Swap:
    """One edit: `old` must occur exactly once in the file and is replaced."""

    file: str
    old: str
    new: str

    def apply(self, directory: Path) -> None:
        """Edit the copy of the application in `directory`; ValueError if that can't be."""
        path = directory / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{path}: {text.count(self.old)} times instead of once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Defect:
    """A seeded leak: what is wrong, after which public report, and who has to do what."""

    name: str
    category: str
    what: str
    source: str
    carries: str
    swaps: tuple[Swap, ...]
    scenario: Scenario

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES or self.carries not in CARRIES or not self.swaps:
            raise ValueError(f"{self.name}: category, carries or swaps")


@dataclass(frozen=True)
class Benign:
    """Traffic in which nobody sees what is not for them, and where real applications have it."""

    name: str
    kind: str
    what: str
    source: str
    scenario: Scenario


@dataclass(frozen=True)
class Application:
    """One application of the benchmark; see apps/NAME/cases.py."""

    name: str
    defects: tuple[Defect, ...]
    benign: tuple[Benign, ...]
    held_back: tuple[Defect, ...]
    command: tuple[str, ...] = field(
        default=("-m", "uvicorn", "app:app", "--port", "PORT", "--log-level", "warning")
    )
    needs: tuple[str, ...] = ()  # programs beside Python, like redis-server
    users_by: str = "id"  # which of a person's identifiers the application calls them by

    @property
    def directory(self) -> Path:
        """Its source."""
        return APPS / self.name


def applications(names: list[str] | None = None) -> list[Application]:
    """All applications, or those named; ValueError if there is no such one."""
    known = sorted(path.parent.name for path in APPS.glob("*/cases.py"))
    for name in names or ():
        if name not in known:
            raise ValueError(f"no application {name!r}; expected one of {', '.join(known)}")
    return [_load(name) for name in names or known]


def _load(name: str) -> Application:
    package = f"benchmarks.leaks.apps.{name}"
    cases = importlib.import_module(f"{package}.cases")
    held = importlib.import_module(f"{package}.held_back")
    settings = ("COMMAND", "NEEDS", "USERS_BY")
    more = {key.lower(): getattr(cases, key) for key in settings if hasattr(cases, key)}
    return Application(name, tuple(cases.DEFECTS), tuple(cases.BENIGN), tuple(held.DEFECTS), **more)
