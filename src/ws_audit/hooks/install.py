# SPDX-License-Identifier: Apache-2.0
"""Puts hooks into classes and functions, in place, and takes every one of them out again.

Why it exists: patching the defining class's own attribute makes all aliases, subclasses and
earlier `from x import Manager` see the hook; replacing a class would miss them. wrapt
resolves and applies patches and wraps what is no plain function. A plain method becomes a
plain function again (see guard): a proxy in its place could not be pickled or held by a
`WeakMethod`, and costs three times as much.

It must never patch an attribute a class only inherits, leave one behind after `remove`, or
let a failure reach the import that triggered it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, cast

import wrapt

from ws_audit.classify import Method, Target
from ws_audit.model import CREATE

from .guard import Failed, Hook, Switch, around, wrappable

MakeHook = Callable[[FunctionType, Method], Hook]


class Patch(NamedTuple):
    """One replaced attribute: where, what was there, what we put there."""

    owner: Any
    name: str
    original: Any
    wrapper: Any


class Installer:
    """The patches in force; targets are counted by state for metrics and doctor."""

    def __init__(self, make: MakeHook, switch: Switch, failed: Failed) -> None:
        self._make = make
        self._switch = switch
        self._failed = failed
        self._patches: list[Patch] = []
        self.targets: dict[type, Target] = {}
        self.states: dict[str, int] = {"patched": 0, "too_late": 0, "failed": 0}

    def take(self, cls: type, target: Target) -> bool:
        """Hook a manager class's own methods; False if it is hooked already."""
        if cls in self.targets:
            return False
        self.targets[cls] = target
        for method in target.methods:
            try:
                self._method(cls, method)
            except Exception as fault:  # a metaclass may forbid it: that method stays as it was
                self.states["failed"] += 1
                self._failed("hooks", fault)
        return True

    def _method(self, cls: type, method: Method) -> None:
        original = cls.__dict__[method.name]
        shell = type(original) if isinstance(original, (staticmethod, classmethod)) else None
        function = original.__func__ if shell is not None else original
        if not wrappable(function) or (shell is staticmethod and method.kind != CREATE):
            self.states["failed"] += 1
            return
        wrapper: Any = around(function, self._make(function, method), self._switch, self._failed)
        if shell is not None:
            wrapper = shell(wrapper)
        self._put(cls, method.name, original, wrapper)
        self.states["patched"] += 1

    def function(self, module: ModuleType, path: str, hook: Hook) -> None:
        """Hook a framework's function or method, named as in `Config.load`."""
        owner, name, original = wrapt.resolve_path(module, path)
        inner = owner.__dict__.get(name, original) if isinstance(owner, type) else original
        ours = next((patch for patch in self._patches if patch.wrapper is inner), None)
        if ours is not None:  # imported from where it was patched: to be put back here, too
            self._patches.append(Patch(owner, name, ours.original, ours.wrapper))
        elif isinstance(inner, FunctionType) and wrappable(inner):
            self._put(owner, name, inner, around(inner, hook, self._switch, self._failed))
        else:
            self._put(owner, name, inner, self._foreign(inner, hook))

    def _foreign(self, original: Any, hook: Hook) -> Any:
        """Compiled functions and callable objects keep their nature behind wrapt's proxy."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            return args[0](*args[1:], **kwargs)

        class Shifted:
            stage = hook.stage

            @staticmethod
            def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                return hook.before(args[1:], kwargs)

            after = staticmethod(hook.after)

        guarded = around(cast("FunctionType", forward), Shifted(), self._switch, self._failed)

        def wrapper(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
            return guarded(wrapped, *args, **kwargs)

        return wrapt.FunctionWrapper(original, wrapper)

    def _put(self, owner: Any, name: str, original: Any, wrapper: Any) -> None:
        if isinstance(owner, type):
            type.__setattr__(owner, name, wrapper)  # past a metaclass's own __setattr__
        else:
            wrapt.apply_patch(owner, name, wrapper)
        self._patches.append(Patch(owner, name, original, wrapper))

    def remove(self) -> None:
        """Restore every attribute that still holds our wrapper, newest first."""
        self._switch.on = False
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
        self.targets.clear()
        self.states.update(patched=0, failed=0)
