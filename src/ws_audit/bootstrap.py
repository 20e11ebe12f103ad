# SPDX-License-Identifier: Apache-2.0
"""Stage 0: our import finder, and nothing else.

Why it exists: the agent has to see modules as they are imported, but an interpreter that
serves nothing must not pay for it, and importing so much as `threading` here would break
gevent's monkey patching.

It must never import anything but `sys` and `os` at module level, import anything inside
`find_spec` (that deadlocks between threads), hide a loader from the module it loads, or ask
another finder on `sys.meta_path` whether it is equal to anything.
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
_DYNLOAD = os.sep + "lib-dynload" + os.sep
# Where the standard library lies in plain files; else (an archive, a frozen application) its
# modules are told by their names alone.
_STANDARD = os.path.dirname(getattr(os, "__file__", ""))
_STANDARD = _STANDARD + os.sep if os.path.isdir(_STANDARD) else ""
_WITNESS = "ws_audit.process.witness"


def start() -> None:
    """Begin watching imports (called by the activation line). Twice is once."""
    install()
    if os.environ.get("WS_AUDIT_REPORT"):  # somebody wants to know, whatever comes of this process
        import atexit

        atexit.register(_report)


def _report() -> None:
    try:
        from .agent import agent

        agent().report()
    except Exception as fault:
        failed(fault)


def is_installed(origin: str) -> bool:
    """Whether a file belongs to an installed library."""
    return any(separator in origin for separator in _SEPARATORS)


def is_standard(name: str, origin: object) -> bool:
    """Whether a module is the standard library's, and no application's of the same name."""
    if not _is_named_standard(name):
        return False
    if type(origin) is not str or os.sep not in origin or not _STANDARD:  # "built-in", "frozen"
        return True
    in_place = origin.startswith(_STANDARD) and not is_installed(origin)
    return in_place or _DYNLOAD in origin


def _is_named_standard(name: object) -> bool:
    return type(name) is str and name.partition(".")[0] in sys.stdlib_module_names


class Finder:
    """First on `sys.meta_path`: lets the other finders answer and watches the execution."""

    def __init__(self) -> None:
        # (thread, name) of look-ups under way: the other finders may ask again.
        self._asking: set[tuple[int, str]] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec the other finders give, with a loader that tells us when it has executed."""
        if name.partition(".")[0] in _OWN and name != _WITNESS:
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
                if find is None:
                    if _old_answers(finder, name, path):
                        return None
                    continue
                spec: ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    if not is_standard(name, spec.origin):
                        _stand_before(spec)
                    return spec
        finally:
            self._asking.discard(key)
        return None

    def forget(self) -> None:
        """No look-up is under way."""
        self._asking.clear()

    def invalidate_caches(self) -> None:
        """Nothing is cached here."""

    def __reduce__(self) -> str:
        """Whoever copies or pickles `sys.meta_path` gets this very finder, never a second."""
        return "_finder"


def _old_answers(finder: Any, name: str, path: Sequence[str] | None) -> bool:
    """Whether a finder from before Python 3.4 has the module: the import system asks it itself."""
    find = getattr(finder, "find_module", None)
    return sys.version_info < (3, 12) and find is not None and find(name, path) is not None


def _stand_before(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    # By `type`: ours says that it is the loader it stands before. A finder that hands out one
    # spec again and again gets one of ours, not a chain of them.
    if loader is not None and type(loader) is not Loader and hasattr(loader, "exec_module"):
        spec.loader = Loader(loader)  # type: ignore[assignment]


class Loader:
    """Stands before a module's real loader until it executes; then the real one is back."""

    __slots__ = ("_loader",)  # no `__dict__`: that is the real one's, too

    def __init__(self, loader: Any) -> None:
        object.__setattr__(self, "_loader", loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    # The rest is for those who look at a spec without executing it: they compare, copy and print.

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)

    def __eq__(self, other: object) -> bool:
        return bool(self._loader == (other._loader if type(other) is Loader else other))

    def __hash__(self) -> int:
        return hash(self._loader)

    def __repr__(self) -> str:
        return repr(self._loader)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._loader.__reduce_ex__(protocol)

    if not TYPE_CHECKING:
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
    if not _watching:
        return
    try:
        name = vars(module).get("__name__")
        if name == _WITNESS:
            module.__dict__["seen"] = True
            return
        if "ws_audit.agent" not in sys.modules and _is_named_standard(name):
            return  # the agent may need the very module this one stands for: the scan finds it
        from .agent import agent

        agent().executed(module)
    except Exception as fault:
        failed(fault)


def sees() -> bool:
    """Whether a module that is imported now is seen: tried, with one of our own."""
    sys.modules.pop(_WITNESS, None)
    # The statement, not `import_module`: some replace `builtins.__import__`.
    import ws_audit.process.witness

    return ws_audit.process.witness.seen


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


def place() -> int:
    """Where on `sys.meta_path` the finder stands; -1 if it has been taken out."""
    for index, finder in enumerate(sys.meta_path):
        if finder is _finder:
            return index
    return -1


def install() -> None:
    """Put the finder first on the path, once."""
    global _watching
    _watching = True
    if place() != 0:
        sys.meta_path.insert(0, _finder)  # before it goes elsewhere: other threads import, too
        _remove(place() + 1)


def forget() -> None:
    """In a forked child: look-ups under way were those of the parent's threads."""
    _finder.forget()


def uninstall() -> None:
    """Take the finder out."""
    global _watching
    _watching = False
    _remove()


def _remove(first: int = 0) -> None:
    for index in reversed(range(first, len(sys.meta_path))):
        if sys.meta_path[index] is _finder:
            del sys.meta_path[index]


def _get_ident() -> Callable[[], int]:
    import _thread

    return _thread.get_ident


_thread_id = _get_ident()
_finder = Finder()
_watching = False
_told = False
