# SPDX-License-Identifier: Apache-2.0
"""What an application can find out about itself, with the agent and without, is the same.

Each probe is a piece of application code. It is run on the class as it was written, on the
patched class, and once more after the patch is gone; what it says must not differ.
"""

from __future__ import annotations

import abc
import asyncio
import copy
import cProfile
import dataclasses
import enum
import functools
import inspect
import io
import logging
import pickle
import pstats
import sys
import traceback
import types
import typing
import unittest.mock
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - read at run time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, agent

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
Payload = dict[str, int]


class Base:
    def send(self, user_id: str, message: Any = None) -> Any:
        return "base", user_id, message

    async def notify(self, user_id: str, message: Any = None) -> Any:
        return "base", user_id, message


class ConnectionManager(Base):
    """Uses what a class can use."""

    def __init__(self, owner: str = "nobody", *, limit: int = 3) -> None:
        self.owner, self.limit = owner, limit
        self.__hidden = [owner]

    def send(self, user_id: str, message: Payload | None = None, *, loud: bool = False) -> Any:
        """Send it."""
        assert __class__ is ConnectionManager  # type: ignore[name-defined]
        self.__hidden.append(user_id)
        return super().send(user_id, message), self.__hidden, loud

    async def notify(self, user_id: str, message: Payload | None = None) -> Any:
        return await super().notify(user_id, message), type(self).__name__

    def send_stream(self, user_id: str, message: str = "ab") -> Iterator[str]:
        yield from message

    async def broadcast_stream(self, message: str = "ab") -> AsyncIterator[str]:
        for letter in message:
            yield letter

    @classmethod
    def broadcast(cls, message: str = "m") -> tuple[str, str]:
        return cls.__name__, message

    @staticmethod
    def emit(user_id: str, message: str = "m") -> tuple[str, str]:
        return user_id, message

    @functools.singledispatchmethod
    def push(self, message: object) -> str:
        return f"object {message}"

    @push.register
    def _(self, message: int) -> str:
        return f"int {message}"

    send_to_admin = functools.partialmethod(send, "admin")
    publish = send

    @functools.cached_property
    def send_count(self) -> int:
        self.limit += 1
        return self.limit

    @property
    def send_limit(self) -> int:
        return self.limit

    def send_warning(self, user_id: str) -> None:
        warnings.warn("send_warning is deprecated", DeprecationWarning, stacklevel=2)

    async def send_late_warning(self, user_id: str) -> None:
        warnings.warn("send_late_warning is deprecated", DeprecationWarning, stacklevel=2)

    def send_soon(self, user_id: str) -> Any:
        return self.later(user_id)

    async def later(self, user_id: str) -> None:
        warnings.warn("later is deprecated", DeprecationWarning, stacklevel=2)

    def send_logged(self, user_id: str, level: int = 1) -> None:
        log.warning("sent", stacklevel=level)

    async def send_logged_late(self, user_id: str, level: int = 1) -> None:
        log.warning("sent", stacklevel=level)

    def send_failing(self, user_id: str) -> None:
        raise KeyError(user_id)

    async def send_failing_late(self, user_id: str) -> None:
        await asyncio.sleep(0)
        try:
            self.send_failing(user_id)
        except KeyError as error:
            raise ValueError(user_id) from error

    def send_looking(self, user_id: str) -> list[tuple[str, str]]:
        return [
            (frame.frame.f_globals["__name__"], (frame.code_context or ["?"])[0].strip())
            for frame in inspect.stack()[1:3]
        ]


@dataclasses.dataclass
class DataManager:
    owner: str
    sockets: list[str] = dataclasses.field(default_factory=list)

    def send_to_user(self, user_id: str, message: str = "m") -> tuple[str, str]:
        return self.owner, user_id


@dataclasses.dataclass(frozen=True, eq=True)
class FrozenManager:
    owner: str

    def send_to_user(self, user_id: str, message: str = "m") -> tuple[str, str]:
        return self.owner, user_id


@typing.runtime_checkable
class Sender(typing.Protocol):
    def send(self, user_id: str, message: Any = None) -> Any: ...


