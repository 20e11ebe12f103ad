# SPDX-License-Identifier: Apache-2.0
"""The inventory's parts: duties, import paths by identity, files loaded twice, traffic, drift."""

from __future__ import annotations

import gc
import os
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent
from tests.unit.records import delivery
from ws_audit.inventory.implementations import Implementation, drift, duty, is_async, signatures
from ws_audit.inventory.living import Living
from ws_audit.inventory.merged import merged
from ws_audit.inventory.paths import Paths
from ws_audit.inventory.traffic import Traffic
from ws_audit.model import BIND, BROADCAST, SEND, STRONG, UNBIND, Evidence, Principal
from ws_audit.principals.identity import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANAGER = """
class ChatManager:
    def __init__(self):
        self.sockets = {}

    async def connect(self, user_id, websocket):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)
"""


@pytest.mark.parametrize(
    ("kinds", "what"),
    [
        ({SEND, BIND}, "manager"),
        ({SEND, UNBIND}, "manager"),
        ({BROADCAST}, "manager"),
        ({SEND}, "emitter"),
        ({BIND, UNBIND}, "registry"),
        (set(), ""),
    ],
)
def test_duties(kinds: set[str], what: str) -> None:
    assert duty(kinds) == what


def loaded(name: str, file: Path) -> ModuleType:
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """One file as two modules, an alias, a lazy module that must not be woken."""
    file = tmp_path / "rooms.py"
    file.write_text(MANAGER)

    class Waking(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"woken for {name}")

    class Lying:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise AssertionError("asked what it is")

    def made_on_demand(name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    before = set(sys.modules)
    first, second = loaded("ws_rooms", file), loaded("src.ws_rooms", file)
    alias = ModuleType("ws_alias")
    vars(alias).update(
        {"Manager": first.ChatManager, "_old": first.ChatManager, "__getattr__": made_on_demand}
    )
    sys.modules["ws_alias"] = alias
    sys.modules["ws_lazy"] = Waking("ws_lazy")
    sys.modules["ws_lying"] = Lying()  # type: ignore[assignment]
    try:
        yield {"first": first.ChatManager, "second": second.ChatManager, "file": str(file)}
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def test_import_paths_are_told_by_identity(modules: dict[str, Any]) -> None:
    first, second = modules["first"], modules["second"]
    paths = Paths()
    for _ in paths.walk({id(first): modules["file"], id(second): modules["file"]}):
        pass

    assert paths.by_class[id(first)] == [
        "ws_alias.Manager",
        "ws_alias._old",
        "ws_rooms.ChatManager",
    ]
    assert paths.by_class[id(second)] == ["src.ws_rooms.ChatManager"]
    assert paths.twice == {os.path.realpath(modules["file"]): ["src.ws_rooms", "ws_rooms"]}


def test_of_a_whole_agent(modules: dict[str, Any]) -> None:
    """Two classes of one file count as two; a class without anything of its own is none more."""
    agent = Agent()
    inherits = type("Below", (modules["first"],), {"__module__": "ws_rooms"})
    for cls in (modules["first"], modules["second"], inherits):
        agent.patch(cls)
    inventory = agent.runtime.inventory
    slowest = 0.0
    while True:
        begun = time.perf_counter()
        more = inventory.step()
        slowest = max(slowest, time.perf_counter() - begun)
        if not more:
            break
    assert slowest < 0.2  # a slice is 0.2 ms and one function more; the machine may be busy
    assert not inventory.step()  # nothing more to do for a while

    figures = inventory.figures()
    assert figures.duties == {"manager": 2, "emitter": 0, "factory": 0, "registry": 0}
    (one, other) = sorted(figures.infos)
    assert (one[0], other[0]) == ("src.ws_rooms:ChatManager", "ws_rooms:ChatManager")
    assert one[2] == other[2]  # the same code, hooked or not
    assert figures.paths == {"ws_rooms:ChatManager": 3, "src.ws_rooms:ChatManager": 1}
    document = inventory.document()
    assert [each["modules"] for each in document["loaded_twice"]] == [["src.ws_rooms", "ws_rooms"]]
    inventory.forget()
    assert inventory.document()["events"] == []


def test_classes_of_one_request_are_looked_at_only_a_few_times() -> None:
    agent = Agent()
    sys.modules["ws_request"] = ModuleType("ws_request")
    kept = []
    for _ in range(20):
        names: dict[str, Any] = {"__name__": "ws_request"}
        exec(MANAGER, names)
        cls = names["ChatManager"]
        cls.__qualname__ = "handler.<locals>.ChatManager"
        agent.patch(cls)
        kept.append(cls)
    inventory = agent.runtime.inventory
    inventory.finish()

    assert inventory.figures().duties["manager"] == 1
    assert len(inventory._known) <= 3
    del sys.modules["ws_request"], kept[:], names, cls
    gc.collect()  # no class is kept alive
    assert inventory.figures().duties["manager"] == 0


def test_who_delivers_what() -> None:
    traffic = Traffic()
    for number in range(100):
        function = "app:A.send:1" if number < 97 else "app:B.send:9"
        traffic.fold(delivery(number, event="done", function=function))

    assert traffic.delivered() == {"done": {"app:A.send:1": 97, "app:B.send:9": 3}}
    for number in range(5_000):
        traffic.fold(delivery(number, event=f"e{number}", function="app:A.send:1"))
    assert len(traffic.delivered()) < 1_100
    assert sum(sum(by.values()) for by in traffic.delivered().values()) == 5_100


def test_drift() -> None:
    class One:
        def send(self, user: str, message: str) -> None: ...
        def close(self) -> None: ...
        @staticmethod
        def parse(text: str) -> None: ...
        def _own(self, a: int) -> None: ...

    class Other:
        def send(self, message: str, user: str) -> None: ...
        async def close(self) -> None: ...
        @staticmethod
        def parse(text: str) -> None: ...
        def _own(self) -> None: ...

    here, there = (
        Implementation(cls.__name__, "", "", "manager", "", signatures(cls)) for cls in (One, Other)
    )
    assert drift(here, there) == [
        "send(user, message) is send(message, user)",
        "close is sync, async there",
    ]
    assert drift(here, here) == []


def test_instances_of_users_who_have_left() -> None:
    agent = Agent()
    people = agent.runtime.sink.people
    instances = agent.runtime._instances
    kept = [Emitter() for _ in range(3)]
    for number, emitter in enumerate(kept):
        who = Principal(None, ("ada", "bob", "eve")[number], "id", "opaque")
        held = Evidence("connection", who, "accept", "scope.user", STRONG)
        instances.add(emitter, "app:Emitter", held)
        if who.user != "eve":  # of her nobody knows
            cell = Cell(number + 1, "asgi")
            cell.held = held
            people.met(cell, 1)
            if who.user == "ada":
                people.left(cell, 2)
    plain = Emitter()
    instances.add(plain, "app:Emitter", None)
    living = Living(instances, people)
    for _ in living.count():
        pass

    assert living.kinds == {"app:Emitter": {"id": 3, "none": 1}}
    assert living.outlived == {"app:Emitter": 1}


class Emitter:
    """Takes weak references."""


def test_factories_that_are_awaited() -> None:
    module = ModuleType("ws_made")
    text = "def a(): ...\nasync def b(): ...\nclass C:\n @staticmethod\n async def d(): ..."
    exec(text, vars(module))
    vars(module)["__getattr__"] = [].pop  # of nothing: asked for a name, it raises
    sys.modules["ws_made"] = module
    try:
        names = ("a", "b", "C.d", "C.e", "lazy")
        assert [is_async(f"ws_made:{name}") for name in names] == [False, True, True, None, None]
    finally:
        del sys.modules["ws_made"]
    factories = [
        {"factory": f"{module}:get", "async": module == "new", "products": []}
        for module in ("old", "new")
    ]
    found = merged([{"inventory": {"factories": factories}}])
    assert found["twins"] == [{"name": "get", "sync": ["old:get"], "async": ["new:get"]}]
