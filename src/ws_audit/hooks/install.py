# SPDX-License-Identifier: Apache-2.0
"""Puts hooks into classes and functions, in place, and takes every one of them out again.

Why it exists: patching the defining class's own attribute makes all aliases, subclasses and
earlier `from x import Manager` see the hook; replacing a class would miss them. wrapt
resolves and applies patches and wraps what is no plain function. A plain method becomes a
plain function again (see guard): a proxy in its place could not be pickled or held by a
`WeakMethod`, and costs three times as much.

It must never patch an attribute a class only inherits, leave one behind after `remove`, keep
a class alive (some live for one request), or let a failure reach the application.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import wrapt

from .guard import Rewrite, around, rewriting, wrappable
from .terms import Failed, Hook, Switch

if TYPE_CHECKING:
    from ws_audit.classes.classify import Method, Target

# (class, function, what the method means, whether it is called without an instance) -> hook
MakeHook = Callable[[type, FunctionType, "Method", bool], Hook]

# Where a wrapper of ours keeps what it replaced. Only there: a method may refer to its class,
# and a list of originals would keep both alive.
_MARK: Final = "__ws_audit__"


class _Mark(NamedTuple):
    original: Any
    # A weak reference: decorators copy the mark to functions of their own.
    wrapper: Callable[[], Any]


class Patch(NamedTuple):
    """One replaced attribute of a framework or factory: where, what was there, what is there."""

    owner: Any
    name: str
    original: Any
    wrapper: Any


class _Taken:
    def __init__(self, cls: Callable[[], type | None], target: Target) -> None:
        self.cls = cls
        self.target = target
        self.patched = 0
        self.failed: set[str] = set()  # said once, however often the class is looked at
        self.told = ""  # what doctor is told of it; empty: to be worked out
        self.looks = 0  # what the class held when it was last looked at


class Installer:
    """The patches in force; `states` counts hooked methods for metrics and doctor."""

    def __init__(self, make: MakeHook, switch: Switch, failed: Failed) -> None:
        self._make = make
        self._switch = switch
        self._failed = failed
        self._patches: list[Patch] = []
        # By id: a metaclass may have its own idea of equality.
        self._taken: dict[int, _Taken] = {}
        self.states: dict[str, int] = {"patched": 0, "too_late": 0, "failed": 0}

    # -- manager classes ------------------------------------------------------------------------

    def __contains__(self, cls: object) -> bool:
        taken = self._taken.get(id(cls))
        return taken is not None and taken.cls() is cls

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[type]:
        for taken in list(self._taken.values()):
            cls = taken.cls()
            if cls is not None:
                yield cls

    def target(self, cls: type) -> Target:
        """As what a class was taken."""
        return self._taken[id(cls)].target

    def told(self, cls: type, tell: Callable[[type, Target, set[str]], str]) -> str:
        """What doctor is told of a class, worked out once each time it was looked at."""
        taken = self._taken[id(cls)]
        if not taken.told:
            taken.told = tell(cls, taken.target, self.hooked(cls))
        return taken.told

    def hooked(self, cls: type) -> set[str]:
        """The methods of a class that bear a hook now."""
        return {name for name, value in list(cls.__dict__.items()) if _mark(value) is not None}

    def take(self, cls: type, target: Target) -> bool:
        """Hook a manager class's own methods; False if it was taken before.

        Then what has been attached or put in place of a hook since is hooked as well.
        """
        new = cls not in self
        if new:
            self._taken[id(cls)] = _Taken(weakref.ref(cls, self._gone(id(cls))), target)
        taken = self._taken[id(cls)]
        for method in target.methods:
            if method.name in taken.failed:
                continue
            try:
                if self._method(cls, method):
                    taken.patched += 1
                    self.states["patched"] += 1
            except Exception as fault:  # a metaclass may forbid it: that method stays as it was
                taken.failed.add(method.name)
                self.states["failed"] += 1
                self._failed("hooks", fault)
        taken.looks = _looks(cls)
        taken.told = ""
        return new

    def changed(self) -> list[type]:
        """The classes that got or lost an attribute since they were last looked at."""
        return [cls for cls in self if self._taken[id(cls)].looks != _looks(cls)]

    def _gone(self, key: int) -> Callable[[object], None]:
        entries, states = self._taken, self.states

        def gone(_: object) -> None:
            # Runs inside the garbage collector: only atomic steps, and nobody to raise to.
            try:
                taken = entries.pop(key, None)
                if taken is not None:
                    states["patched"] -= taken.patched
            except Exception:
                pass

        return gone

    def _method(self, cls: type, method: Method) -> bool:
        original = cls.__dict__[method.name]
        function = unshelled(original)
        if _MARK in function.__dict__:  # ours, or around ours
            return False
        hook = self._make(cls, function, method, issubclass(type(original), staticmethod))
        wrapper: Any = around(function, hook, self._switch, self._failed)
        wrapper.__dict__[_MARK] = _Mark(original, weakref.ref(wrapper))
        if function is not original:
            wrapper = type(original)(wrapper)
        type.__setattr__(cls, method.name, wrapper)  # past a metaclass's own __setattr__
        return True

    def replaced(self) -> list[FunctionType]:
        """The functions that stood where hooks of classes stand now."""
        return [
            unshelled(mark.original)
            for cls in self
            for value in list(cls.__dict__.values())
            if (mark := _mark(value)) is not None
        ]

    # -- functions ------------------------------------------------------------------------------

    def function(self, module: ModuleType, path: str, hook: Hook) -> None:
        """Hook a framework's function or method, named as in `Config.load`."""
        owner, name, original = wrapt.resolve_path(module, path)
        inner = owner.__dict__.get(name, original) if isinstance(owner, type) else original
        ours = next((patch for patch in self._patches if patch.wrapper is inner), None)
        if ours is not None:  # imported from where it was patched: to be put back here, too
            self._patches.append(Patch(owner, name, ours.original, ours.wrapper))
        else:
            self._put(owner, name, inner, self._wrapped(inner, hook))

    def factory(self, owner: type | ModuleType, name: str, hook: Hook) -> None:
        """Hook a function of a module, or a method of a class, that hands out managers."""
        original = owner.__dict__[name]
        if any(patch.owner is owner and patch.name == name for patch in self._patches):
            return
        shell = type(original) if isinstance(original, (staticmethod, classmethod)) else None
        inner = original if shell is None else original.__func__
        wrapper = self._wrapped(inner, hook)
        try:
            self._put(owner, name, original, wrapper if shell is None else shell(wrapper))
            self.states["patched"] += 1
        except Exception as fault:
            self.states["failed"] += 1
            self._failed("hooks", fault)

    def _wrapped(self, original: Any, hook: Hook) -> Any:
        if isinstance(original, FunctionType) and wrappable(original):
            return around(original, hook, self._switch, self._failed)
        return self._foreign(original, hook)

    def arguments(self, module: ModuleType, name: str, rewrite: Rewrite) -> None:
        """Change what a server's function is given: it gets the application as an argument."""
        function = getattr(module, name)
        ours = next((patch for patch in self._patches if patch.wrapper is function), None)
        if ours is not None:
            self._patches.append(Patch(module, name, ours.original, ours.wrapper))
        else:
            wrapper = rewriting(function, rewrite, self._switch, self._failed)
            self._put(module, name, function, wrapper)

    def _foreign(self, original: Any, hook: Hook) -> Any:
        """Compiled functions and callable objects keep their nature behind wrapt's proxy."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            return args[0](*args[2:], **kwargs)

        class Shifted:
            stage = hook.stage

            @staticmethod
            def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                return hook.before((*args[1], *args[2:]), kwargs)

            after = staticmethod(hook.after)

        guarded = around(cast("FunctionType", forward), Shifted(), self._switch, self._failed)
        if not hasattr(original, "__get__"):  # wrapt before 1.17 would ask for it in a class
            return _proxy(original, lambda *args, **kwargs: guarded(original, (), *args, **kwargs))

        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            # Of a method wrapt takes the instance off the arguments, and the hook wants it.
            return guarded(wrapped, () if instance is None else (instance,), *args, **kwargs)

        return wrapt.FunctionWrapper(original, wrapper)

    def _put(self, owner: Any, name: str, original: Any, wrapper: Any) -> None:
        if isinstance(owner, type):
            type.__setattr__(owner, name, wrapper)
        else:
            wrapt.apply_patch(owner, name, wrapper)
        self._patches.append(Patch(owner, name, original, wrapper))

    # -- the end --------------------------------------------------------------------------------

    def remove(self) -> None:
        """Restore every attribute that still holds our wrapper, newest first."""
        self._switch.on = False
        for cls in self:
            for name, value in list(cls.__dict__.items()):
                mark = _mark(value)
                if mark is not None:
                    try:
                        type.__setattr__(cls, name, mark.original)
                    except Exception as fault:
                        self._failed("hooks", fault)
        self._taken.clear()
        while self._patches:
            patch = self._patches.pop()
            try:
                current = (
                    patch.owner.__dict__.get(patch.name)
                    if isinstance(patch.owner, (type, ModuleType))
                    else getattr(patch.owner, patch.name, None)
                )
                if current is patch.wrapper:
                    if isinstance(patch.owner, type):
                        type.__setattr__(patch.owner, patch.name, patch.original)
                    else:
                        setattr(patch.owner, patch.name, patch.original)
            except Exception as fault:
                self._failed("hooks", fault)
        self.states.update(patched=0, too_late=0, failed=0)


def _proxy(original: Any, call: Callable[..., Any]) -> Any:
    base: Any = wrapt.CallableObjectProxy

    class Called(base):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

    return Called(original)


def _looks(cls: type) -> int:
    return hash(tuple(map(id, cls.__dict__.values())))


def unshelled(value: Any) -> FunctionType:
    """The function in a static or class method, or the value itself."""
    # By its type alone: a lazy object's `__class__` is not ours to ask.
    shell = issubclass(type(value), (staticmethod, classmethod))
    return cast("FunctionType", value.__func__ if shell else value)


def _mark(value: object) -> _Mark | None:
    """The mark of a wrapper of ours; none of what somebody has put around it."""
    function: object = unshelled(value)
    if type(function) is not FunctionType:
        return None
    mark = function.__dict__.get(_MARK)
    return mark if type(mark) is _Mark and mark.wrapper() is function else None