class AbstractManager(abc.ABC):
    @abc.abstractmethod
    def send_to_user(self, user_id: str, message: str) -> str:
        return "abstract"


class ConcreteManager(AbstractManager):
    def send_to_user(self, user_id: str, message: str) -> str:
        return "concrete " + super().send_to_user(user_id, message)


class Channel(enum.Enum):
    LOUD = "loud"

    def send(self, user_id: str, message: str = "m") -> str:
        return self.value


CLASSES = (ConnectionManager, DataManager, FrozenManager, AbstractManager, ConcreteManager)
METHODS = (
    *(
        "__init__",
        "send",
        "notify",
        "send_stream",
        "broadcast_stream",
        "broadcast",
        "emit",
        "publish",
    ),
    *("send_warning", "send_logged", "send_failing_late", "send_to_admin", "push"),
)


# --- probes: each says something of the application ---------------------------------------------


def each(read: Callable[[Any], Any]) -> dict[str, Any]:
    """What `read` says of every method, asked of the class, the instance and the dictionary."""
    desk, said = ConnectionManager(), {}
    for name in METHODS:
        for where, value in (
            ("class", getattr(ConnectionManager, name)),
            ("instance", getattr(desk, name)),
        ):
            try:
                said[f"{where}.{name}"] = read(value)
            except (AttributeError, TypeError, OSError) as error:
                said[f"{where}.{name}"] = type(error).__name__
    return said


def kinds() -> Any:
    return [
        each(kind)
        for kind in (
            *(inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction),
            *(
                inspect.isfunction,
                inspect.ismethod,
                inspect.isroutine,
                callable,
                inspect.isabstract,
            ),
        )
    ]


def asyncio_kinds() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return each(asyncio.iscoroutinefunction)


def signatures() -> Any:
    return each(lambda value: str(inspect.signature(value)))


def evaluated_signatures() -> Any:
    return each(lambda value: str(inspect.signature(value, eval_str=True)))


def hints() -> Any:
    return each(lambda value: str(typing.get_type_hints(value)))


def sources() -> Any:
    return each(inspect.getsource)


def names() -> Any:
    return each(
        lambda value: (
            value.__name__,
            value.__qualname__,
            value.__module__,
            value.__doc__,
            inspect.getdoc(value),
            inspect.getmodule(value).__name__,  # type: ignore[union-attr]
        )
    )


def defaults() -> Any:
    return each(lambda value: (value.__defaults__, value.__kwdefaults__, value.__annotations__))


def annotations_of_old_frameworks() -> Any:
    """As FastAPI did until 0.118: annotations are resolved in the function's own module."""
    return each(
        lambda value: [
            str(eval(text, value.__globals__)) for text in value.__annotations__.values()
        ]
    )


def unwrapping() -> Any:
    """To the end of the chain, and not for ever."""
    return each(lambda value: inspect.unwrap(value).__code__.co_varnames)


def closures() -> Any:
    return each(lambda value: type(inspect.getclosurevars(inspect.unwrap(value))).__name__)


def results() -> Any:
    desk = ConnectionManager("o", limit=7)
    return [
        desk.send("a", {"n": 1}, loud=True),
        desk.send(user_id="b", message=None),
        asyncio.run(desk.notify("a")),
        list(desk.send_stream("a")),
        desk.broadcast(),
        ConnectionManager.broadcast("x"),
        desk.emit("a"),
        ConnectionManager.emit("a", message="y"),
        [desk.push("s"), desk.push(1)],
        desk.send_to_admin({"n": 2}),
        desk.publish("p"),
        [desk.send_count, desk.send_count, desk.limit, desk.send_limit],
        vars(desk),
        Channel("loud").send("a"),
    ]


