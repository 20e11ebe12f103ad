# SPDX-License-Identifier: Apache-2.0
"""A patched class is, to everything that may look at it, the class that was written."""

from __future__ import annotations

import abc
import asyncio
import copy
import gc
import inspect
import pickle
import sys
import typing
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.faults.harness import Agent, Socket, agent

if TYPE_CHECKING:
    from collections.abc import Iterator


class Hub:
    """Keeps sockets by user."""

    kind: ClassVar[str] = "hub"

    def __init__(self, name: str = "main", *, size: int = 3) -> None:
        """Make one."""
        self.name, self.size = name, size

    async def send_to_user(
        self, user_id: int, message: dict[str, int], *, loud: bool = False
    ) -> str:
        """Send a message."""
        return f"{self.name}:{user_id}:{message}:{loud}"

    def notify(self, user_id: str, message: str = "hello") -> tuple[str, str]:
        return user_id, message

    @classmethod
    def broadcast(cls, message: str) -> tuple[type, str]:
        return cls, message

    @staticmethod
    def emit(user_id: str, message: str) -> tuple[str, str]:
        return user_id, message

    async def broadcast_all(self, message: str) -> typing.AsyncIterator[str]:
        yield message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hub) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class BareHub:
    """Has no `__init__` of its own."""

    async def send_to_user(self, user_id: str, message: str) -> None: ...


class SlottedHub:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    async def send_to_user(self, user_id: str, message: str) -> str:
        return self.name


class UnhashableHub:
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, user_id: str = "a") -> None:
        self.user_id = user_id

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    async def send_to_user(self, user_id: str, message: str) -> str:
        return message


class AbstractHub(abc.ABC):
    @abc.abstractmethod
    async def send_to_user(self, user_id: str, message: str) -> None: ...


class NewHub:
    """A singleton whose `__init__` runs at every call, as they are written."""

    _only: ClassVar[NewHub | None] = None
    made: ClassVar[int] = 0

    def __new__(cls) -> NewHub:  # noqa: PYI034
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __init__(self) -> None:
        type(self).made += 1

    async def send_to_user(self, user_id: str, message: str) -> None: ...


class LookingHub:
    """Behaves differently when it believes itself under test, as some do."""

    def __init__(self) -> None:
        self.names = [
            (frame.f_code.co_name, frame.f_code.co_filename, frame.f_globals.get("__name__", ""))
            for frame in _frames(sys._getframe())
        ]

    async def send_to_user(self, user_id: str, message: str) -> list[tuple[str, str, str]]:
        return [
            (frame.f_code.co_name, frame.f_code.co_filename, frame.f_globals.get("__name__", ""))
            for frame in _frames(sys._getframe())
        ]


def _frames(frame: Any) -> Iterator[Any]:
    while frame is not None:
        yield frame
        frame = frame.f_back


CLASSES = (Hub, BareHub, SlottedHub, UnhashableHub, AbstractHub, NewHub, LookingHub)
ORIGINAL: dict[tuple[type, str], Any] = {
    (cls, name): value
    for cls in CLASSES
    for name, value in list(cls.__dict__.items())
    if name not in ("made", "_only", "_abc_impl")
}


@pytest.fixture
def audited() -> Iterator[Agent]:
    NewHub._only, NewHub.made = None, 0
    with agent() as made:
        made.patch(*CLASSES)
        yield made


def unwrapped(value: Any) -> Any:
    return value.__func__ if isinstance(value, (classmethod, staticmethod)) else value


WRAPPED = [
    (Hub, "send_to_user"),
    (Hub, "notify"),
    (Hub, "broadcast"),
    (Hub, "__init__"),
    (BareHub, "send_to_user"),
    (SlottedHub, "send_to_user"),
]
each_wrapped = pytest.mark.parametrize(
    ("cls", "name"), WRAPPED, ids=[f"{cls.__name__}.{name}" for cls, name in WRAPPED]
)


# --- what a look at the class shows -----------------------------------------------------------


@each_wrapped
def test_the_method_is_replaced_by_the_same_kind_of_thing(
    audited: Agent, cls: type, name: str
) -> None:
    before, now = ORIGINAL[cls, name], cls.__dict__[name]
    assert now is not before  # else nothing below means anything
    assert type(now) is type(before)
    assert type(unwrapped(now)) is type(unwrapped(before))


@each_wrapped
@pytest.mark.parametrize(
    "attribute", ["__name__", "__qualname__", "__doc__", "__module__", "__annotations__"]
)
def test_names_and_notes_are_the_same(audited: Agent, cls: type, name: str, attribute: str) -> None:
    before, now = unwrapped(ORIGINAL[cls, name]), unwrapped(cls.__dict__[name])
    assert getattr(now, attribute) == getattr(before, attribute)


