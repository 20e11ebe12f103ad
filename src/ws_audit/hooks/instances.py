# SPDX-License-Identifier: Apache-2.0
"""What happens around `__init__`: each instance is counted once, and whom it was built for.

Why it exists: a per-user emitter that serves somebody else is the commonest leak there is,
and which instances exist at all is half of an inventory.

It must never add an `__init__` to a class that has none, never keep an instance alive, and
never read its properties: owners come from arguments and the instance's own dictionary.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ws_audit import naming
from ws_audit.messages.sites import Site, caller, site_text
from ws_audit.messages.tables import KNOWN, NEW, UNFOLLOWED, Instance, Instances
from ws_audit.model import CONSTRUCT, NONE, RECORD_VERSION, STRONG, Creation, Evidence, Principal
from ws_audit.principals.identity import DIFFERENT, agree, describe, peek

if TYPE_CHECKING:
    from types import FunctionType

    from ws_audit.classes.classify import Method
    from ws_audit.tally import Tally

Parent = Callable[[], tuple[int, int, bool]]
# The instance a method is called on, from its arguments.
Receiver = Callable[[tuple[Any, ...]], Instance]
# (whose it was, who has it now, the manager's label, the site)
Shared = Callable[[Evidence, Evidence, str, str], None]


class Created:
    """Knows every instance of a patched class, from its construction or at first sight.

    `unknown` is told of classes that came to light by an instance, `shared` of an instance
    that was built, or handed out, for a second user.
    """

    def __init__(
        self,
        instances: Instances,
        tally: Tally,
        label: Callable[[type], str],
        record: Callable[[Creation], None],
        unknown: Callable[[type], None],
        shared: Shared,
    ) -> None:
        self._instances = instances
        self._tally = tally
        self._label = label
        self._record = record
        self._unknown = unknown
        self._shared = shared
        self.parent: Parent | None = None
        # Where the settings say that instances of a class keep their user, by the class's name.
        self.paths: dict[str, tuple[str, ...]] = {}

    def of(self, args: tuple[Any, ...]) -> Instance:
        """The receiver of a method call; an instance made before the patch counts now."""
        instance = args[0] if args else None
        known = self._instances.find(instance)
        if known is not None:
            return known
        if isinstance(instance, type):  # a class method: no instance, no owner
            return Instance(self._label(instance), None)
        return self.add(instance, self.owner(instance))

    def owner(self, instance: object, given: Evidence | None = None) -> Evidence | None:
        """Whom an instance was built for: where the settings say, else as given, else as usual."""
        cls = type(instance)
        path = self.paths.get(f"{cls.__module__}:{cls.__qualname__}") if self.paths else None
        if path is None:
            return given or owner_of(instance)
        value = instance
        for step in path:
            value = peek(value, step)
        found = describe(value, naming.RECIPIENTS.get(path[-1].lstrip("_"), "id"))
        return Evidence("instance", found[0], CONSTRUCT, ".".join(path), STRONG) if found else None

    def static(self, cls: type) -> Receiver:
        """What `of` is to a static method: its class is all it knows."""
        instance = Instance(self._label(cls), None)
        return lambda _: instance

    @property
    def made(self) -> int:
        """How many constructors have returned."""
        return self._instances.made

    def add(
        self,
        instance: object,
        owner: Evidence | None,
        duration_ns: int = 0,
        site: Site | None = None,
        function: str = "",
        *,
        made: bool = False,
    ) -> Instance:
        """Count an instance once and follow it weakly.

        `made` says that its outermost constructor has just returned: what can't be followed
        is counted then and only then.
        """
        manager = self._label(type(instance))
        status, entry = self._instances.add(instance, manager, owner)
        if status != KNOWN:
            self._unknown(type(instance))
        if made:
            self._made(entry, owner, site, function)
        if status == NEW or (status == UNFOLLOWED and made):
            self._tally.add(("created", manager))
            if status == NEW:
                self._tally.add(("followed", manager))
            parent = self.parent() if self.parent is not None else (0, 0, False)
            self._record(
                Creation(
                    RECORD_VERSION,
                    time.time_ns() - duration_ns,
                    duration_ns,
                    manager,
                    function,
                    site_text(site, function) if site is not None else NONE,
                    site is None,
                    owner,
                    *parent,
                )
            )
        return entry

    def _made(self, entry: Instance, owner: Evidence | None, site: Site | None, name: str) -> None:
        """An outermost constructor has returned: the first time, or of a singleton once more."""
        before = entry.owner
        if not entry.made:
            self._instances.made += 1
            entry.made = self._instances.made
            return
        if before is None or owner is None or agree(before, owner.principal) != DIFFERENT:
            return
        entry.owner = None  # built for two: it says nothing of whom it serves
        self.share(entry, before, owner, site_text(site, name) if site else NONE)

    def share(self, entry: Instance, first: Evidence, second: Evidence, site: str) -> None:
        """One object for two users: told once for each object."""
        if not entry.shared:
            entry.shared = True
            self._shared(first, second, entry.manager, site)


class CreateHook:
    """Around a class's own `__init__`."""

    stage = "hooks"

    def __init__(self, function: FunctionType, method: Method, created: Created) -> None:
        code = function.__code__
        self._names = code.co_varnames[1 : code.co_argcount]
        line = function.__code__.co_firstlineno
        self._name = f"{function.__module__}:{function.__qualname__}:{line}"
        self._created = created
        self._function = function

    def before(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[object, Evidence | None, int, Site]:
        site = caller(3)
        given: dict[str, Any] = dict(zip(self._names, args[1:], strict=False))
        given.update(kwargs)
        owner = owner_among(given.get)
        return args[0], owner, time.perf_counter_ns(), site

    def after(
        self,
        state: tuple[object, Evidence | None, int, Site],
        result: Any,
        error: BaseException | None,
    ) -> None:
        if error is None:
            instance, owner, started, site = state
            duration = time.perf_counter_ns() - started
            self._created.add(
                instance,
                self._created.owner(instance, owner),
                duration,
                site,
                self._name,
                made=_first(type(instance), "__init__") is self._function,
            )


def _first(cls: type, name: str) -> object:
    """What a class's outermost `name` was before we wrapped it."""
    for base in cls.__mro__:
        found = base.__dict__.get(name)
        if found is not None:
            return getattr(found, "__wrapped__", None)
    return None


def owner_among(get: Callable[[str], Any]) -> Evidence | None:
    """Whom an object is for, from what it was given by name."""
    for name in naming.OWNER_ATTRIBUTES:
        value = get(name)
        if value is not None:
            who = _who(name, value)
            if who is not None:
                return Evidence("instance", who, CONSTRUCT, name, STRONG)
    return None


def owner_of(instance: object) -> Evidence | None:
    """Whom an instance was built for, from its own attributes."""
    return owner_among(lambda name: peek(instance, name))


def _who(name: str, value: object) -> Principal | None:
    if "context" not in name and name != "ctx":
        found = describe(value, naming.RECIPIENTS.get(name.lstrip("_"), "id"))
        return found[0] if found else None
    # A context's own `id` or `name` is the context's: only what says "user" names the user.
    for field in ("user_id", "userId", "user"):
        inner = peek(value, field)
        if inner is not None:
            found = describe(inner)
            if found:
                return found[0]
    return None
