# SPDX-License-Identifier: Apache-2.0
"""Imports are what they were: each script says the same with and without the finder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.startup.applications import HUB
from tests.startup.interpreters import TELLING

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

LOADERS = """
from telling import told
import importlib.util, sys
import shop, shop.api, space.inner, hub

def loader(module):
    spec = module.__spec__
    return [
        type(spec.loader).__name__, type(module.__loader__).__name__,
        spec.loader is module.__loader__, spec.origin, spec.cached, spec.has_location,
    ]

told(
    **{module.__name__: loader(module) for module in (shop, shop.api, space.inner, hub)},
    during=shop.LOADER,
    space=type(sys.modules["space"].__loader__).__name__,
    again=type(importlib.util.find_spec("shop.api").loader).__name__,
    cached=type(sys.path_importer_cache[sys.path[0]]).__name__,
)
"""

RESOURCES = """
from telling import told
import importlib.resources, inspect, pkgutil, shop.api

told(
    resource=importlib.resources.files("shop").joinpath("prices.txt").read_text(),
    data=pkgutil.get_data("shop", "prices.txt").decode(),
    packages=sorted(module.name for module in pkgutil.walk_packages(shop.__path__, "shop.")),
    source=inspect.getsource(shop.api.price),
    file=shop.api.__loader__.get_filename(),
    code=shop.api.__spec__.loader.get_code("shop.api").co_name,
)
"""

RUN_MODULES = """
from telling import told
import runpy

told(
    module=runpy.run_module("shop.api", run_name="not main")["price"](2),
    main=runpy.run_module("shop")["NAME"],
    path=runpy.run_path("shop/api.py")["price"](3),
)
"""

UNTOUCHED_SPECS = """
from telling import told
import importlib.abc, importlib.machinery, importlib.util, zipimport

spec = importlib.util.find_spec("shop")
told(
    loader=isinstance(spec.loader, importlib.machinery.SourceFileLoader),
    resources=isinstance(spec.loader, importlib.abc.ResourceLoader),
    archive=isinstance(spec.loader, zipimport.zipimporter),
    path=spec.loader.get_filename("shop"),
    package=spec.loader.is_package("shop"),
    missing=importlib.util.find_spec("no_such_module"),
)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
told(name=module.NAME, attributes=sorted(vars(module)))
"""

AS_MAIN = """
from telling import told
import sys
from importlib.machinery import SourceFileLoader

told(
    main=[__name__, __package__, __spec__.name, isinstance(__loader__, SourceFileLoader)],
    loader=isinstance(__spec__.loader, SourceFileLoader),
    file=__file__,
    again=type(sys.modules["__main__"].__spec__).__name__,
)
"""

FROM_AN_ARCHIVE = """
import sys, zipfile
with zipfile.ZipFile("lib.zip", "w") as archive:
    archive.write("hub.py", "zipped/hub.py")
    archive.writestr("zipped/__init__.py", "")
    archive.writestr("zipped/notes.txt", "in the archive")
sys.path.insert(0, "lib.zip")
import importlib.resources, zipped.hub
from telling import told

told(
    loader=type(zipped.hub.__loader__).__name__,
    text=importlib.resources.files("zipped").joinpath("notes.txt").read_text(),
)
"""

LAZY = """
from telling import told
import importlib.util, sys

spec = importlib.util.find_spec("noisy")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = importlib.util.module_from_spec(spec)
sys.modules["noisy"] = module
spec.loader.exec_module(module)
import uses_noisy
told(before=[name for name in ("wave",) if name in sys.modules])
told(value=module.VALUE, after=[name for name in ("wave",) if name in sys.modules])
"""

FAILING = """
from telling import told
import sys, traceback

def attempt(name):
    try:
        __import__(name)
    except BaseException as error:
        cause = error.__cause__ or error.__context__
        return {
            "type": type(error).__name__,
            "args": [str(argument) for argument in error.args],
            "cause": type(cause).__name__,
            "notes": getattr(error, "__notes__", []),
            "traceback": [
                (frame.filename, frame.lineno, frame.name)
                for frame in traceback.extract_tb(error.__traceback__)
            ],
            "left": [module for module in sys.modules if module.startswith(name)],
        }

