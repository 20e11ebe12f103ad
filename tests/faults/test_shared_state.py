# SPDX-License-Identifier: Apache-2.0
# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,assignment,attr-defined"
"""Two users' instances that share something mutable: what is told of, and what is by design.

Real hooks make the instances known; what the drain does once a second is done here by hand.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import weakref
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.faults.harness import Agent, agent
from tests.unit import suspicious
from ws_audit.sharing.search import SLICE_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ws_audit.model import Delivery

HERE = sys.modules[__name__]


class Emitter:
    """A per-user object, as applications make them for each connection or run."""

    def __init__(self, user_id: str, **held: Any) -> None:
        self.user_id = user_id
        self.__dict__.update(held)

    async def connect(self, websocket: Any) -> None: ...

    async def send(self, message: Any) -> None: ...


class HistoryEmitter(Emitter):
    history: ClassVar[list[Any]] = []


class DefaultEmitter(Emitter):
    def remember(self, text: str, seen: list[str] = []) -> list[str]:  # noqa: B006
        seen.append(text)
        return seen


class BorgEmitter(Emitter):
    _state: ClassVar[dict[str, Any]] = {}

    def __init__(self, user_id: str) -> None:
        super().__init__(user_id)
        self.__dict__ = self._state
        self.__dict__["last_words"] = ""


class Memory:
    turns: ClassVar[list[Any]] = []


class SlottedEmitter(Emitter):
    __slots__ = ("buffer",)


class UserContext:
    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.draft = ""


class Service:
    """One for all: what it does with its own state is its business."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.last_words = ""
        self.people: dict[str, Any] = {}


class CountingEmitter(Emitter):
    totals: ClassVar[dict[str, Any]] = {"sent": 0, "failed": 0}
    latencies: ClassVar[deque[float]] = deque(maxlen=100)


class RegisteredEmitter(Emitter):
    known: ClassVar[dict[str, Any]] = {}
    by_run: ClassVar[dict[str, Any]] = {}
    here: ClassVar[set[str]] = set()
    cache: ClassVar[dict[str, Any]] = {}
    phase: ClassVar[list[str]] = []


class Socket:
    """What an application wraps around a connection."""

    def __init__(self) -> None:
        self.websocket = object()


CLASSES = (
    Emitter,
    HistoryEmitter,
    DefaultEmitter,
    BorgEmitter,
    SlottedEmitter,
    CountingEmitter,
    RegisteredEmitter,
)


def phase(number: int) -> str:
    """A word in code."""
    return ("typing", "thinking")[number % 2]


FIELDS = ("buffer", "memory", "state", "turns", "context", "draft", "body", "last_words", "service")


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as found:
        found.patch(*CLASSES)
        found.runtime.names._modules = lambda: [HERE]
        found.runtime.names.read()
        found.runtime.drain.outputs([found.kept, found.runtime.search])
        yield found
    for cls in CLASSES:
        for value in vars(cls).values():
            if type(value) in (list, set, deque) or (type(value) is dict and "sent" not in value):
                value.clear()
    Memory.turns.clear()


def look(audited: Agent, seconds: int = 1) -> None:
    """What the drain does in so many seconds."""
    search = audited.runtime.search
    for _ in range(seconds):
        audited.runtime.drain.fold()
        search.tick(time.time_ns() + 60_000_000_000)
        while search.wanted:
            search.step()


def found(audited: Agent) -> list[Delivery]:
    audited.runtime.drain.fold()
    return [one for one in audited.deliveries() if one.verdict.rule == "shared_state"]


def told(audited: Agent) -> list[tuple[str, str]]:
    """(severity, class and path without the line) of each event."""
    return [(one.verdict.severity, one.site.rpartition(":")[0]) for one in found(audited)]


def text(number: int) -> str:
    """Something a person wrote: no word of code."""
    return f"my words, number {number}"


# --- what is told of --------------------------------------------------------------------------


