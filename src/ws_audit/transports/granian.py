# SPDX-License-Identifier: Apache-2.0
"""granian: the application is taken over on its way into the callback of an ASGI worker.

Why it exists: granian's connections live in Rust; the function that puts the application
into a callback is the last Python that holds it, and no supervisor calls it. Its workers are
forked or spawned by multiprocessing, whose finalizers write what is left at their end. It
must never touch RSGI and WSGI applications, which have callbacks of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class _Callback:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        if args:
            return (self._runtime.take(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "callback": self._runtime.take(kwargs["callback"])}


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `granian.asgi`, and the names its servers took from it."""
    name = "_callback_wrapper" if module.__name__ == "granian.asgi" else "_asgi_call_wrap"
    runtime.patch_arguments(module, name, _Callback(runtime))
