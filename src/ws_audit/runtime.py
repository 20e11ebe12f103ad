# SPDX-License-Identifier: Apache-2.0
"""The parts of a running agent and how they are joined: hooks and sink at stage 1, the ways
out at stage 2.

Why it exists: every other module gets what it needs as an argument; this is the one place
that knows them all and in which order they may begin.

It must never import OpenTelemetry or prometheus_client before a server takes the
application or the first intent is seen: importing them early changes applications.
"""

from __future__ import annotations

import atexit
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Final

from .classes import discovery
from .classes.classify import Method, Target, event_names
from .declarations import Declarations
from .drain import Drain, ending
from .evidence import canaries
from .evidence.bindings import Bindings
from .evidence.resources import Resources
from .evidence.served import observers
from .evidence.witnesses import Witnesses
from .facts.clues import Clues
from .facts.learner import Learner
from .facts.names import Names
from .facts.unjudged import Unjudged
from .hooks.calls import CONNECTS, SENDS, SendHook
from .hooks.factories import FactoryHook
from .hooks.guard import FILES, Rewrite
from .hooks.install import Installer
from .hooks.instances import Created, CreateHook, owner_of
from .hooks.meter import Meter
from .hooks.terms import Application, Hook, Switch
from .inventory.inventory import Inventory
from .inventory.living import Living
from .labels import Events, Managers
from .messages.intents import Intents
from .messages.payloads import Reader
from .messages.sites import application_site
from .messages.tables import Instances
from .model import CREATE, FACTORY, Creation
from .principals.identity import describe, principal
from .process.breaker import Breaker
from .process.faults import told
from .process.forks import Undivided
from .process.modules import is_installed, is_standard, name_of
from .selftest.walk import SelfTest
from .sharing.graph import Reader as GraphReader
from .sharing.search import Search
from .sink import Sink
from .tally import Tally
from .transports.asgi import wrap

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

    from .classes.factories import Factory
    from .configuration.settings import Settings
    from .facts.state import State
    from .model import Evidence
    from .outputs.assembly import Outputs


NAMES_NS: Final = 200_000  # a slice of reading which names stand in the application's code
MAX_UNTAKEN: Final = 1_000  # names of classes factories return that are no managers


