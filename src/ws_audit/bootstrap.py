# SPDX-License-Identifier: Apache-2.0
"""Stage 0: our import finder, and nothing else.

Why it exists: the agent has to see modules as they are imported, but an interpreter that
serves nothing must not pay for it, and importing so much as `threading` here would break
gevent's monkey patching.

It must never import anything but `sys` and `os` at module level, import anything inside
`find_spec` (that deadlocks between threads), or hide a loader from the module it loads.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not loaded yet, and need not be
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# Ours and our dependencies': looking at them would only cost, or recurse.
_OWN = frozenset(
    {
        "ws_audit",
        "wrapt",
        "opentelemetry",
        "prometheus_client",
        "msgspec",
        "tomli",
        "google",
        "grpc",
    }
)
_SEPARATORS = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


def start() -> None:
    """Begin watching imports (called by the activation line). Twice is once."""
    install()


def is_installed(origin: str) -> bool:
    """Whether a file belongs to an installed library."""
    return any(separator in origin for separator in _SEPARATORS)


class Finder:
    """First on `sys.meta_path`: lets the other finders answer and watches the execution."""

    def __init__(self) -> None:
        # (thread, name) of look-ups under way: the other finders may ask again.
        self._asking: set[tuple[int, str]] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec the other finders give, with a loader that tells us when it has executed."""
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in _OWN:
            return None
        key = (_thread_id(), name)
        if key in self._asking:
            return None
        self._asking.add(key)
        try:
            for finder in list(sys.meta_path):
                if finder is self:
                    continue
                find = getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if find is None else find(name, path, target)
                if spec is not None:
                    loader = spec.loader
                    if loader is not None and hasattr(loader, "exec_module"):
                        spec.loader = Loader(loader)  # type: ignore[assignment]
                    return spec
        finally:
            self._asking.discard(key)
        return None

    def invalidate_caches(self) -> None:
        """Nothing is cached here."""


class Loader:
    """Stands before a module's real loader until it executes; then the real one is back."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    if not TYPE_CHECKING:
        # For those who ask a spec for its loader without executing it (`python -m` for one).
        __class__ = property(lambda self: type(self._loader))

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        create = getattr(self._loader, "create_module", None)
        created: ModuleType | None = None if create is None else create(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute by the real loader, which the module sees as its own; then look at it."""
        spec = module.__spec__
        if spec is not None and spec.loader is self:  # type: ignore[comparison-overlap]
            spec.loader = self._loader  # type: ignore[unreachable]
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        watch(module)

    # This frame is the import system's: tracebacks leave it out, and a warning raised at import
    # names the importing line, as they would without us.
    exec_module.__code__ = exec_module.__code__.replace(
        co_filename="<frozen importlib._bootstrap_external>"
    )


def watch(module: ModuleType) -> None:
    """Tell the agent of an executed module. Its own failures stay here.

    Also of one that put another object in its place: the classes are defined in this one.
    """
    if _finder not in sys.meta_path:
        return
    try:
        from .agent import agent

        agent().executed(module)
    except Exception as fault:
        failed(fault)


def failed(fault: BaseException) -> None:
    """Say once that imports are not looked at, and why."""
    global _told
    if not _told:
        _told = True
        try:
            os.write(
                2, f"ws-audit: not watching imports: {type(fault).__name__}: {fault}\n".encode()
            )
        except OSError:
            pass


def install() -> None:
    """Put the finder first on the path, once."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Take the finder out."""
    while _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def _get_ident() -> Callable[[], int]:
    import _thread

    return _thread.get_ident


_thread_id = _get_ident()
_finder = Finder()
_told = False