@each_wrapped
def test_inspect_sees_the_same(audited: Agent, cls: type, name: str) -> None:
    before, now = unwrapped(ORIGINAL[cls, name]), unwrapped(cls.__dict__[name])
    assert inspect.signature(now) == inspect.signature(before)
    assert inspect.iscoroutinefunction(now) == inspect.iscoroutinefunction(before)
    assert inspect.isfunction(now)
    assert typing.get_type_hints(now) == typing.get_type_hints(before)
    assert inspect.getsource(now) == inspect.getsource(before)


def test_coroutine_functions_are_told_apart_on_instances_too(audited: Agent) -> None:
    hub = Hub()
    assert inspect.iscoroutinefunction(hub.send_to_user)
    assert not inspect.iscoroutinefunction(hub.notify)
    assert (
        str(inspect.signature(hub.notify))
        == "(user_id: 'str', message: 'str' = 'hello') -> 'tuple[str, str]'"
    )
    assert str(inspect.signature(Hub)) == "(name: 'str' = 'main', *, size: 'int' = 3) -> 'None'"
    coroutine: Any = hub.send_to_user(1, {})
    try:
        assert coroutine.__qualname__ == "Hub.send_to_user"
    finally:
        coroutine.close()


def test_the_class_itself_is_untouched_but_for_its_methods(audited: Agent) -> None:
    patched = {
        (cls, name)
        for cls in CLASSES
        for name, value in cls.__dict__.items()
        if (cls, name) in ORIGINAL and value is not ORIGINAL[cls, name]
    }
    hooked = {"__init__", "send_to_user", "notify", "broadcast", "emit", "broadcast_all"}
    assert {name for _, name in patched} <= hooked
    for cls in CLASSES:
        names = {name for owner, name in ORIGINAL if owner is cls}
        assert names <= set(cls.__dict__)
        extra = set(cls.__dict__) - names - {"made", "_only", "_abc_impl"}
        assert extra == set()


def test_no_init_is_added(audited: Agent) -> None:
    assert "__init__" not in BareHub.__dict__
    assert BareHub.__init__ is object.__init__
    with pytest.raises(TypeError, match="takes no arguments"):
        BareHub(1)  # type: ignore[call-arg]


def test_abstract_stays_abstract(audited: Agent) -> None:
    assert AbstractHub.__abstractmethods__ == {"send_to_user"}
    with pytest.raises(TypeError, match="abstract"):
        AbstractHub()  # type: ignore[abstract]


def test_taken_out_everything_is_the_very_object_it_was(audited: Agent) -> None:
    audited.remove()
    for (cls, name), value in ORIGINAL.items():
        assert cls.__dict__[name] is value, (cls, name)


def test_a_method_kept_from_before_the_removal_is_a_plain_call(audited: Agent) -> None:
    hub = Hub()
    kept = hub.notify
    audited.remove()
    before = audited.counted("sent")
    assert kept("a") == ("a", "hello")
    assert audited.counted("sent") == before
    assert len(audited.runtime.intents._waiting) == 0


# --- instances and bound methods --------------------------------------------------------------


def test_results_and_arguments(audited: Agent) -> None:
    hub = Hub("x", size=9)
    assert (hub.name, hub.size) == ("x", 9)
    assert asyncio.run(hub.send_to_user(1, {"a": 2}, loud=True)) == "x:1:{'a': 2}:True"
    assert hub.notify("a") == ("a", "hello")
    assert hub.notify(message="m", user_id="b") == ("b", "m")
    assert Hub.broadcast("m") == (Hub, "m")
    assert hub.broadcast("m") == (Hub, "m")
    assert Hub.emit("a", "m") == ("a", "m")
    assert Hub.notify(hub, "a", "b") == ("a", "b")
    message: Any = {}
    result: Any = hub.notify(message, message)
    assert result[0] is message
    assert result[1] is message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(audited: Agent, protocol: int) -> None:
    hub = Hub("x")
    assert pickle.loads(pickle.dumps(hub, protocol)) == hub
    assert pickle.loads(pickle.dumps(hub.notify, protocol))("a") == ("a", "hello")
    assert pickle.loads(pickle.dumps(Hub.broadcast, protocol))("m") == (Hub, "m")
    assert pickle.loads(pickle.dumps(Hub, protocol)) is Hub
    if protocol >= 2:
        assert pickle.loads(pickle.dumps(SlottedHub("s"), protocol)).name == "s"
    if protocol >= 4:  # earlier ones know no qualified names
        assert pickle.loads(pickle.dumps(Hub.notify, protocol)) is Hub.notify