names = (
    "raises", "exits", "is_not_python", "misses", "no_such_module", "package_raises",
    "imports_raises",
)
told(**{name: attempt(name) for name in names})
told(**{name + " again": attempt(name) for name in names})
"""

FAILING_THEN_FIXED = """
from telling import told
import importlib, pathlib

try:
    import flaky
except ValueError:
    pass
pathlib.Path("flaky.py").write_text(pathlib.Path("hub.py").read_text())
importlib.invalidate_caches()
import flaky
told(works=flaky.ConnectionManager().send_to_user("alice", "hello"))
"""

WARNING = """
from telling import told
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import deprecated_module
told(at=[(warning.filename, warning.lineno) for warning in caught])
"""

STRANGE = """
from telling import told
import sys
import facade, nameless, becomes_a_class, swapped

told(
    facade=[type(facade).__name__, facade.anything],
    nameless=nameless.VALUE,
    becomes=becomes_a_class.value,
    swapped=swapped.VALUE,
)
"""

UNTOUCHED = """
from telling import told
import shy

told(touched=shy.touched, hub=shy.ConnectionManager().send_to_user("alice", 1))
"""

# Objects as Django, Werkzeug and ORMs make them: whoever asks them anything, sets them off.
SHY = """
touched = []

class Lazy:
    @property
    def __class__(self):
        touched.append("__class__")
        raise RuntimeError("settings are not configured")

    def __getattr__(self, name):
        touched.append(name)
        raise RuntimeError("settings are not configured")

    def __eq__(self, other):
        touched.append("==")
        raise RuntimeError("settings are not configured")

    __hash__ = None

settings = Lazy()

class Table:
    row = Lazy()

    def send(self, what: settings, where: Lazy = settings): ...

class ConnectionManager:
    row = Lazy()

    def __init__(self, given: settings = settings): ...

    def send_to_user(self, user_id: settings, message: "str" = settings):
        return message

lazy_manager = Lazy()
"""

THREADS = """
from telling import told
import importlib, sys, threading

sys.setswitchinterval(1e-5)
count = 24
start = threading.Barrier(count)
faults = []

def work(number):
    start.wait()
    try:
        for step in range(count):
            importlib.import_module(f"many.m{(number * 7 + step) % count}")
    except BaseException as fault:
        faults.append(repr(fault))

threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
import many.m0

told(
    alive=sum(thread.is_alive() for thread in threads),
    faults=faults,
    imported=sum(name.startswith("many.m") for name in sys.modules),
)
"""

COUNT_HOOKED = """
managers = [module.ConnectionManager for name, module in sys.modules.items() if "many.m" in name]
told(hooked=sum(hasattr(cls.__dict__["send_to_user"], "__wrapped__") for cls in managers))
"""

WATCHED = """
from telling import told
import importlib, sys

def hooked(cls):
    return hasattr(cls.__dict__["send_to_user"], "__wrapped__")