def wrong_calls() -> Any:
    desk: Any = ConnectionManager()
    cls: Any = ConnectionManager
    said = []
    for call in (
        functools.partial(desk.send),
        functools.partial(desk.send, "a", nothing=1),
        functools.partial(desk.send, "a", user_id="b"),
        functools.partial(desk.emit),
        functools.partial(cls, 1, 2, 3),
        lambda: list(desk.send_stream()),
        lambda: asyncio.run(anext(desk.broadcast_stream(nobody=1))),
        lambda: asyncio.run(desk.notify()),
        functools.partial(cls.send),
    ):
        try:
            call()
        except TypeError as error:
            said.append(str(error))
    return said


def pickled() -> Any:
    desk = ConnectionManager("o")
    return [
        [
            vars(pickle.loads(pickle.dumps(desk, protocol))),
            pickle.loads(pickle.dumps(desk.send, protocol))("a"),
            asyncio.run(pickle.loads(pickle.dumps(desk.notify, protocol))("a")),
            pickle.loads(pickle.dumps(ConnectionManager.broadcast, protocol))("m"),
            pickle.loads(pickle.dumps(ConnectionManager.emit, max(protocol, 4)))("a"),
            pickle.loads(pickle.dumps(ConnectionManager.send, max(protocol, 4))).__qualname__,
            pickle.loads(pickle.dumps(ConnectionManager, protocol)) is ConnectionManager,
            pickle.loads(pickle.dumps(FrozenManager("o"), protocol)) == FrozenManager("o"),
        ]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]


def copied() -> Any:
    desk = ConnectionManager("o")
    twin, deep = copy.copy(desk), copy.deepcopy({"desk": desk, "call": desk.send})
    return [
        vars(twin),
        vars(deep["desk"]),
        deep["call"].__self__ is deep["desk"],  # type: ignore[attr-defined]
        copy.copy(desk.send) == desk.send,
        copy.deepcopy(ConnectionManager) is ConnectionManager,
        dataclasses.replace(DataManager("a", ["s"]), owner="b"),
        dataclasses.replace(FrozenManager("a"), owner="b"),
        dataclasses.asdict(DataManager("a")),
        hash(FrozenManager("a")) == hash(FrozenManager("a")),
    ]


def bound_methods() -> Any:
    desk, other = ConnectionManager(), ConnectionManager()
    handlers = [desk.send, desk.notify, other.send]
    handlers.remove(desk.send)
    weak = weakref.WeakMethod(desk.send)
    return [
        handlers == [desk.notify, other.send],
        {desk.send: 1}.get(desk.send),
        desk.send == desk.send,
        desk.send != other.send,
        hash(desk.send) == hash(desk.send),
        desk.send.__func__ is ConnectionManager.send,  # type: ignore[attr-defined]
        weak() == desk.send,
        isinstance(desk.send, types.MethodType),
        functools.partial(desk.send, "a")({"n": 1}),
        types.MethodType(ConnectionManager.send, desk)("a"),
        repr(ConnectionManager.send).partition(" at ")[0],
        repr(desk.send).partition(" of ")[0],
    ]


def relations() -> Any:
    class Local(ConnectionManager):
        def send(self, *given: Any, **named: Any) -> Any:
            return "local", super().send(*given, **named)

    return [
        isinstance(ConnectionManager(), (Base, Sender)),
        isinstance(ConnectionManager(), Sender),
        issubclass(ConcreteManager, AbstractManager),
        AbstractManager.__abstractmethods__,
        Local().send("a"),
        [cls.__name__ for cls in Local.__mro__],
        ConcreteManager().send_to_user("a", "m"),
        list(ConnectionManager.__dict__),
        sorted(dir(ConnectionManager())),
        [name for name, _ in inspect.getmembers(ConnectionManager(), inspect.ismethod)],
    ]


