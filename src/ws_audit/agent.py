# SPDX-License-Identifier: Apache-2.0
"""The agent of this process: which stage it is in, and what each imported module means to it.

Why it exists: importing things early changes applications, so the agent grows in stages.
This module is loaded after the first module outside the standard library has executed; it
reads the settings and looks at classes. Only when one is taken, or a server's module
appears, are the hooks loaded; only when a server takes the application, the rest.

It must never raise into an import, and never import ssl, socket, threading, wrapt,
OpenTelemetry or prometheus_client itself.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import RLock
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import bootstrap, transports
from .classes import discovery
from .classes.classify import Refused, Target, classes_of, classify
from .classes.declared import Declared
from .classes.factories import factories_of
from .classes.signs import is_realtime
from .configuration import settings
from .process.control import Control
from .process.forks import imports
from .process.modules import is_installed, name_of, origin_of
from .process.proof import Proof

if TYPE_CHECKING:
    from .facts.state import State
    from .runtime import Runtime

_CONTROL_NS = 2_000_000_000
_REFUSED = 500
_WALKS = 4  # over all classes: as a server starts, and three times more in the seconds after


class Agent:
    """One per process; made by the first executed module or by `enable()`."""

    def __init__(self) -> None:
        self._lock = RLock()
        self.settings, problems, self._origins = settings.read(os.environ, _directory())
        self._problems = problems
        self._state: State | None = None
        self._declared = Declared(self.settings.manager, say)
        self.runtime: Runtime | None = None
        self.refused: dict[str, str] = {}  # classes that look like managers -> why they are none
        self._inside: list[tuple[str, ModuleType]] = []
        self._control_read = 0
        self._walks = 0
        self._control = Control(self.settings.control_file, say)
        self._tripped_at: tuple[int, ...] = ()  # what the control file was when the breaker tripped
        # Patches are in force while the application wants them, the control file allows it, and
        # the breaker has not tripped.
        self._enabled = self._allowed = self._active = True
        self.proof = Proof(say, self._failed)
        for problem in problems:
            say(f"{problem} (its default is used)")

    # -- imports ----------------------------------------------------------------------------

    def executed(self, module: ModuleType) -> None:
        """A module outside the standard library has executed."""
        name = vars(module).get("__name__")
        if type(name) is not str:
            return
        if name in transports.HOOKS:
            with self._lock:
                if self.runtime is None and name not in transports.SERVERS:
                    self._inside.append((name, module))
                elif self._active:
                    self._hook(name, module)
        elif self._active and self._takes(module):
            self._look(module)

    def _hook(self, name: str, module: ModuleType) -> None:
        runtime = self._stage_one()
        if runtime.hooked.get(name) is module:
            return
        runtime.hooked[name] = module
        try:
            import_module(transports.HOOKS[name]).install(module, runtime)
        except Exception as fault:  # the framework's internals have moved: not covered, and said
            runtime.failed(f"transport {name}", fault)

    def _takes(self, module: ModuleType) -> bool:
        name = name_of(module)
        return self._by_rules(name, module) or self._declared.names(name, module.__name__)

    def _by_rules(self, name: str, module: ModuleType) -> bool:
        return name != "" and self.settings.takes(name, is_installed(module))

    def _look(self, module: ModuleType) -> None:
        """Take the manager classes of one application module."""
        try:
            name = name_of(module)
            classes = [cls for cls, _ in self._declared.classes(name, module)]
            ruled = self._by_rules(name, module)
            if ruled:
                # By id: a metaclass may have its own idea of equality.
                named = {id(cls) for cls in classes}
                classes += [cls for cls in classes_of(module) if id(cls) not in named]
            taken = self.runtime.installer if self.runtime is not None else ()
            realtime = is_realtime(module, taken)
        except Exception as fault:
            self._failed(fault)
            return
        for cls in classes:
            if cls not in taken:
                realtime |= self._take(cls, realtime, module)
        if ruled and realtime and self.runtime is not None:
            try:
                for factory in factories_of(module):
                    with self._lock:
                        self.runtime.factory(factory)
            except Exception as fault:
                self._failed(fault)

    def _take(self, cls: type, realtime: bool, module: ModuleType) -> bool:
        """Take a class if it is a manager; whether it is."""
        try:
            table = self._declared.table(name_of(module), cls)
            found = classify(cls, realtime) if table is None else self._declared.target(cls, table)
            if isinstance(found, Target):
                with self._lock:
                    self._stage_one().manager(cls, found, module)
                return True
            # What has no file (compiled code makes such modules) nobody would name in a table.
            told = "__file__" in vars(module) and len(self.refused) < _REFUSED
            if isinstance(found, Refused) and found.near and told:
                self.refused[f"{found.module}:{found.qualname}"] = found.reason
        except Exception as fault:  # one odd class must not hide the others
            self._failed(fault)
        return False

    def unknown(self, cls: type) -> None:
        """A class shows up by an instance: made in a function, or inheriting what is hooked."""
        module, runtime = sys.modules.get(cls.__module__), self.runtime
        if not self._active or runtime is None or type(module) is not ModuleType:
            return
        name = name_of(module)
        inherits = any(base in runtime.installer for base in cls.__mro__[1:])
        taken = False
        if self._by_rules(name, module) or self._declared.table(name, cls) is not None:
            realtime = inherits or is_realtime(module, runtime.installer)
            taken = self._take(cls, realtime, module)
        if inherits and not taken:
            # Nothing of its own to hook. Known all the same, or each instance would ask again.
            with self._lock:
                target = Target(cls.__module__, cls.__qualname__, "inherits what is hooked", ())
                runtime.manager(cls, target, module)

    def _failed(self, fault: Exception) -> None:
        if self.runtime is not None:
            self.runtime.failed("hooks", fault)
        else:
            bootstrap.failed(fault)

    def _stage_one(self) -> Runtime:
        if self.runtime is None:
            from .runtime import Runtime

            self.runtime = Runtime(
                self.settings,
                say,
                self.serve,
                self.periodic,
                self.unknown,
                self._application_modules,
                self.state(),
            )
            self._active = self._enabled and self._allowed
            waiting, self._inside = self._inside, []
            for name, module in waiting if self._active else ():
                self._hook(name, module)
        return self.runtime

    # -- what doctor reads ----------------------------------------------------------------------

    def state(self) -> State:
        """The file with the facts of this process."""
        if self._state is None:
            from .facts.state import State

            given = self.settings
            self._state = State(
                [given.trace_dir, given.report],
                self.facts,
                given.store_max_age_days,
                soon=given.report != "",
            )
        return self._state

    def facts(self) -> dict[str, Any]:
        """What this process knows of itself."""
        with imports:  # the worker asks, and a fork may come at any time
            from .facts.document import facts

        off = ""
        if not self._active:
            off = "control file" if not self._allowed else "ws_audit.disable()"
            off = f"circuit breaker: {self._why()}" if self._why() else off
        return facts(
            self.settings,
            self._origins,
            self._problems,
            self.refused,
            self.proof.works,
            off,
            self.runtime,
        )

    def report(self) -> None:
        """At exit, if somebody asked for it: also of a process that never served anything."""
        try:
            if self.runtime is not None and self.runtime.outputs is not None:
                self.runtime.last_facts()
            else:
                self.state().write(time.time_ns(), ended=True)
        except Exception as fault:
            self._failed(fault)

    def _application_modules(self) -> list[ModuleType]:
        modules = [module for module in list(sys.modules.values()) if type(module) is ModuleType]
        return [module for module in modules if self._scanned(module)]

    # -- all modules ----------------------------------------------------------------------------

    def scan(self) -> None:
        """Look at everything imported so far: what the finder could not see, and singletons."""
        modules = self._application_modules()
        for module in modules:
            self._look(module)
        runtime = self.runtime
        if runtime is None:
            return
        try:
            self._walks = _WALKS
            self._look_again(runtime)
            for module in modules:
                runtime.singletons(module)
            runtime.look_for_captured()
        except Exception as fault:
            runtime.failed("hooks", fault)

    def _look_again(self, runtime: Runtime) -> None:
        """What became of the classes taken: methods attached since, subclasses made since.

        Shortly after the start, when an application sets itself up, also what is new in functions.
        """
        try:
            if self._walks:
                self._walks -= 1
                for cls in discovery.local_classes(self._scanned_names()):
                    if cls not in runtime.installer:
                        self.unknown(cls)
            for cls in runtime.installer.changed():
                self.unknown(cls)
            for cls in discovery.subclasses(runtime.installer):
                if cls not in runtime.installer:
                    self.unknown(cls)
        except Exception as fault:
            runtime.failed("hooks", fault)

    def _scanned_names(self) -> set[str]:
        modules = list(sys.modules.values())
        return {
            module.__name__
            for module in modules
            if type(module) is ModuleType and self._scanned(module)
        }

    def _scanned(self, module: ModuleType) -> bool:
        name = vars(module).get("__name__")
        if type(name) is not str or name in transports.HOOKS:
            return False
        if name != "__main__" and bootstrap.is_standard(name, origin_of(module)):
            return False
        return self._takes(module)

    # -- serving ------------------------------------------------------------------------------

    def serve(self) -> None:
        """A server takes the application."""
        with self._lock:
            runtime = self._stage_one()
            self._read_control()
            active = self._active
        # An import runs other people's hooks, the ways out import other people's plugins: not
        # under the lock, which a module that another thread is importing may be waiting for.
        if active:
            self.proof.prove()
            with self._lock:
                self.scan()
        runtime.start_outputs(serving=True)
        runtime.drain.start()

    # -- the kill switch ------------------------------------------------------------------------

    def periodic(self, now_ns: int) -> None:
        """The drain's tick; every two seconds the control file, and the classes once more."""
        if self._why() and self._active:
            self._trip(self._why())
        if now_ns - self._control_read >= _CONTROL_NS or now_ns < self._control_read:
            self._read_control()
            if self._active and self.runtime is not None:
                self._look_again(self.runtime)

    def _read_control(self) -> None:
        self._control_read = time.time_ns()
        allowed = self._control.allows() if self._control.path else None
        if allowed is None:
            return
        self._allowed = allowed
        if allowed and self._why() and self._control.state() != self._tripped_at:
            self._reset()  # written since: somebody wants it on again
        self._switch()

    def _why(self) -> str:
        """Why the breaker has tripped; empty if it has not."""
        return self.runtime.breaker.tripped if self.runtime is not None else ""

    def _trip(self, why: str) -> None:
        """The breaker: off as by the control file, until somebody switches it on again."""
        self._tripped_at = self._control.state()
        self._switch()
        say(
            f"circuit breaker: {why}; everything is unpatched and nothing is audited until somebody"
            f" switches it on again: {self._control.again()}."
            " limits.cpu_share sets the limit, 1 is none"
        )

    def _reset(self) -> None:
        if self.runtime is not None:
            self.runtime.breaker.reset()

    def _switch(self) -> None:
        with self._lock:
            active, runtime = self._enabled and self._allowed, self.runtime
            tripped = self._why()
            active = active and not tripped
            if active == self._active:
                return
            self._active = active
            if runtime is None:
                return
            if active:
                runtime.rearm()
                self._arm()
            else:
                runtime.disarm()
        if not tripped:
            say(f"switched {'on' if active else 'off'}")

    def _arm(self) -> None:
        for name, module in list(sys.modules.items()):
            if name in transports.HOOKS and type(module) is ModuleType:
                self._hook(name, module)
        self.scan()

    def forget(self) -> None:
        """In a forked child: whoever held the lock is not here."""
        self._lock = RLock()
        if self.runtime is not None:
            self.runtime.forget()

    # -- the public calls -----------------------------------------------------------------------

    def enable(self) -> None:
        """Begin in a process that is already running (also after disable())."""
        with self._lock:
            bootstrap.install()
            self._enabled = True
            runtime = self._stage_one()
            self._reset()
            self._read_control()
            self._switch()
            if self._active:
                self._arm()
            runtime.resume()

    def disable(self) -> None:
        """Take every patch out, write what is left, and look at no more imports."""
        with self._lock:
            bootstrap.uninstall()
            self._enabled = False
            self._switch()
        # Not under the lock: the worker may be waiting for it, and this waits for the worker.
        if self.runtime is not None:
            self.runtime.stop()
            self.runtime.close()


_agent: Agent | None = None
_making = RLock()


def agent() -> Agent:
    """The agent of this process."""
    global _agent
    if _agent is None:
        with _making:
            if _agent is None:
                _agent = Agent()
    return _agent


def _forget() -> None:
    global _making
    _making = RLock()
    bootstrap.forget()
    if _agent is not None:
        _agent.forget()


os.register_at_fork(after_in_child=_forget)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed: relative paths stay relative
        return ""


def say(text: str) -> None:
    """One line on stderr, in one write; never a reason to fail."""
    try:
        os.write(2, f"ws-audit: {text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
