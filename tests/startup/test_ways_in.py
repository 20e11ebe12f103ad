# SPDX-License-Identifier: Apache-2.0
"""Whichever way a manager's module comes into the process, its class is hooked."""

from __future__ import annotations

import compileall
from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import CHAT, HUB

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

HOOKED = """
import importlib, importlib.util, sys

def hooked(cls):
    return hasattr(cls.__dict__["send_to_user"], "__wrapped__")

def made(manager):
    import ws_audit.agent
    agent = ws_audit.agent.agent()
    if agent.runtime is None:
        return 0
    agent.runtime.drain.fold()
    return agent.runtime.tally.total().get(("created", manager), 0)

def take():
    # What a server does: the application is scanned then.
    from starlette.testclient import WebSocketTestSession
    try:
        WebSocketTestSession(None, {}, None)
    except Exception:
        pass
"""

# Each leaves `hub`, a module with a manager class, however it was come by.
WAYS = {
    "statement": "import hub",
    "in a package": "import pkg.hub as hub",
    "relative": "from pkg.relative import hub",
    "import_module": "hub = importlib.import_module('pkg.hub')",
    "namespace package": "import space.hub as hub",
    "__import__": "hub = __import__('hub')",
    "spec in sys.modules": """
spec = importlib.util.find_spec("hub")
hub = importlib.util.module_from_spec(spec)
sys.modules["hub"] = hub
spec.loader.exec_module(hub)
""",
    "bytecode only": "import bare as hub",
    "archive": "sys.path.insert(0, 'lib.zip')\nimport zipped.hub as hub",
    "pkgutil": """
import pkgutil
for found in pkgutil.walk_packages(["."]):
    if found.name == "hub":
        hub = importlib.import_module(found.name)
""",
    "lazy": """
spec = importlib.util.find_spec("hub")
spec.loader = importlib.util.LazyLoader(spec.loader)
hub = importlib.util.module_from_spec(spec)
sys.modules["hub"] = hub
spec.loader.exec_module(hub)
hub.ConnectionManager
""",
    "lazy by the factory": """
spec = importlib.util.find_spec("hub")
factory = importlib.util.LazyLoader.factory(type(spec.loader))
spec = importlib.util.spec_from_file_location("hub", spec.origin)
spec.loader = importlib.util.LazyLoader(importlib.util.find_spec("hub").loader)
hub = importlib.util.module_from_spec(spec)
sys.modules["hub"] = hub
spec.loader.exec_module(hub)
hub.ConnectionManager
""",
    "its own path hook": """
from importlib.machinery import (
    EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader,
)

class Rewriting(SourceFileLoader):
    def get_data(self, path):
        return super().get_data(path).replace(b"'never'", b"'rewritten'")

finds = FileFinder.path_hook((Rewriting, [".py"]), (ExtensionFileLoader, EXTENSION_SUFFIXES))
sys.path_hooks.insert(0, finds)
sys.path_importer_cache.clear()
import hub
assert type(hub.__loader__) is Rewriting, hub.__loader__
""",
    "PYTHONPATH twice": "sys.path.append(sys.path[0] + '/.')\nimport hub",
    "named like the standard library": "import json\nimport warm\nimport profile.hub as hub",
    "over the standard library": "import warm\nimport wave as hub",
    "named test, like Python's own suite": "import test.hub as hub",
}

# These bypass sys.meta_path, or come before the agent: seen when a server takes the application.
WAYS_PAST = {
    "spec from a file": """
spec = importlib.util.spec_from_file_location("plugin", "hub.py")
hub = importlib.util.module_from_spec(spec)
sys.modules["plugin"] = hub
spec.loader.exec_module(hub)
""",
    "SourceFileLoader.load_module": """
import warnings
from importlib.machinery import SourceFileLoader
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    hub = SourceFileLoader("plugin", "hub.py").load_module()
""",
    "made by hand": """
import types
hub = sys.modules["made"] = types.ModuleType("made")
exec(open("hub.py").read(), vars(hub))
""",
    "named like the standard library, first of all": "import profile.hub as hub\n",
    "asked of the path finder": """
from importlib.machinery import PathFinder
spec = PathFinder.find_spec("hub")
hub = sys.modules["hub"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub)
""",
}