def _list(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer = two.buffer = []
    return lambda number: one.buffer.append(text(number))


def _deque(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer = two.buffer = deque(maxlen=3)
    return lambda number: one.buffer.append({"body": text(number)})


def _record(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"draft": "", "body": None}
    return lambda number: one.state.update(draft=text(number))


def _nested(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"body": [text(0)]}
    return lambda number: one.state["body"].append(text(number))


def _own_helpers(one: Any, two: Any) -> Callable[[int], None]:
    one.memory, two.memory = Memory(), Memory()
    return lambda number: Memory.turns.append({"body": text(number)})


def _helpers_with_one_list(one: Any, two: Any) -> Callable[[int], None]:
    one.memory, two.memory = Memory(), Memory()
    one.memory.body = two.memory.body = []
    return lambda number: one.memory.body.append(text(number))


def _bytes(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer = two.buffer = bytearray(b"x")
    return lambda number: one.buffer.extend(text(number).encode())


def _set(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {text(0)}
    return lambda number: one.state.add(text(number))


def _somebodys_context(one: Any, two: Any) -> Callable[[int], None]:
    one.context = two.context = UserContext("ann")

    def write(number: int) -> None:
        one.context.draft = text(number)

    return write


@pytest.mark.parametrize(
    ("share", "path"),
    [
        (_list, "Emitter.buffer"),
        (_deque, "Emitter.buffer"),
        (_record, "Emitter.state"),
        (_nested, "Emitter.state.body"),
        (_own_helpers, "Memory.turns"),
        (_helpers_with_one_list, "Emitter.memory.body"),
        (_bytes, "Emitter.buffer"),
        (_set, "Emitter.state"),
        (_somebodys_context, "Emitter.context"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_two_share_and_one_changes(audited: Agent, share: Any, path: str) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    change = share(one, two)
    look(audited, 3)
    assert told(audited) == []  # shared, and nothing has changed
    change(1)
    look(audited)
    assert told(audited) == [("hygiene", f"{__name__}:{path}")]
    change(2)
    look(audited, 3)
    assert len(told(audited)) == 1  # once


def test_whom_it_names_and_where(audited: Agent) -> None:
    one, two = HistoryEmitter("ann"), HistoryEmitter("bob")
    look(audited)
    one.history.append(text(1))
    look(audited)
    (event,) = found(audited)
    assert {item.principal.user for item in event.evidence} == {"ann", "bob"}
    assert {item.source for item in event.evidence} == {"history"}
    assert event.manager == f"{__name__}:HistoryEmitter"
    line = int(event.site.removeprefix(f"{__name__}:HistoryEmitter.history:"))
    assert line in (0, _line_of("class HistoryEmitter"))  # 0: no method, before Python 3.13
    assert audited.counted("violation") == {("shared_state", "hygiene", event.manager): 1}
    assert audited.counted("delivery") == {}  # no delivery is wrong
    assert "words" not in repr(event)
    assert [record.verdict.rule for record in audited.written.recorded] == ["shared_state"]
    del two


def _line_of(start: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))


def test_a_mutable_default(audited: Agent) -> None:
    one, two = DefaultEmitter("ann"), DefaultEmitter("bob")
    look(audited)
    one.remember(text(1))
    look(audited)
    assert told(audited) == [("hygiene", f"{__name__}:DefaultEmitter.remember(seen=)")]
    assert two.remember(text(2)) == [text(1), text(2)]


def test_one_namespace_for_two(audited: Agent) -> None:
    one, two = BorgEmitter("ann"), BorgEmitter("bob")
    # Its second constructor made it bob's for both: whom each was built for, the hook knows.
    look(audited)
    one.last_words = text(1)
    look(audited)
    assert (("hygiene", f"{__name__}:BorgEmitter.__dict__")) in told(audited)
    assert two.last_words == text(1)


def test_a_slot(audited: Agent) -> None:
    one, two = SlottedEmitter("ann"), SlottedEmitter("bob")
    one.buffer = two.buffer = []
    look(audited)
    one.buffer.append(text(1))
    look(audited)
    assert told(audited) == [("hygiene", f"{__name__}:SlottedEmitter.buffer")]


def test_what_is_attached_later(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    look(audited)
    change = _list(one, two)
    look(audited, 2)  # a minute later, as it is for the search
    change(1)
    look(audited)
    assert told(audited) == [("hygiene", f"{__name__}:Emitter.buffer")]


# --- what is by design -------------------------------------------------------------------------


def _one_service(one: Any, two: Any) -> Callable[[int], None]:
    one.service = two.service = Service()

    def work(number: int) -> None:
        one.service.messages.append(text(number))
        one.service.last_words = text(number)
        one.service.people[text(number)] = {"body": text(number)}

    return work


def _a_service_behind_helpers(one: Any, two: Any) -> Callable[[int], None]:
    one.memory, two.memory = Memory(), Memory()
    one.memory.service = two.memory.service = Service()
    return lambda number: one.memory.service.messages.append(text(number))


def _the_managers_book(one: Any, two: Any) -> Callable[[int], None]:
    """Each emitter has the one manager; and maybe a reference to its dict."""
    one.manager = two.manager = manager = Emitter("")
    manager.connections = {}
    one.state = two.state = manager.connections
    return lambda number: manager.connections.update({f"user-{number}": [text(number)]})


def _keyed_by_users(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"ann": [text(0)], "bob": []}

    def change(number: int) -> None:
        one.state["ann"].append(text(number))
        one.state["bob"] = [text(number)]

    return change


def _keyed_by_things(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = defaultdict(list)
    return lambda number: one.state[f"run-{number % 2}"].append(text(number))


def _counters(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"draft": 0, "body": 0.5}
    one.buffer = two.buffer = []

    def count(number: int) -> None:
        one.state.update(draft=number, body=number / 2)
        one.buffer.append((number, number / 2))

    return count


def _words_of_code(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"draft": phase(0)}
    one.buffer = two.buffer = []

    def change(number: int) -> None:
        one.state["draft"] = phase(number)
        one.buffer.append(phase(number))

    return change


def _people_and_things(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer = two.buffer = []
    one.state = two.state = set()

    def come(number: int) -> None:
        one.buffer += ["ann", number, "0b6cb2a3-5a5d-4a2c-9f0e-0123456789ab", Socket(), print]
        one.state.update({"bob", f"{number}@mail.example", number})

    return come


def _by_name(one: Any, two: Any) -> Callable[[int], None]:
    one.response_cache = two.response_cache = []
    one.settings = two.settings = {"draft": ""}
    one.outbox = two.outbox = deque()

    def change(number: int) -> None:
        one.response_cache.append(text(number))
        one.settings["draft"] = text(number)
        one.outbox.append(text(number))

    return change


def _queue(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer = two.buffer = asyncio.Queue()
    return lambda number: one.buffer.put_nowait(text(number))


def _own(one: Any, two: Any) -> Callable[[int], None]:
    one.buffer, two.buffer = [], []

    def change(number: int) -> None:
        one.buffer.append(text(number))
        two.buffer.append(text(number))

    return change


def _a_colleague(one: Any, two: Any) -> Callable[[int], None]:
    """A third person's own emitter, which both know."""
    one.body = two.body = third = Emitter("cyd")
    third.draft = ""

    def change(number: int) -> None:
        third.draft = text(number)

    return change


def _no_change(one: Any, two: Any) -> Callable[[int], None]:
    one.state = two.state = {"draft": text(0), "body": [text(1)]}
    return lambda number: None


@pytest.mark.parametrize(
    "share",
    [
        _one_service,
        _a_service_behind_helpers,
        _the_managers_book,
        _keyed_by_users,
        _keyed_by_things,
        _counters,
        _words_of_code,
        _people_and_things,
        _by_name,
        _queue,
        _own,
        _a_colleague,
        _no_change,
    ],
    ids=lambda value: value.__name__,
)
def test_what_is_shared_on_purpose(audited: Agent, share: Any) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    change = share(one, two)
    look(audited, 2)
    for number in range(4):
        change(number)
        look(audited)
    assert told(audited) == []
    # The proof that this test can see: two like them, with a list between them.
    three, four = Emitter("ann"), Emitter("bob")
    change = _list(three, four)
    look(audited, 2)
    change(1)
    look(audited)
    assert told(audited) == [("hygiene", f"{__name__}:Emitter.buffer")]


def test_class_attributes_that_are_books(audited: Agent) -> None:
    people = [RegisteredEmitter("ann"), RegisteredEmitter("bob"), CountingEmitter("ann")]
    people.append(CountingEmitter("bob"))
    look(audited, 2)
    for number in range(4):
        RegisteredEmitter.known["ann"] = text(number)
        RegisteredEmitter.by_run[f"run-{number}"] = {"body": text(number)}
        RegisteredEmitter.here.add("bob" if number % 2 else "ann")
        RegisteredEmitter.cache["draft"] = text(number)
        RegisteredEmitter.phase.append(phase(number))
        CountingEmitter.totals["sent"] += 1
        CountingEmitter.latencies.append(number / 3)
        look(audited)
    assert told(audited) == []


def test_one_users_own_instances_may_share(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("ann")
    change = _list(one, two)
    look(audited, 2)
    change(1)
    look(audited)
    assert told(audited) == []


def test_what_is_no_longer_shared_is_not_told(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    change = _list(one, two)
    look(audited, 2)
    two.buffer = []
    change(1)
    look(audited, 2)
    assert told(audited) == []


# --- probable: changed by both -------------------------------------------------------------------


def _say(emitter: HistoryEmitter, number: int) -> None:
    emitter.history.append(text(number))
    asyncio.run(emitter.send({"type": "typing"}))


def _settle(audited: Agent) -> None:
    audited.runtime.intents.expire(2**63)  # nobody delivers here


def _alone(audited: Agent, emitter: HistoryEmitter, number: int) -> None:
    _say(emitter, number)
    _settle(audited)
    look(audited, 3)


def test_changed_by_both_while_alone_and_never_otherwise(audited: Agent) -> None:
    one, two = HistoryEmitter("ann"), HistoryEmitter("bob")
    look(audited, 4)
    _alone(audited, one, 1)
    assert [severity for severity, _ in told(audited)] == ["hygiene"]
    _alone(audited, two, 2)
    assert [severity for severity, _ in told(audited)] == ["hygiene", "probable"]
    event = found(audited)[-1]
    assert {item.principal.user for item in event.evidence} == {"ann", "bob"}
    _alone(audited, one, 3)
    _alone(audited, two, 4)
    assert len(found(audited)) == 2


def test_changed_by_one_alone_is_no_more_than_hygiene(audited: Agent) -> None:
    one, two = HistoryEmitter("ann"), HistoryEmitter("bob")
    look(audited, 4)
    for number in range(3):
        _alone(audited, one, number)
    asyncio.run(two.send({"type": "typing"}))  # active, and nothing changes
    _settle(audited)
    look(audited, 3)
    assert [severity for severity, _ in told(audited)] == ["hygiene"]


def test_what_changes_by_itself_is_no_more_than_hygiene(audited: Agent) -> None:
    one, two = HistoryEmitter("ann"), HistoryEmitter("bob")
    look(audited, 4)
    one.history.append(text(0))  # a timer: nobody is active
    look(audited, 3)
    _alone(audited, one, 1)
    _alone(audited, two, 2)
    assert [severity for severity, _ in told(audited)] == ["hygiene"]


def test_without_a_quiet_second_nothing_is_known(audited: Agent) -> None:
    one, two = HistoryEmitter("ann"), HistoryEmitter("bob")
    for number in range(4):
        for emitter in (one, two):
            for second in range(3):
                _say(emitter, number * 10 + second)
                _settle(audited)
                look(audited)
    assert [severity for severity, _ in told(audited)] == ["hygiene"]


def test_what_was_handed_to_both_may_have_been_meant_for_both(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    change = _list(one, two)
    look(audited, 4)
    for number, emitter in enumerate((one, two, one, two)):
        change(number)
        asyncio.run(emitter.send({"type": "typing"}))
        _settle(audited)
        look(audited, 3)
    assert [severity for severity, _ in told(audited)] == ["hygiene"]


# --- what it never does --------------------------------------------------------------------------


def test_nothing_of_the_applications_runs(audited: Agent) -> None:
    suspicious.CALLED.clear()
    one, two = Emitter("ann"), Emitter("bob")
    for number, value in enumerate(suspicious.objects()):
        one.__dict__[f"body{number}"] = two.__dict__[f"body{number}"] = value
    one.buffer = two.buffer = suspicious.objects()
    one.state = two.state = {"body": suspicious.objects(), "draft": suspicious.TouchyStr("a")}
    one.context = two.context = suspicious.Touchy()
    one.context.__dict__["user_id"] = "ann"
    look(audited, 2)
    one.buffer.append(suspicious.Touchy())
    look(audited, 2)
    assert suspicious.CALLED == []
    assert told(audited) == [("hygiene", f"{__name__}:Emitter.buffer")]


def test_nothing_is_kept(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")

    class Thing:
        pass

    one.buffer = two.buffer = [Thing()]
    one.memory, two.memory = Memory(), Memory()
    gone = [weakref.ref(value) for value in (one, two, one.memory, one.buffer[0])]
    look(audited, 2)
    one.buffer.append(text(1))
    look(audited, 2)
    assert told(audited)
    del one, two
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4
    look(audited, 2)
    assert not audited.runtime.search._watches


def test_names_that_stand_in_no_code_are_not_told(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    secret = f"{one.user_id}_secret"
    one.__dict__[secret] = two.__dict__[secret] = []
    one.state = two.state = {secret: []}
    look(audited, 2)
    one.__dict__[secret].append(text(1))
    one.state[secret].append(text(1))
    look(audited, 2)
    assert secret not in repr(found(audited))


def test_a_step_is_short_whatever_there_is(audited: Agent) -> None:
    many = [Emitter(f"user{number}") for number in range(300)]
    huge = {f"key{number}": [number] * 10 for number in range(50_000)}
    tower: list[Any] = []
    for _ in range(500):
        tower = [tower, [text(0)] * 100]
    for one in many:
        one.state = huge
        one.buffer = tower
        one.body = [[text(0)] * 50 for _ in range(300)]
    search = audited.runtime.search
    steps: list[int] = []
    search.tick(time.time_ns())
    while search.wanted and len(steps) < 2_000:
        begun = time.thread_time_ns()
        search.step()
        steps.append(time.thread_time_ns() - begun)
    assert not search.wanted
    steps.sort()
    assert steps[len(steps) // 2] < 5 * SLICE_NS  # generous
    assert len(search._watches) <= 128
    assert len(search._index) <= 5_000


def test_what_is_looked_at_is_bounded(audited: Agent) -> None:
    reader = audited.runtime.search._reader
    one = Emitter("ann")
    one.buffer = [[[[]] * 1] for _ in range(16)]
    one.state = {name: [[] for _ in range(16)] for name in FIELDS}
    one.body = [[[] for _ in range(16)] for _ in range(16)]
    one.memory = [[[] for _ in range(16)] for _ in range(16)]
    for_ever = 2**63
    found, complete = reader.walk(one, for_ever)
    assert complete
    assert 300 < len(found) <= 500
    assert max(len(path) for path, _ in found) <= 4
    found, complete = reader.walk(one, 0)
    assert (len(found) < 8, complete) == (True, False)


def test_what_is_watched_is_bounded(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    one.body = two.body = [[[] for _ in range(16)] for _ in range(16)]
    search = audited.runtime.search
    known = [audited.runtime.created.of((value,)) for value in (one, two)]
    for entry in known:
        search._walk(entry, 1, 2**63)
    assert len(search._watches) == 128


def test_a_look_without_time_is_tried_three_times(audited: Agent) -> None:
    one = Emitter("ann", **{name: [] for name in FIELDS})
    search = audited.runtime.search
    entry = audited.runtime.created.of((one,))
    search._walk(entry, 1, 0)
    assert list(search._waiting) == [(entry, 2)]
    search._walk(entry, 3, 0)
    assert list(search._waiting) == [(entry, 2)]


def test_a_number_given_to_another_object_proves_nothing(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    one.buffer, two.buffer = [text(0)], [text(0)]
    search = audited.runtime.search
    first, second = (audited.runtime.created.of((value,)) for value in (one, two))
    search._walk(first, 1, 2**63)
    (path,) = (path for path, key in search._reader.walk(one, 2**63)[0] if key == id(one.buffer))
    search._index[id(two.buffer)] = (first, path)  # as if one's list had had this number
    search._walk(second, 1, 2**63)
    assert not search._watches


def test_it_stops_with_the_agent(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    assert audited.runtime._spare()
    audited.runtime.disarm()
    assert not audited.runtime._spare()
    del one, two


def test_a_fork_forgets(audited: Agent) -> None:
    one, two = Emitter("ann"), Emitter("bob")
    change = _list(one, two)
    look(audited, 2)
    audited.runtime.forget()
    change(1)
    look(audited, 2)
    assert told(audited) == []