class Runtime:
    """Everything between the application's classes and the ways out of the process."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        before_serving: Callable[[], None],
        periodic: Callable[[int], None],
        unknown: Callable[[type], None],
        application_modules: Callable[[], list[ModuleType]],
        state: State,
    ) -> None:
        self.settings = settings
        self.say = say
        self._before_serving = before_serving
        self._periodic = periodic
        self._unknown = unknown
        self.tally = Tally()
        self._told: set[str] = set()
        self._meter = Meter()
        self.breaker = Breaker(settings.limits_cpu_share, self.cpu_seconds, self._meter, FILES)
        self.drain = Drain(self.tally, self.failed)
        self.managers = Managers()
        self._factories, self._products = Managers(), Managers()
        self._no_managers: set[str] = set()
        self._application: dict[str, bool] = {}  # modules whose classes were asked for
        self.events = Events(settings.payload_events)
        self.events.allow({event for table in settings.policy for event in table.events})
        self.reader = Reader(
            settings.payload_owner,
            settings.payload_actor,
            settings.payload_event,
            settings.limits_payload_bytes,
            settings.payload_mention,
            settings.payload_resources,
        )
        self.intents = Intents(self.tally, self.drain.append, self.drain.start)
        self._instances = Instances(lambda manager: self.tally.add(("gone", manager)))
        self.created = Created(
            self._instances,
            self.tally,
            self.managers.label,
            self._created_record,
            self._new_class,
            self._shared,
        )
        self.clues = Clues(lambda: application_site(self._included), thorough=settings.report != "")
        self.unjudged = Unjudged()
        self.names = Names(application_modules)
        self.declarations = Declarations(settings, self.tally, say)
        self.sink = Sink(
            self.reader,
            self.intents,
            self.tally,
            self.events,
            self.drain.append,
            lambda: application_site(self._included),
            self.failed,
            Bindings(settings.identity_connection, settings.identity_tenant),
            self.clues,
            max_connections=settings.limits_connections,
            doubts=self.declarations.doubts,
            block=settings.block if settings.mode == "block" else None,
            witnesses=Witnesses(
                Resources(settings.limits_resources, observers(settings.policy)),
                canaries.load(settings.canary_tokens_file, settings.limits_payload_bytes, say),
                self.declarations.outsiders,
            ),
        )
        self.intents.blocking = settings.mode == "block"
        owners = GraphReader(
            self.names.tell,
            self._of_application,
            lambda value: self._instances.find(value) is not None,
            owner_of,
        )
        self.search = Search(self._instances, owners, self.sink.shared_state)
        self.drain.spare = self._spare
        self.selftest = SelfTest(settings, self.reader, self.tally, say, self.failed)
        self.learner: Learner | None = None
        if settings.report:  # doctor or learn has started this process
            self.learner = self.sink.learner = Learner(self.names.tell, settings.payload_event)
        # Of the wrappers servers hold: it outlives patching and unpatching.
        self.serving = Switch(self._meter)
        self.installer = Installer(self._hook, Switch(self._meter), self.failed)
        self.hooked: dict[str, ModuleType] = {}  # framework modules, by name
        living = Living(self._instances, self.sink.people)
        self.inventory = Inventory(lambda: self.installer, self.managers, self.tally, living, FILES)
        self._looked_for = 0  # functions replaced, when last looked for who kept them
        self.captured: list[str] = []  # what was kept before it was hooked, and where
        self.applications = 0  # how often a server has taken one
        self.state = state
        self.outputs: Outputs | None = None
        self._lock = Undivided()
        self._registered = False  # for the end of the process; a forked child inherits it
        self.drain.outputs([], self._begun, self.start_outputs)

    # -- patching -------------------------------------------------------------------------------

    def manager(self, cls: type, target: Target, module: ModuleType) -> None:
        """Take a class as a manager; taken before, what has changed of it since."""
        if target.instance_user:
            path = tuple(target.instance_user.split("."))
            self.created.paths[f"{cls.__module__}:{cls.__qualname__}"] = path
        if self.installer.take(cls, target):
            new = len(self.managers.known)
            label = self.managers.label(cls)
            if len(self.managers.known) > new:  # not for each of one request's local classes
                self.events.allow(event_names(module))
                if self.outputs is not None:
                    self.outputs.metrics.manager(label)

    def emitter(self, cls: type) -> str:
        """The label of a framework's class that the application sends through."""
        known = len(self.managers.known)
        label = self.managers.label(cls)
        if len(self.managers.known) > known and self.outputs is not None:
            self.outputs.metrics.manager(label)
        return label

    def factory(self, factory: Factory) -> None:
        """Hook a function or method that hands out managers."""
        self.installer.factory(factory.owner, factory.name, self._factory_hook(factory.function))

    def _factory_hook(self, function: FunctionType) -> Hook:
        name = self._factories.name(f"{function.__module__}:{function.__qualname__}")
        return FactoryHook(
            function, name, self.created, self._is_manager, self.tally, self._products
        )

    def _is_manager(self, cls: type) -> bool:
        if any(base in self.installer for base in cls.__mro__):
            return True
        name = f"{cls.__module__}:{cls.__qualname__}"
        if name in self._no_managers:
            return False
        self._unknown(cls)
        if cls in self.installer:
            return True
        if len(self._no_managers) < MAX_UNTAKEN:
            self._no_managers.add(name)
        return False

    def _shared(self, first: Evidence, second: Evidence, manager: str, site: str) -> None:
        self.sink.shared(first, second, manager, site)

    def _new_class(self, cls: type) -> None:
        """An instance of a manager class came to light; the class itself may not have yet."""
        if cls not in self.installer:
            self._unknown(cls)

    def patch(self, module: ModuleType, path: str, hook: Hook) -> None:
        """Hook a framework's function."""
        self.installer.function(module, path, hook)

    def patch_arguments(self, module: ModuleType, name: str, rewrite: Rewrite) -> None:
        """Hook a framework's function that gets what we look for as an argument."""
        self.installer.arguments(module, name, rewrite)

    def _hook(self, cls: type, function: FunctionType, method: Method, static: bool) -> Hook:
        if method.kind == CREATE:
            return CreateHook(function, method, self.created)
        receiver = self.created.static(cls) if static else self.created.of
        if method.kind == FACTORY:
            return self._factory_hook(function)
        if method.kind in SENDS:
            named = self.declarations.arguments
            known = self.sink.people.here
            return SendHook(
                function, method, receiver, self.intents, self.reader, self.events, named, known
            )
        return CONNECTS[method.kind](function, method, receiver, self.sink, static=static)

    def _included(self, module: str) -> bool:
        return self.settings.takes(module, installed=True)

    def _created_record(self, record: Creation) -> None:
        # Instances made while modules are imported wait in the ring: no thread for them alone.
        if self.outputs is None:
            self.drain.hold(record)
        else:
            self.drain.append(record)

    def look_for_captured(self) -> None:
        """Tell of what was kept before it was hooked: calls that way are not seen."""
        replaced = self.installer.replaced()
        if len(replaced) == self._looked_for:
            return  # a test client serves again for every session; the walk is long
        self._looked_for = len(replaced)
        captured = discovery.captured(replaced)
        self.installer.states["too_late"] = len(captured)
        for text in captured:
            if text not in self.captured:
                self.captured.append(text)
                self.say(f"too late: {text}; what is called that way is not seen by its hook")

    def singletons(self, module: ModuleType) -> None:
        """Count module-level instances of manager classes that were made before the patch."""
        for value in list(vars(module).values()):
            # By its type alone: a lazy global's `__class__`, an ABC's hook are not ours to run.
            if any(base in self.installer for base in type(value).__mro__):
                self.created.of((value,))

    # -- serving --------------------------------------------------------------------------------

    def take(self, application: Application) -> Application:
        """A server takes the application: from here on messages are seen and records leave."""
        self.applications += 1
        try:
            self._before_serving()
        except Exception as fault:  # what can't leave is counted all the same
            self.failed("outputs", fault)
        self.declarations.resolve()
        return wrap(application, self.sink, self.serving, self.failed)

    def stopping(self) -> None:
        """The server begins to stop and may be ended before it is through."""
        if self.outputs is not None:
            self.drain.fold()
            self.outputs.checkpoint()

    def stopped_serving(self) -> None:
        """The server is through with its connections; the process may end without a word."""
        if self.outputs is not None:
            self.drain.fold()
            self.outputs.last_words()
            self.last_facts()

    def bind(self, connection: object, user: object, tenant: object) -> None:
        """ws_audit.bind(): the application knows whose connection it is."""
        try:
            holder = principal(tenant)
            named = describe(user)
            found = self.sink.handles.find(connection)
            if named and found is not None:
                if holder is not None:
                    named = [one._replace(tenant=holder.user) for one in named]
                self.sink.pin(found[0], *named)
        except Exception as fault:
            self.failed("bind", fault)

    def start_outputs(self, *, serving: bool = False) -> None:
        """Stage 2: build the ways out, once; in a forked child they begin again.

        The metrics endpoint opens where a server has taken the application, and in its
        children, not in an arbiter that has imported an application which sends at once.
        """
        with self._lock:
            if self.outputs is None:
                from .outputs.assembly import Outputs

                self.outputs = Outputs(self, serving=serving)
                self.sink.violations = self.outputs.violations
                ways = [*self.outputs.all(), self.unjudged, self.search, self, self.state]
                ways.append(self.inventory)
                self.drain.outputs(ways, self._begun, self.start_outputs)
                for line in self.outputs.notes:
                    self.say(line)
            else:
                self.outputs.renew()
                if serving:
                    self.outputs.serve()

    def fold(self, record: object) -> None:
        """Nothing from records."""

    def tick(self, now_ns: int) -> None:
        """About once a second: what has waited too long, the breaker, and the control file."""
        self.intents.expire(now_ns)
        self.declarations.tell_expired(now_ns)
        if self.breaker.tick():
            self.tally.add(("error", "breaker"))
        self._periodic(now_ns)
        if self._to_be_told and not self.names.complete:
            self.names.read(NAMES_NS)

    def _spare(self) -> bool:
        """A slice of what can wait: the self-test, the inventory, what users' instances share."""
        if not self.serving.on:
            return False
        if self.outputs is not None and self.selftest.step(self.outputs.synthetic):
            return True
        if self.inventory.step():
            return True
        if not self.search.wanted:  # it needs the names in code
            return False
        if self.names.complete:
            self.search.step()
        else:
            self.names.read(NAMES_NS)
        return True

    def _of_application(self, name: str) -> bool:
        """Whether a module of this name is the application's own."""
        known = self._application.get(name)
        if known is None:
            module = sys.modules.get(name)
            known = (
                type(module) is ModuleType
                and not is_standard(name, module)
                and self.settings.takes(name_of(module), is_installed(module))
            )
            if len(self._application) < MAX_UNTAKEN:
                self._application[name] = known
        return known

    def disarm(self) -> None:
        """The kill switch: every class and function is as it was; open sinks pass through."""
        self.serving.on = False
        self.installer.remove()
        self.selftest.forget()

    def rearm(self) -> None:
        """Patch again: a new switch, so that wrappers somebody kept stay plain calls."""
        self.serving.on = True
        self.hooked = {}
        self._looked_for = 0
        self.installer = Installer(self._hook, Switch(self._meter), self.failed)

    def cpu_seconds(self) -> dict[str, float]:
        """The agent's CPU time so far, by stage; that of the hooks is an estimate."""
        spent = {"drain": self.drain.cpu_ns, "hooks": self._meter.ns}
        if self.outputs is not None:
            spent.update(self.outputs.cpu_ns())
        return {stage: ns / 1e9 for stage, ns in spent.items()}

    def failed(self, stage: str, fault: BaseException) -> None:
        """An error of the agent itself: counted, told once per stage, never passed on."""
        try:
            self.tally.add(("error", stage))
            self.breaker.failed(fault)
            if stage not in self._told:
                self._told.add(stage)
                self.say(
                    f"internal error in {stage} ({told(fault)});"
                    " the application is unaffected, further ones are only counted"
                )
        except Exception:
            pass

    @property
    def factories(self) -> list[str]:
        """The hooked factories, by name."""
        return list(self._factories.known)

    def instances(self, number: int) -> list[object]:
        """Some of the living instances of manager classes."""
        return self._instances.some(number)

    @property
    def _to_be_told(self) -> bool:
        """Whether there are names of fields to tell, if they stand in code."""
        return self.clues.found or self.learner is not None

    def last_facts(self) -> None:
        """What doctor reads, once more: the process may end now."""
        try:
            if self._to_be_told:
                self.names.read()
            self.inventory.finish()
            self.state.write(time.time_ns(), ended=True)
        except Exception as fault:
            self.failed("drain", fault)

    def flush(self, seconds: float) -> bool:
        """Fold and send everything recorded so far; whether all of it has left the process."""
        deadline = time.monotonic() + seconds
        self.drain.fold()
        if self.outputs is None:
            return len(self.drain) == 0
        return self.outputs.flush(max(0.0, deadline - time.monotonic()))

    def _begun(self) -> None:
        """The worker starts: see to it that it is ended in order."""
        if not self._registered:
            self._registered = True
            atexit.register(self.stop)
        # A child of multiprocessing ends without `atexit`, by a list of its own.
        processes = sys.modules.get("multiprocessing.process")
        endings = sys.modules.get("multiprocessing.util")
        if processes is not None and endings is not None and processes.parent_process():
            # Below 0: after what the application has put there.
            endings.Finalize(None, self.stop, exitpriority=-100)

    def resume(self) -> None:
        """After stop(): records are taken and leave again."""
        self.drain.resume()
        if self.outputs is not None:
            self.outputs.resume()
            self.drain.start()

    def stop(self) -> None:
        """End the worker and write what is left (at exit, or disabled)."""
        if self.outputs is None and ending():
            return  # nothing was delivered: nothing worth being built, and waited for, now
        if self.outputs is not None and self.outputs.stale:
            if not self.tally.total():
                return  # a forked child that has seen nothing has nothing to say
            with self._lock:
                self.outputs.renew(serving=False)
        self.drain.stop()
        if self.outputs is not None:
            self.outputs.stop()
            self.last_facts()

    def close(self) -> None:
        """After stop(), if the process goes on: nothing of ours runs in it."""
        if self.outputs is not None:
            self.outputs.close()

    def forget(self) -> None:
        """In a forked child: nothing of the parent's is ours. No I/O here."""
        for part in (self.tally, self.drain, self.intents, self.sink, self._instances, self.search):
            part.forget()
        for reader in (self.clues, self.unjudged, self.inventory, self.state):
            reader.forget()
        if self.learner is not None:
            self.learner.forget()
        self.applications = 0
        self._meter.ns = 0
        self.breaker.forget()
        self.selftest.forget()
        if self.outputs is not None:
            self.outputs.forget()