def test_a_pickle_from_before_the_patch_loads_after_it() -> None:
    hub = Hub("x")
    data = pickle.dumps((hub, hub.notify))
    with agent() as audited:
        audited.patch(Hub)
        loaded, bound = pickle.loads(data)
        assert loaded == hub
        assert bound("a") == ("a", "hello")


def test_copy(audited: Agent) -> None:
    hub = Hub("x")
    assert copy.copy(hub) == hub
    assert copy.deepcopy(hub) == hub
    assert copy.deepcopy({"callback": hub.notify})["callback"]("a") == ("a", "hello")
    assert copy.copy(SlottedHub("s")).name == "s"


def test_weak_methods(audited: Agent) -> None:
    hub = Hub()
    for bound in (hub.send_to_user, hub.notify):
        ref = weakref.WeakMethod(bound)
        assert ref() == bound
    method = weakref.WeakMethod(hub.notify)
    assert method()("a") == ("a", "hello")  # type: ignore[misc]
    del bound, hub
    gc.collect()
    assert method() is None
    assert ref() is None


def test_bound_methods_are_equal_and_hash_alike(audited: Agent) -> None:
    hub, other = Hub("x"), Hub("y")
    assert hub.notify == hub.notify
    assert hash(hub.notify) == hash(hub.notify)
    assert hub.notify != other.notify
    assert hub.notify.__self__ is hub  # type: ignore[attr-defined]
    assert hub.notify.__func__ is Hub.notify
    handlers = [hub.notify]
    handlers.remove(hub.notify)
    assert handlers == []
    assert {hub.notify: 1}[hub.notify] == 1


def test_isinstance_and_subclasses(audited: Agent) -> None:
    class Better(Hub):
        def notify(self, user_id: str, message: str = "better") -> tuple[str, str]:
            return super().notify(user_id, message)

    audited.patch(Better)
    better = Better()
    assert isinstance(better, Hub)
    assert type(better) is Better
    assert better.notify("a") == ("a", "better")
    assert Better.broadcast("m") == (Better, "m")


def test_slotted_and_unhashable_instances(audited: Agent) -> None:
    slotted, unhashable = SlottedHub("s"), UnhashableHub()
    assert asyncio.run(slotted.send_to_user("a", "m")) == "s"
    assert asyncio.run(unhashable.send_to_user("a", "m")) == "m"
    with pytest.raises(TypeError):
        hash(unhashable)
    created = audited.counted("created")
    assert created[f"{__name__}:UnhashableHub",] == 1
    assert created[f"{__name__}:SlottedHub",] == 1
    assert audited.said == []


def test_a_singleton_is_made_once_and_counted_once(audited: Agent) -> None:
    assert NewHub() is NewHub() is NewHub()
    assert NewHub.made == 3
    assert audited.counted("created")[f"{__name__}:NewHub",] == 1


def test_instances_are_not_kept_alive(audited: Agent) -> None:
    hub = Hub("short-lived")
    hub.notify("a", "m")
    ref = weakref.ref(hub)
    del hub
    gc.collect()
    assert ref() is None


def test_our_frames_do_not_say_that_they_are_a_trial(audited: Agent) -> None:
    ours = [
        part
        for frames in (LookingHub().names, asyncio.run(LookingHub().send_to_user("a", "m")))
        for name, filename, module in frames
        if filename.startswith("<ws_audit")
        for part in (name, filename, module.replace(__name__, ""))
    ]
    assert len(ours) >= 6  # they are there
    assert not [part for part in ours if "test" in part.lower() or "mock" in part.lower()]


def test_one_frame_is_all_that_is_added(audited: Agent) -> None:
    ours = [name for name, filename, _ in LookingHub().names if "ws_audit" in filename]
    assert len(ours) == 1


# --- the connection's cell, which frameworks copy with the scope ------------------------------


def test_the_cell_survives_what_is_done_to_scopes(audited: Agent) -> None:
    socket = Socket()
    seen: list[Any] = []

    async def handler(one: Socket) -> None:
        seen.extend([dict(one.scope), copy.copy(one.scope), copy.deepcopy(one.scope)])
        seen.append(pickle.loads(pickle.dumps(one.scope)))
        assert repr(one.cell) == "<ws_audit cell>"

    audited.serve(handler, socket)
    assert [scope["ws_audit.cell"] for scope in seen] == [socket.cell] * 3 + [None]