def tracebacks() -> Any:
    said: list[Any] = []
    calls: tuple[Callable[[], Any], ...] = (
        lambda: ConnectionManager().send_failing("a"),
        lambda: asyncio.run(ConnectionManager().send_failing_late("a")),
    )
    for call in calls:
        try:
            call()
        except (KeyError, ValueError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            said.append(
                [
                    (frame.filename, frame.lineno, frame.name, frame.line)
                    for frame in frames
                    if not frame.filename.startswith("<ws_audit")
                ]
            )
            cause = error.__cause__ or error.__context__
            said.append([type(cause).__name__, str(error), error.args])
    return said


def warned() -> Any:
    """Where a deprecation is reported: the line that calls the deprecated method."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ConnectionManager().send_warning("a")

        async def main() -> None:
            await ConnectionManager().send_late_warning("a")
            await ConnectionManager().send_soon("a")

        asyncio.run(main())
    return [(warning.filename, warning.lineno, str(warning.message)) for warning in caught]


def logged(*levels: int) -> Any:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    log.addHandler(handler)
    log.propagate = False
    try:
        for level in levels:
            ConnectionManager().send_logged("a", level)

            async def main(level: int = level) -> None:
                await ConnectionManager().send_logged_late("a", level)

            asyncio.run(main())
    finally:
        log.removeHandler(handler)
        log.propagate = True
    return [(record.pathname, record.lineno, record.funcName) for record in records]


def logged_plainly() -> Any:
    return logged(1)


def logged_for_the_caller() -> Any:
    return logged(2, 3)


def profiled() -> Any:
    profile = cProfile.Profile()
    desk = ConnectionManager()
    profile.runcall(desk.send, "a")
    text = io.StringIO()
    stats: Any = pstats.Stats(profile, stream=text)
    here = __file__
    return sorted(
        (line, name, calls[0])
        for (filename, line, name), calls in stats.stats.items()
        if filename == here
    )


def traced() -> Any:
    seen: list[tuple[str, str]] = []

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename == __file__:
            seen.append((event, frame.f_code.co_name))
        return tracer

    desk, before = ConnectionManager(), sys.gettrace()
    sys.settrace(tracer)
    try:
        desk.send("a")
    finally:
        sys.settrace(before)
    return seen


def mocked() -> Any:
    desk, said = ConnectionManager(), []
    with unittest.mock.patch.object(ConnectionManager, "send", autospec=True) as fake:
        fake.return_value = "faked"
        said.append(desk.send("a", {"n": 1}))
        fake.assert_called_once_with(desk, "a", {"n": 1})
        with pytest.raises(TypeError):
            desk.send(nothing=1)  # type: ignore[call-arg]
    said.append(desk.send("b"))
    with unittest.mock.patch.object(desk, "notify") as fake:
        said.append(type(fake).__name__)
    said.append("notify" in vars(desk))
    said.append(type(unittest.mock.create_autospec(ConnectionManager)("x").notify).__name__)
    with unittest.mock.patch.object(ConnectionManager, "broadcast", return_value=1):
        said.append(ConnectionManager.broadcast())
    said.append(ConnectionManager.broadcast())
    return said


PROBES = (
    *(kinds, asyncio_kinds, signatures, evaluated_signatures, sources, names, defaults),
    *(annotations_of_old_frameworks, unwrapping, closures, results, wrong_calls, pickled, copied),
    *(bound_methods, relations, tracebacks, warned, logged_plainly, profiled, traced, mocked),
    pytest.param(
        hints,
        marks=pytest.mark.skipif(
            sys.version_info < (3, 11), reason="until 3.11 a default of None is read off the code"
        ),
    ),
    pytest.param(
        logged_for_the_caller,
        marks=pytest.mark.skipif(
            sys.version_info < (3, 11), reason="logging passes over nothing before 3.11"
        ),
    ),
)


@contextmanager
def patched() -> Iterator[Agent]:
    with agent() as made:
        made.patch(*CLASSES)
        assert hasattr(ConnectionManager.__dict__["send"], "__wrapped__")
        yield made


def comparable(value: Any) -> Any:
    """Without addresses, which differ from run to run."""
    return repr(value)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
def test_it_says_the_same(probe: Callable[[], Any]) -> None:
    without = comparable(probe())
    with patched() as audited:
        assert comparable(probe()) == without
        assert audited.said == []
    assert comparable(probe()) == without


def test_a_hooked_call_adds_one_frame_with_its_source_line() -> None:
    with patched(), pytest.raises(KeyError) as caught:
        ConnectionManager().send_failing("a")
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].filename == __file__
    assert frames[-1].line == "raise KeyError(user_id)"
    (ours,) = [frame for frame in frames if "ws_audit" in frame.filename]
    assert ours.line == "result = function(*args, **kwargs)"
    assert "test" not in ours.filename


def test_who_looks_one_frame_up_finds_ours_in_their_own_module() -> None:
    """The one thing a wrapper cannot hide; it names their module, and has a line to show."""
    with patched():
        (_, line), (caller, _) = ConnectionManager().send_looking("a")
    assert (line, caller) == ("result = function(*args, **kwargs)", __name__)


def test_wrappers_need_no_name_of_the_module_they_run_in() -> None:
    """They run with the application's globals, where any name may mean anything."""
    import dis

    with patched():
        for name in ("send", "notify", "send_stream", "broadcast_stream", "__init__"):
            wrapper = ConnectionManager.__dict__[name]
            assert hasattr(wrapper, "__wrapped__"), name
            assert wrapper.__globals__ is globals()
            named = {
                step.argval
                for step in dis.get_instructions(wrapper)
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            }
            assert named == set(), name


@pytest.mark.parametrize("removed_inside", [True, False])
def test_a_mock_over_a_hooked_method_survives_and_leaves_the_agents_going(
    removed_inside: bool,
) -> None:
    desk = ConnectionManager()
    with patched() as audited:
        original = ConnectionManager.__dict__["send"].__wrapped__
        with unittest.mock.patch.object(ConnectionManager, "send", return_value=1):
            if removed_inside:
                audited.remove()
            assert desk.send("a") == 1
        before = len(audited.runtime.intents._waiting)
        assert desk.send("a", {}) == (("base", "a", {}), ["nobody", "a"], False)
        seen = len(audited.runtime.intents._waiting) - before
        if removed_inside:
            # The mock put back what it had found: our wrapper, which is a plain call now.
            assert seen == 0
            ConnectionManager.send = original  # type: ignore[method-assign]
        else:
            assert seen == 1
            audited.remove()
            assert ConnectionManager.__dict__["send"] is original


def test_what_a_wrapper_cannot_hide() -> None:
    """Its own code, to those who read that instead of the signature: as with any decorator."""
    desk = ConnectionManager()
    without = inspect.getfullargspec(desk.send)
    with patched():
        now = inspect.getfullargspec(desk.send)
        code = ConnectionManager.__dict__["send"].__code__
    assert (without.args, now.args) == (["self", "user_id", "message"], [])
    assert (now.varargs, now.varkw) == ("args", "kwargs")
    assert code.co_varnames[: code.co_argcount] == ()


def test_wrong_arguments_are_an_error_once_it_is_awaited_or_iterated() -> None:
    """Without the agent they are one already at the call: that much a wrapper changes."""
    desk: Any = ConnectionManager()
    for name in ("notify", "send_stream", "broadcast_stream"):
        with pytest.raises(TypeError):
            getattr(desk, name)(nobody=1)
    with patched():
        begun = desk.notify(nobody=1)
        with pytest.raises(TypeError, match="notify"):
            begun.send(None)
        with pytest.raises(TypeError, match="send_stream"):
            next(desk.send_stream(nobody=1))
        with pytest.raises(TypeError, match="broadcast_stream"):
            anext(desk.broadcast_stream(nobody=1)).send(None)


@pytest.mark.parametrize("call", [0, 1, 2], ids=["coroutine", "generator", "async generator"])
def test_a_call_with_wrong_arguments_is_over(call: int) -> None:
    """What came after it would be taken for a part of it, and not be counted."""
    desk: Any = ConnectionManager()
    with patched() as audited:
        with pytest.raises(TypeError):
            (
                lambda: desk.notify(nobody=1).send(None),
                lambda: next(desk.send_stream(nobody=1)),
                lambda: anext(desk.broadcast_stream(nobody=1)).send(None),
            )[call]()
        desk.send("a", {})
        assert len(audited.runtime.intents._waiting) == 1
