# SPDX-License-Identifier: Apache-2.0
"""Other import hooks beside ours: whoever is first, wraps, swallows or throws us out.

An agent that is armed, silent and blind is the failure to design against: at start-up a
bundled module proves that imports are seen, and if they are not, one line says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import HUB

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

COMMON = """
import importlib, importlib.abc, importlib.util, sys
from importlib.machinery import PathFinder
import starlette.testclient

def hooked(module):
    return hasattr(module.ConnectionManager.__dict__["send_to_user"], "__wrapped__")

def finders():
    return [type(finder).__module__ for finder in sys.meta_path].count("ws_audit.bootstrap")

def first():
    return type(sys.meta_path[0]).__module__ == "ws_audit.bootstrap"

def take():
    # What a server does; the application is nobody's.
    from starlette.testclient import WebSocketTestSession
    try:
        WebSocketTestSession(None, {}, None)
    except Exception:
        pass

def works():
    import ws_audit.agent
    return ws_audit.agent.agent().proof.works
"""

# As beartype, typeguard and pytest do it: some modules are theirs, and nobody else is asked.
SWALLOWING = """
class Swallowing(importlib.abc.MetaPathFinder):
    mine = None

    def find_spec(self, name, path=None, target=None):
        if self.mine is None or name in self.mine:
            return PathFinder.find_spec(name, path, target)

"""

# As wrapt, ddtrace and New Relic do it: the others are asked, and their loader is wrapped.
WRAPPING = """
class ChainedLoader:
    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        executed.append(module.__name__)

class Wrapping(importlib.abc.MetaPathFinder):
    def __init__(self):
        self.asking = set()

    def find_spec(self, name, path=None, target=None):
        if name in self.asking:
            return None
        self.asking.add(name)
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.loader is not None:
                spec.loader = ChainedLoader(spec.loader)
            return spec
        finally:
            self.asking.discard(name)

executed = []
"""

OTHERS = {
    "first of all": WRAPPING + "sys.meta_path.insert(0, Wrapping())",
    "behind ours": WRAPPING + "sys.meta_path.insert(1, Wrapping())",
    "one on each side": WRAPPING
    + "sys.meta_path.insert(0, Wrapping())\nsys.meta_path.insert(2, Wrapping())",
    "one that swallows, behind ours": SWALLOWING + "sys.meta_path.insert(1, Swallowing())",
    "wrapt's own": """
import wrapt
told_of = []
wrapt.register_post_import_hook(lambda module: told_of.append(module.__name__), "hub")
wrapt.register_post_import_hook(lambda module: told_of.append(module.__name__), "pkg.hub")
""",
    "its list copied": "import copy\nsys.meta_path = copy.deepcopy(sys.meta_path)",
    "its list replaced by an equal one": "sys.meta_path = list(sys.meta_path)",
    "one that hands out one spec for ever": """
class Caching(importlib.abc.MetaPathFinder):
    specs = {}

    def find_spec(self, name, path=None, target=None):
        if name not in self.specs:
            self.specs[name] = PathFinder.find_spec(name, path, target)
        return self.specs[name]

sys.meta_path.insert(1, Caching())
for _ in range(3000):
    importlib.util.find_spec("hub")
    importlib.util.find_spec("pkg.hub")
""",
    "one that answers to any comparison": """
class Odd:
    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = None

    def find_spec(self, name, path=None, target=None):
        return None

sys.meta_path.insert(0, Odd())
sys.meta_path.append(Odd())
""",
    "one of the old kind": """
asked = []

class Old:
    def find_module(self, name, path=None):
        asked.append(name)

import warnings
warnings.simplefilter("ignore")
sys.meta_path.insert(0, Old())
sys.meta_path.insert(2, Old())
""",
}

IMPORT = """
from telling import told
import hub, pkg.hub

loaders = [type(module.__loader__).__name__ for module in (hub, pkg.hub)]
told(loaders=loaders, specs=hub.__spec__.loader is hub.__loader__)
told(hooked=[hooked(hub), hooked(pkg.hub)])
for name in ("executed", "told_of"):
    if name in globals():
        told(theirs=[name for name in globals()[name] if name in ("hub", "pkg.hub")])
take()
"""

STATE = """
import later, ws_audit
told(later=hooked(later), finders=finders(), first=first(), works=works())
ws_audit.enable()
ws_audit.enable()
told(still=finders())
ws_audit.disable()
told(disabled=finders())
"""

# What is done to sys.meta_path, whether classes imported before the server are hooked at once,
# and what is said when it takes the application ("" nothing).
AGAINST = {
    "thrown out": (
        "sys.meta_path[:] = [one for one in sys.meta_path if 'ws_audit' not in repr(one)]",
        False,
        "imports were not seen for a while (taken off sys.meta_path) and are again",
    ),
    "cleared": (
        "sys.meta_path = sys.meta_path[-3:]",
        False,
        "imports were not seen for a while (taken off sys.meta_path) and are again",
    ),
    "everything swallowed": (
        SWALLOWING + "sys.meta_path.insert(0, Swallowing())",
        False,
        "imports were not seen for a while (__main__.Swallowing stood in the way) and are again",
    ),
    "the application's modules swallowed": (
        SWALLOWING + "Swallowing.mine = ('hub', 'later')\nsys.meta_path.insert(0, Swallowing())",
        False,
        "",
    ),
    "everything swallowed, and nobody gets past": (
        SWALLOWING
        + """
class Pinned(list):
    def insert(self, index, finder):
        super().insert(max(index, 1), finder)