import hub
first = hub.ConnectionManager
importlib.reload(hub)
told(
    reloaded=[hooked(first), hooked(hub.ConnectionManager)],
    loader=type(hub.__loader__).__name__,
    finders=[type(finder).__module__ for finder in sys.meta_path].count("ws_audit.bootstrap"),
)
"""


@pytest.fixture
def shop(app: Environment) -> Environment:
    app.write(
        **{
            "hub": HUB,
            "shop.__init__": """
                NAME = "shop"
                LOADER = [type(__loader__).__name__, type(__spec__.loader).__name__]
            """,
            "shop.api": """
                def price(item):
                    return item * 2
            """,
            "shop.__main__": "NAME = __name__",
            "space.inner": "",
        }
    )
    (app.directory / "shop" / "prices.txt").write_text("1 2 3\n")
    return app


def same(app: Environment, script: str) -> dict[str, Any]:
    """What a script tells; checked to be the same without us, and nothing on stderr."""
    without, audited = app.run(script), app.audited(script)
    assert audited.told == without.told
    assert (audited.code, audited.err) == (without.code, without.err)
    return audited.told


def test_modules_have_their_real_loaders(shop: Environment) -> None:
    told = same(shop, LOADERS)
    assert told["during"] == ["SourceFileLoader", "SourceFileLoader"]
    assert told["hub"][:3] == ["SourceFileLoader", "SourceFileLoader", True]


@pytest.mark.parametrize(
    "script",
    [RESOURCES, RUN_MODULES, UNTOUCHED_SPECS, FROM_AN_ARCHIVE],
    ids=["resources", "runpy", "specs", "archive"],
)
def test_whoever_asks_a_loader_gets_its_answer(shop: Environment, script: str) -> None:
    same(shop, script)


def test_python_m_sees_its_real_loader(app: Environment) -> None:
    app.write(**{"telling": TELLING, "pkg.tool": AS_MAIN})
    without = app.call(app.python, "-m", "pkg.tool")
    audited = app.call(app.python, "-m", "pkg.tool", WS_AUDIT_ENABLED="1")
    assert audited.told == without.told
    assert audited.told["loader"] is True


def test_a_lazy_module_stays_lazy(app: Environment) -> None:
    app.write(
        noisy="import wave\nVALUE = 1",
        uses_noisy="import sys\nnoisy = sys.modules['noisy']\nclass Manager: ...",
    )
    assert same(app, LAZY) == {"before": [], "value": 1, "after": ["wave"]}


def test_an_exception_of_the_application_is_unchanged_to_its_traceback(app: Environment) -> None:
    app.write(
        raises="import hub\nclass ConnectionManager: ...\nraise ValueError('why', 3)",
        exits="raise SystemExit(3)",
        is_not_python="def (",
        misses="import not_there",
        imports_raises="def load():\n    import raises\nload()",
        hub=HUB,
        **{
            "package_raises.__init__": "from . import inner",
            "package_raises.inner": """
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    raise KeyError("x") from error
            """,
        },
    )
    told = same(app, FAILING)
    assert told["raises"]["left"] == []
    assert told["raises again"] == told["raises"]


def test_a_module_that_failed_can_be_imported_later(app: Environment) -> None:
    app.write(hub=HUB, flaky="raise ValueError")
    assert same(app, FAILING_THEN_FIXED) == {"works": "sent"}


def test_a_warning_at_import_names_the_importing_line(app: Environment) -> None:
    app.write(
        deprecated_module="""
            import warnings
            warnings.warn("deprecated_module is deprecated", DeprecationWarning, stacklevel=2)
        """
    )
    assert [filename for filename, _ in same(app, WARNING)["at"]] == [
        str(app.directory / "script.py")
    ]


def test_modules_that_are_not_what_they_seem(app: Environment) -> None:
    app.write(
        facade="""
            import sys

            class ConnectionManager:
                def send(self, message): ...

            class Facade:
                def __getattr__(self, name):
                    return name

            sys.modules[__name__] = Facade()
        """,
        nameless="VALUE = 1\ndel __name__",
        becomes_a_class="""
            import sys

            class ConnectionManager:
                value = 7
                def send(self, message): ...

            sys.modules[__name__] = ConnectionManager
        """,
        swapped="""
            import sys, types

            module = types.ModuleType("other_name")
            module.VALUE = 5
            sys.modules[__name__] = module
        """,
    )
    same(app, STRANGE)


def test_looking_at_a_module_runs_none_of_its_code(app: Environment) -> None:
    app.write(shy=SHY)
    assert same(app, UNTOUCHED) == {"touched": [], "hub": 1}


def test_imports_in_many_threads_neither_deadlock_nor_miss(app: Environment) -> None:
    count = 24
    for number in range(count):
        # Downwards only: two threads in a circle of imports deadlock in any interpreter.
        below = [f"import many.m{other}" for other in (number // 2, number // 3) if other < number]
        app.write(**{f"many.m{number}": "\n".join([*below, HUB])})
    assert same(app, THREADS) == {"alive": 0, "faults": [], "imported": count}
    assert app.audited(THREADS + COUNT_HOOKED).told["hooked"] == count


def test_a_reloaded_module_is_hooked_again(app: Environment) -> None:
    app.write(hub=HUB)
    told = app.audited(WATCHED).told
    assert told == {"reloaded": [True, True], "loader": "SourceFileLoader", "finders": 1}


FORKED = """
from telling import told
import os
import hub
from ws_audit import bootstrap

bootstrap._finder._asking.add((1, "shop.api"))  # a look-up of some other thread
child = os.fork()
if not child:
    os._exit(len(bootstrap._finder._asking))
told(child=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_look_ups_under_way_are_not_the_child_s(app: Environment) -> None:
    """A thread of the child may get the number of one of the parent's."""
    app.write(hub=HUB)
    assert app.audited(FORKED).told == {"child": 0}