SAY = """
from telling import told
instance = hub.ConnectionManager()
told(
    hooked=hooked(hub.ConnectionManager), works=instance.send_to_user("alice", 1),
    module=hub.__name__, name=hub.ConnectionManager.__module__,
)
"""

RELOADED = """
from telling import told
import hub

first, old = hub.ConnectionManager, hub.manager
importlib.reload(hub)
second, new = hub.ConnectionManager, hub.manager
told(
    other=first is not second,
    hooked=[hooked(first), hooked(second)],
    works=[old.send_to_user("a", 1), new.send_to_user("b", 2)],
    depth=hasattr(second.__dict__["send_to_user"].__wrapped__, "__wrapped__"),
)
told(reloaded=made("hub:ConnectionManager"))
for _ in range(3):
    importlib.reload(hub)
    take()
import ws_audit.agent
told(all=made("hub:ConnectionManager"), works_still=old.send_to_user("c", 3))
import ws_audit
ws_audit.disable()
told(after=[hooked(first), hooked(second), hooked(hub.ConnectionManager)])
"""

# Two manager modules that import each other, from either end, and in many threads at once.
CIRCLE = """
from telling import told
import threading
sys.setswitchinterval(1e-5)
names = [f"ring.r{number}" for number in range(8)]
start, faults = threading.Barrier(16), []

def work(number):
    start.wait()
    try:
        importlib.import_module(names[number % len(names)])
        take()
    except BaseException as fault:
        # Python itself gives up so when threads import a circle from several ends.
        if type(fault).__name__ != "_DeadlockError":
            faults.append(repr(fault))

threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
for name in names:  # what Python gave up
    importlib.import_module(name)
take()
told(
    alive=sum(thread.is_alive() for thread in threads),
    faults=faults,
    hooked=sum(hooked(sys.modules[name].ConnectionManager) for name in names),
)
"""

IN_A_HANDLER = """
import asyncio
from telling import told
from loopback import serving, message
import chat

async def endpoint(websocket):
    before = "late" in sys.modules
    import late  # as functions do to break a circle, or to start up faster

    await websocket.accept()
    manager = late.ConnectionManager()
    answer = manager.send_to_user("alice", {"type": "message"})
    await websocket.send_json([before, hooked(late.ConnectionManager), answer])
    await websocket.close()

from starlette.routing import WebSocketRoute
chat.app.router.routes.append(WebSocketRoute("/late", endpoint))

async def main():
    async with serving(chat.app) as url:
        await message(url + "/ws/alice")
        told(answer=await message(url + "/late"), made=made("late:ConnectionManager"))

asyncio.run(main())
"""

# What it does inside `find_spec` is what deadlocks: nothing may be imported there.
NO_IMPORT_INSIDE = """
import builtins, importlib.abc, _thread
inside, seen = [], []
real = builtins.__import__

def watching(name, *words, **more):
    if inside:
        seen.append(name)
    return real(name, *words, **more)

def audit(event, arguments):
    if event == "import" and inside and arguments[0] != inside[-1]:
        seen.append(arguments[0])

import ws_audit.bootstrap as bootstrap
finder, find = bootstrap._finder, bootstrap.Finder.find_spec

def find_spec(self, name, *words):
    inside.append(name)
    try:
        return find(self, name, *words)
    finally:
        inside.pop()

bootstrap.Finder.find_spec = find_spec
builtins.__import__ = watching
sys.addaudithook(audit)
import pkg.hub, space.hub, profile.hub, colorsys, not_a_manager
try:
    import no_such_module
except ImportError:
    pass
from telling import told
told(seen=seen, hooked=hooked(pkg.hub.ConnectionManager))
"""

EXTENSIONS = """
from telling import told
import importlib, importlib.util
import pydantic_core._pydantic_core as one, greenlet._greenlet as two
from websockets import speedups
told(
    loader=[type(module.__loader__).__name__ for module in (one, two, speedups)],
    spec=[type(module.__spec__.loader).__name__ for module in (one, two, speedups)],
    works=speedups.apply_mask(b"1234", b"1234") == bytes(4),
)
again = importlib.reload(speedups)
told(again=again is speedups)
"""