sys.meta_path = Pinned([Swallowing(), *sys.meta_path])
""",
        False,
        "imports are not seen: __main__.Swallowing stands in the way",
    ),
}

# A suite's own modules are pytest's to import; what they import is ours to see.
SUITE = (
    COMMON
    + """
import suite_hub

def test_it():
    assert not first()
    take()
    assert first() and finders() == 1 and works() is True
    import later, test_later
    assert hooked(suite_hub) and hooked(later) and hooked(test_later)
    assert test_later.rewritten
"""
)
LATER_SUITE = (
    HUB
    + """
import sys
rewritten = "@pytest_ar" in globals()
"""
)

BLIND_AND_SAID_ONCE = """
from telling import told
for _ in range(3):
    take()
told(works=works())
"""

UNTRIED = """
from telling import told
import hub
told(untried=works())
take()
told(tried=works())
"""


# Somebody's import hook or plugin needs a module that another thread is importing, and that one
# waits for the agent.
ENTANGLED = """
import threading
from telling import told

class Needing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == NEEDED:
            needed.set()
            import slow

sys.meta_path.insert(1, Needing())
needed, executing = threading.Event(), threading.Event()
sys.modules["events"] = sys.modules[__name__]
importing = threading.Thread(target=lambda: importlib.import_module("slow"), daemon=True)
serving = threading.Thread(target=take, daemon=True)
importing.start()
executing.wait(10)
serving.start()
for thread in (importing, serving):
    thread.join(20)
told(alive=[importing.is_alive(), serving.is_alive()], needed=needed.is_set())
told(hooked=hooked(sys.modules["slow"]), works=works())
"""
SLOW = (
    HUB
    + """
import events
events.executing.set()
events.needed.wait(10)
"""
)


@pytest.fixture
def hub(app: Environment) -> Environment:
    app.write(**{"hub": HUB, "pkg.__init__": "", "pkg.hub": HUB, "later": HUB})
    return app


@pytest.mark.parametrize("other", OTHERS)
def test_with_another_hook_both_see_every_module(hub: Environment, other: str) -> None:
    script = COMMON + OTHERS[other] + IMPORT
    without, audited = hub.run(script), hub.audited(script + STATE)
    assert "not seen" not in audited.err
    told = audited.told
    assert {**told, "hooked": [False, False]} == {
        **told,
        **without.told,
    }  # what the other hook and the modules say is the same
    assert told["hooked"] == [True, True]
    assert told["later"] is True
    assert told["works"] is True
    assert told["first"] is True
    assert (told["finders"], told["still"], told["disabled"]) == (1, 1, 0)


@pytest.mark.parametrize("way", AGAINST)
def test_who_is_in_the_way_is_named_and_what_was_missed_is_found(
    hub: Environment, way: str
) -> None:
    against, at_once, line = AGAINST[way]
    ended = hub.audited(
        COMMON
        + against
        + "\nfrom telling import told\nimport hub\ntold(at_once=hooked(hub))\ntake()\n"
        + "told(served=hooked(hub))\n"
        + STATE
    )
    told = ended.told
    assert told["at_once"] is at_once
    assert told["served"] is True  # the scan found it
    assert [text for text in ended.err.splitlines() if "not seen" in text] == (
        [text for text in ended.err.splitlines() if text.startswith("ws-audit: " + line)]
        if line
        else []
    )
    assert ended.err.count("not seen") == bool(line)
    blind = "nobody" in way
    assert told["works"] is not blind
    assert told["later"] is not blind
    assert (told["finders"], told["still"], told["disabled"]) == (1, 1, 0)


def test_what_stays_in_the_way_is_said_once(hub: Environment) -> None:
    against, _, line = AGAINST["everything swallowed, and nobody gets past"]
    ended = hub.audited(COMMON + against + BLIND_AND_SAID_ONCE)
    assert ended.told == {"works": False}
    assert ended.err.count(line) == 1
    assert "are not hooked, those imported before are." in ended.err


def test_it_is_tried_when_a_server_takes_the_application(hub: Environment) -> None:
    ended = hub.audited(COMMON + UNTRIED)
    assert ended.told == {"untried": None, "tried": True}
    assert "not seen" not in ended.err


def test_a_failing_hook_of_somebody_else_is_blindness_too(hub: Environment) -> None:
    failing = """
import builtins
real = builtins.__import__

def refusing(name, *words, **more):
    if name == "ws_audit.process.witness":
        raise ImportError("not in my process")
    return real(name, *words, **more)

builtins.__import__ = refusing
take()
from telling import told
told(works=works())
"""
    ended = hub.audited(COMMON + failing)
    assert ended.told == {"works": False}
    assert "imports are not seen" in ended.err


def test_under_pytest_both_hooks_do_their_work(hub: Environment) -> None:
    hub.write(suite_hub=HUB, test_suite=SUITE, test_later=LATER_SUITE)
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py")
    ended = hub.call(hub.python, *words, WS_AUDIT_ENABLED="1", PYTHONPATH=".")
    assert ended.code == 0, ended.out + ended.err
    assert "not seen" not in ended.err


@pytest.mark.parametrize("needed", ["ws_audit.process.witness", "opentelemetry.sdk"])
def test_serving_does_not_deadlock_with_an_import_under_way(hub: Environment, needed: str) -> None:
    hub.write(slow=SLOW)
    ended = hub.audited(f"NEEDED = {needed!r}\n" + COMMON + ENTANGLED)
    assert ended.told == {
        "alive": [False, False],
        "needed": True,
        "hooked": True,
        "works": True,
    }
