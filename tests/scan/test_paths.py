# SPDX-License-Identifier: Apache-2.0
"""By which paths a manager can be imported, through whatever lies between."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from .made import hub, paths, scan, told

if TYPE_CHECKING:
    from pathlib import Path

HOME = "app.hub.Hub"

# What other modules hold, and by which further paths the class can then be imported.
WAYS: dict[str, tuple[dict[str, str], set[str]]] = {
    "imported": ({"app/a.py": "from app.hub import Hub"}, {"app.a.Hub"}),
    "under another name": ({"app/a.py": "from .hub import Hub as H"}, {"app.a.H"}),
    "an alias": ({"app/a.py": "from .hub import Hub\nH = Hub"}, {"app.a.H", "app.a.Hub"}),
    "an alias of a module's": ({"app/a.py": "import app.hub\nH = app.hub.Hub"}, {"app.a.H"}),
    "a module, not the class": ({"app/a.py": "from app import hub\nimport app.hub as h"}, set()),
    "the package": ({"app/__init__.py": "from .hub import Hub"}, {"app.Hub"}),
    "two steps": (
        {"app/__init__.py": "from .hub import Hub", "app/a.py": "from app import Hub"},
        {"app.Hub", "app.a.Hub"},
    ),
    "a star": ({"app/a.py": "from .hub import *"}, {"app.a.Hub"}),
    "a star with __all__": (
        {
            "app/a.py": "from .hub import Hub\n__all__ = ['x']\nx = 1",
            "app/b.py": "from .a import *",
        },
        {"app.a.Hub"},
    ),
    "a star, and what is private": (
        {"app/a.py": "from .hub import Hub as _Hub", "app/b.py": "from .a import *"},
        {"app.a._Hub"},
    ),
    "two stars": (
        {"app/a.py": "from .hub import *", "app/b.py": "from .a import *"},
        {"app.a.Hub", "app.b.Hub"},
    ),
    "only for type checkers": (
        {"app/a.py": "import typing\nif typing.TYPE_CHECKING:\n    from .hub import Hub"},
        set(),
    ),
    "only for type checkers, over another": (
        {
            "app/a.py": "from typing import TYPE_CHECKING\nHub = None\nif TYPE_CHECKING:\n"
            "    from .hub import Hub"
        },
        set(),
    ),
    "only when it is run": (
        {"app/a.py": "if __name__ == '__main__':\n    from .hub import Hub"},
        set(),
    ),
    "not only for type checkers": (
        {
            "app/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    Hub = 1\n"
            "else:\n    from .hub import Hub"
        },
        {"app.a.Hub"},
    ),
    "in a function": ({"app/a.py": "def f():\n    from .hub import Hub\n    return Hub"}, set()),
    "what is there first": (
        {"app/a.py": "try:\n    from .hub import Hub\nexcept ImportError:\n    Hub = None"},
        {"app.a.Hub"},
    ),
    "what is there instead": (
        {
            "app/a.py": "try:\n    from redis_hub import Hub\nexcept ImportError:\n"
            "    from .hub import Hub"
        },
        {"app.a.Hub"},
    ),
    "overwritten": ({"app/a.py": "from .hub import Hub\nHub = None"}, set()),
    "either": (
        {"app/a.py": "import os\nif os.name:\n    from .hub import Hub\nelse:\n    Hub = None"},
        {"app.a.Hub"},
    ),
    "__getattr__ by name": (
        {
            "app/a.py": "def __getattr__(name):\n    if name == 'Old':\n"
            "        from .hub import Hub\n        return Hub\n    raise AttributeError(name)"
        },
        {"app.a.Old"},
    ),
    "__getattr__ by several names": (
        {
            "app/a.py": "import importlib\ndef __getattr__(name):\n    if name in ('Hub', 'X'):\n"
            "        return getattr(importlib.import_module('app.hub'), name)\n"
            "    raise AttributeError(name)"
        },
        {"app.a.Hub"},
    ),
    "__getattr__ from a table": (
        {
            "app/a.py": "import importlib\n_MOVED = {'Hub': '.hub', 'Old': ('app.hub', 'Hub')}\n"
            "def __getattr__(name):\n"
            "    return getattr(importlib.import_module(_MOVED[name]), name)"
        },
        {"app.a.Hub", "app.a.Old"},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_class_is_followed(way: str, tmp_path: Path) -> None:
    files, further = WAYS[way]
    found = scan(tmp_path, {"app/hub.py": hub(), **files})
    assert paths(found) == {HOME} | further
    assert found.summary["implementations"] == 1
    assert found.problems == []
    assert told(found, "second-implementation") == []


def test_one_name_that_leads_to_two_classes(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        {
            "app/hub.py": hub(),
            "app/old.py": hub("OldHub"),
            "app/__init__.py": "from .hub import Hub",
            "app/routes.py": "from app import Hub",
            "app/legacy/__init__.py": "from app.old import OldHub as Hub",
            "app/either.py": "try:\n    from .hub import Hub\nexcept ImportError:\n"
            "    from .old import OldHub as Hub\n",
        },
    )
    assert told(found, "different-class") == [("app/either.py", 2), ("app/legacy/__init__.py", 1)]
    assert [one.target.name for one in found.implementations if one.canonical] == ["Hub"]
    # What is there is imported: the other class is not reached by that name.
    of = {one.target.name: one.paths for one in found.implementations}
    assert "app.either.Hub" in of["Hub"]
    assert "app.either.Hub" not in of["OldHub"]


def test_a_consumer_of_a_second_class_is_no_finding_of_its_own(tmp_path: Path) -> None:
    files = {"app/hub.py": hub(), "app/old.py": hub(), "app/__init__.py": "from .hub import Hub"}
    files["app/use.py"] = "from app.old import Hub\n\ndef f(hub: Hub): ...\n"
    files["app/may.py"] = (
        "try:\n    from app.old import Hub\nexcept ImportError:\n    Hub = None\n\ndef f(): ...\n"
    )
    files |= {"app/d.py": "from .hub import Hub", "app/e.py": "from .hub import Hub"}
    found = scan(tmp_path, files)
    assert told(found, "different-class") == []
    assert told(found, "second-implementation") == [("app/old.py", 4)]
    assert "its code is that of app.hub:Hub" in found.findings[0].message


def test_further_paths_to_what_is_declared(tmp_path: Path) -> None:
    files = {
        "app/hub.py": hub(),
        "app/__init__.py": "from .hub import Hub",
        "app/use.py": "from .hub import Hub\n\ndef f(): return 1\n",
    }
    found = scan(tmp_path, files, "app.hub:Hub")
    assert told(found, "second-path") == [("app/__init__.py", 1)]
    assert told(scan(tmp_path, files), "second-path") == []


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"hub.py": hub()}, "hub.Hub"),
        ({"src/app/hub.py": hub(), "src/app/a.py": "import app.hub"}, "app.hub.Hub"),
        ({"backend/app/hub.py": hub(), "run.py": "from app import hub"}, "app.hub.Hub"),
        (
            {
                "backend/app/hub.py": hub(),
                "a.py": "from app import hub",
                "b.py": "import app.hub",
                "c.py": "import backend.app.hub",
            },
            "app.hub.Hub",
        ),
        (
            {
                "backend/app/hub.py": hub(),
                "a.py": "from backend.app import hub",
                "b.py": "import backend.app.hub",
                "c.py": "import app",
            },
            "backend.app.hub.Hub",
        ),
    ],
)
def test_what_a_module_is_called(files: dict[str, str], name: str, tmp_path: Path) -> None:
    assert paths(scan(tmp_path, files)) == {name}


def test_namespace_packages_and_a_directory_inside_a_package(tmp_path: Path) -> None:
    (tmp_path / "space/app").mkdir(parents=True)
    (tmp_path / "space/app/hub.py").write_text(hub())
    (tmp_path / "use.py").write_text("from space.app.hub import Hub as H")
    assert paths(scan(tmp_path, {})) == {"space.app.hub.Hub", "use.H"}
    inner = tmp_path / "outer/app"
    inner.mkdir(parents=True)
    for path in (inner, inner.parent):
        (path / "__init__.py").touch()
    (inner / "hub.py").write_text(hub())
    assert paths(scan(inner, {})) == {"outer.app.hub.Hub"}


def test_nothing_is_run_or_imported(tmp_path: Path) -> None:
    """Not by importing, not by making the class that is looked at."""
    mark = tmp_path / "ran"
    loud = f"open({str(mark)!r}, 'a').close()"
    source = (
        f"{loud}\n{hub()}\n"
        f"    def __init_subclass__(cls): {loud}\n"
        f"    def __set_name__(self, owner, name): {loud}\n"
        f"class Lower(Hub):\n    x = {loud}\n"
        "    async def send_to_user(self, user_id, message):\n"
        "        await self._sockets[user_id].send_json(message)\n"
    )
    before = set(sys.modules)
    found = scan(tmp_path / "code", {"app/hub.py": source, "app/__init__.py": loud})
    assert {one.target.name for one in found.implementations} == {"Hub", "Lower"}
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - before if name.startswith("app")}