SPECS = """
from telling import told
import copy, importlib.util, pickle
from importlib.machinery import SourceFileLoader

one, other = importlib.util.find_spec("hub"), importlib.util.find_spec("hub")
direct = SourceFileLoader("hub", one.origin)
told(
    equal=[one == other, direct == other.loader, other.loader == direct],
    hash=hash(direct) == hash(other.loader),
    copied=[type(copy.copy(one.loader)).__name__, type(copy.deepcopy(other).loader).__name__],
    pickled=pickle.loads(pickle.dumps(other.loader)) == direct,
    printed=repr(other.loader).partition(" at ")[0],
    variables=sorted(vars(one.loader)),
    type=other.loader.__class__.__name__,
)
one.loader.note = "kept"
told(note=vars(one.loader)["note"])
"""


@pytest.fixture
def ways(app: Environment) -> Environment:
    """An application directory with the same manager module under many roofs."""
    app.write(
        **{
            "hub": HUB,
            "pkg.__init__": "",
            "pkg.hub": HUB,
            "pkg.relative": "from . import hub",
            "space.hub": HUB,
            "profile.__init__": "",
            "profile.hub": HUB,
            "test.__init__": "",
            "test.hub": HUB,
            "wave": HUB,
            "bare": HUB,
            "warm": "first = 1",
        }
    )
    compileall.compile_dir(app.directory, quiet=1, legacy=True, maxlevels=0)
    for path in app.directory.glob("*.pyc"):
        if path.stem != "bare":
            path.unlink()
    (app.directory / "bare.py").unlink()
    import zipfile

    with zipfile.ZipFile(app.directory / "lib.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/hub.py", HUB)
    return app


@pytest.mark.parametrize("way", WAYS)
def test_it_is_hooked_as_it_is_imported(ways: Environment, way: str) -> None:
    script = HOOKED + WAYS[way] + SAY
    without, audited = ways.run(script), ways.audited(script)
    assert (audited.code, audited.err) == (0, "")
    assert audited.told == {**without.told, "hooked": True}
    assert without.told["hooked"] is False


@pytest.mark.parametrize("way", WAYS_PAST)
def test_it_is_hooked_when_a_server_takes_the_application(ways: Environment, way: str) -> None:
    ended = ways.audited(HOOKED + WAYS_PAST[way] + "take()\n" + SAY)
    assert ended.told["hooked"] is True


def test_a_reload_hooks_the_new_class_and_leaves_the_old_one(app: Environment) -> None:
    app.write(hub=HUB + "\nmanager = ConnectionManager()\n")
    told = app.audited(HOOKED + RELOADED).told
    assert told["other"]
    assert told["hooked"] == [True, True]
    assert told["works"] == ["sent", "sent"]
    assert told["works_still"] == "sent"
    assert told["depth"] is False
    assert told["reloaded"] == 2  # the old singleton, the new one
    assert told["all"] == 5
    assert told["after"] == [False, False, False]


def test_modules_in_a_circle_are_hooked_in_whatever_thread_they_begin(app: Environment) -> None:
    app.write(
        **{
            f"ring.r{number}": f"import ring.r{(number + 1) % 8}\n{HUB}\nimport ring.r0"
            for number in range(8)
        }
    )
    assert app.audited(HOOKED + CIRCLE).told == {"alive": 0, "faults": [], "hooked": 8}


def test_a_module_that_a_handler_imports_is_hooked_at_once(app: Environment) -> None:
    app.write(chat=CHAT, late=HUB)
    told = app.audited(HOOKED + IN_A_HANDLER).told
    assert told == {"answer": [False, True, "sent"], "made": 1}


def test_nothing_is_imported_while_a_module_is_looked_for(ways: Environment) -> None:
    ways.write(not_a_manager="x = 1")
    assert ways.audited(HOOKED + NO_IMPORT_INSIDE).told == {"seen": [], "hooked": True}


def test_compiled_modules_are_as_they_were(app: Environment) -> None:
    without, audited = app.run(EXTENSIONS), app.audited(EXTENSIONS)
    assert audited.told == without.told
    assert audited.told["loader"] == ["ExtensionFileLoader"] * 3
    assert audited.err == without.err


def test_a_spec_that_is_only_looked_at_is_the_spec_it_was(app: Environment) -> None:
    app.write(hub=HUB)
    without, audited = app.run(SPECS), app.audited(SPECS)
    assert audited.told == without.told
    assert audited.told["equal"] == [True, True, True]
