# SPDX-License-Identifier: Apache-2.0
"""Guarded before, bare application call, guarded after: the one place with this shape.

Why it exists: the classic bug of agents is to await the application inside their own `try`
and to call it a second time, or swallow its error, when something of theirs fails. Here the
application's call stands alone; what surrounds it is ours and may fail without a trace in
the application's results, exceptions, order or cancellation.

It must never catch an exception of the application without raising it again, call the
application twice, or let an error of the agent out; `IsolationViolation`, with which mode `block`
refuses a delivery before the application's call, is the one thing that may get out. A test of the
syntax tree finds this shape nowhere else.
"""

from __future__ import annotations

import functools
import linecache
import sys
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import CodeType, CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from .steps import delivered, over, pause, refused, rests, resume

if TYPE_CHECKING:
    from .meter import Meter
    from .terms import (
        Application,
        Failed,
        Hook,
        Message,
        Receive,
        Resting,
        Scope,
        Send,
        Switch,
        Traffic,
    )

_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200
_UNSEEN = "<ws_audit/hooks/guard.py, passed over like importlib._bootstrap>"
# Where an error of a step of ours is caught: in here, under either name, or among the steps.
FILES: Final = frozenset({_UNSEEN, __file__, over.__code__.co_filename})


def wrappable(function: object) -> bool:
    """Whether `around` can take it: anything written as `def` or `async def`."""
    return isinstance(getattr(function, "__code__", None), CodeType)


def around(function: FunctionType, hook: Hook, switch: Switch, failed: Failed) -> FunctionType:
    """A function that does what `function` does, with `hook` around it.

    It is a true function (a coroutine function if the original is one), so that pickling,
    `WeakMethod`, `inspect.signature` and `iscoroutinefunction` see what they saw before.
    """
    flags = function.__code__.co_flags
    make = (
        _coroutine
        if flags & _CO_COROUTINE
        else _generator
        if flags & _CO_GENERATOR
        else _async_generator
        if flags & _CO_ASYNC_GENERATOR
        else _call
    )
    made = make(function, hook, switch, failed)
    wrapper = FunctionType(
        unseen(made.__code__), function.__globals__, made.__name__, None, made.__closure__
    )
    # To be read by others only: the wrapper passes on what it gets.
    wrapper.__defaults__, wrapper.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return cast("FunctionType", functools.update_wrapper(wrapper, function))


@functools.cache
def unseen(code: CodeType) -> CodeType:
    """The code with a name that `warnings` and `logging` pass over when they look for a caller.

    They leave out whatever says that it is of the import system's bootstrap; Python 3.10's
    `logging` does not. No path stands there, so no word in it either. The source is where
    tracebacks and `inspect` look for it.
    """
    if _UNSEEN not in linecache.cache:
        source = linecache.getlines(__file__)
        linecache.cache[_UNSEEN] = len("".join(source)), None, source, _UNSEEN
    return code.replace(co_filename=_UNSEEN)


def _unless_closed(error: BaseException) -> BaseException | None:
    """A generator nobody wants more of has not failed."""
    return None if type(error) is GeneratorExit else error


def _first(inner: AsyncGenerator[Any, Any]) -> Callable[[None], Awaitable[Any]]:
    return functools.partial(_begin, inner)


def _begin(inner: AsyncGenerator[Any, Any], _: None) -> Awaitable[Any]:
    """Begin the application's generator without telling the event loop of it.

    The loop knows ours, and closes what it knows when it ends: the same generator twice
    would be an error in its log.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return inner.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _rest(
    begun: CoroutineType[Any, Any, Any],
    hook: Resting,
    state: Any,
    failed: Failed,
    meter: Meter,
    timed: int,
) -> Coroutine[Any, Any, Any]:
    """The coroutine a plain function returned: the call is over when this one is."""

    async def rest() -> Any:
        resume(hook, state, failed)
        try:
            result = await begun
        except BaseException as error:
            over(hook.after, state, None, error, hook.stage, failed, meter, timed)
            raise
        over(hook.after, state, result, None, hook.stage, failed, meter, timed)
        return result

    rest.__code__ = unseen(rest.__code__)
    wrapper = cast("CoroutineType[Any, Any, Any]", rest())
    wrapper.__name__, wrapper.__qualname__ = begun.__name__, begun.__qualname__
    return wrapper


def _returned(result: Any, hook: Hook, state: Any, failed: Failed, meter: Meter, timed: int) -> Any:
    """What a plain function returned: the call is over, unless that is a coroutine."""
    if type(result) is CoroutineType and rests(hook):
        pause(hook, state, None, failed)
        return _rest(result, hook, state, failed, meter, timed)
    over(hook.after, state, result, None, hook.stage, failed, meter, timed)
    return result


# The wrappers below run in the module of the function they stand for, as `__globals__` says to
# those who resolve its annotations. So each name they need is a variable of their maker's, also
# the built-in ones, which that module may have given another meaning.


def _call(
    function: Any,
    hook: Hook,
    switch: Switch,
    failed: Failed,
    *,
    Exception: Any = Exception,  # noqa: A002, N803
    refused: Any = refused,
    BaseException: Any = BaseException,  # noqa: A002, N803
    over: Any = over,
    _returned: Any = _returned,
) -> Any:
    before, after, stage = hook.before, hook.after, hook.stage
    meter = switch.meter

    def call(*args: Any, **kwargs: Any) -> Any:
        state, timed = None, 0
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                state = before(args, kwargs)
            except Exception as fault:
                if refused(fault):
                    raise
                failed(stage, fault)
                begun = -begun
            if timed:
                meter.end(begun, before, timed)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            if state is not None:
                over(after, state, None, error, stage, failed, meter, timed)
            raise
        if state is not None:
            return _returned(result, hook, state, failed, meter, timed)
        return result

    return call


def _generator(
    function: Any,
    hook: Hook,
    switch: Switch,
    failed: Failed,
    *,
    Exception: Any = Exception,  # noqa: A002, N803
    refused: Any = refused,
    BaseException: Any = BaseException,  # noqa: A002, N803
    StopIteration: Any = StopIteration,  # noqa: A002, N803
    over: Any = over,
    _unless_closed: Any = _unless_closed,
    pause: Any = pause,
    resume: Any = resume,
) -> Any:
    """`yield from` in long hand (PEP 380): something happens at every yield."""
    before, after, stage = hook.before, hook.after, hook.stage
    meter = switch.meter

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        state = given = None
        timed = 0
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                state = before(args, kwargs)
            except Exception as fault:
                if refused(fault):
                    raise
                failed(stage, fault)
                begun = -begun
            if timed:
                meter.end(begun, before, timed)
        try:
            inner = function(*args, **kwargs)
        except BaseException as error:  # not with these arguments
            over(after, state, None, error, stage, failed, meter, timed)
            raise
        step = inner.send
        while True:
            try:
                value = step(given)
            except StopIteration as end:
                over(after, state, end.value, None, stage, failed, meter, timed)
                return end.value
            except BaseException as error:
                given = None  # else the error and this frame would hold each other
                over(after, state, None, _unless_closed(error), stage, failed, meter, timed)
                raise
            pause(hook, state, value, failed)
            try:
                given = yield value
                step = inner.send
            except BaseException as error:
                step, given = inner.throw, error
            resume(hook, state, failed)

    return call


def _async_generator(
    function: Any,
    hook: Hook,
    switch: Switch,
    failed: Failed,
    *,
    Exception: Any = Exception,  # noqa: A002, N803
    refused: Any = refused,
    BaseException: Any = BaseException,  # noqa: A002, N803
    StopAsyncIteration: Any = StopAsyncIteration,  # noqa: A002, N803
    over: Any = over,
    _unless_closed: Any = _unless_closed,
    pause: Any = pause,
    resume: Any = resume,
    _first: Any = _first,
) -> Any:
    """The same for what has no `yield from`."""
    before, after, stage = hook.before, hook.after, hook.stage
    meter = switch.meter

    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        state = given = None
        timed = 0
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                state = before(args, kwargs)
            except Exception as fault:
                if refused(fault):
                    raise
                failed(stage, fault)
                begun = -begun
            if timed:
                meter.end(begun, before, timed)
        try:
            inner = function(*args, **kwargs)
        except BaseException as error:  # not with these arguments
            over(after, state, None, error, stage, failed, meter, timed)
            raise
        step = _first(inner)
        while True:
            try:
                value = await step(given)
            except StopAsyncIteration:
                over(after, state, None, None, stage, failed, meter, timed)
                return
            except BaseException as error:
                given = None
                over(after, state, None, _unless_closed(error), stage, failed, meter, timed)
                raise
            pause(hook, state, value, failed)
            try:
                given = yield value
                step = inner.asend
            except BaseException as error:
                step, given = inner.athrow, error
            resume(hook, state, failed)

    return call


def _coroutine(
    function: Any,
    hook: Hook,
    switch: Switch,
    failed: Failed,
    *,
    Exception: Any = Exception,  # noqa: A002, N803
    refused: Any = refused,
    BaseException: Any = BaseException,  # noqa: A002, N803
    over: Any = over,
) -> Any:
    before, after, stage = hook.before, hook.after, hook.stage
    meter = switch.meter

    async def call(*args: Any, **kwargs: Any) -> Any:
        state, timed = None, 0
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                state = before(args, kwargs)
            except Exception as fault:
                if refused(fault):
                    raise
                failed(stage, fault)
                begun = -begun
            if timed:
                meter.end(begun, before, timed)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            if state is not None:
                over(after, state, None, error, stage, failed, meter, timed)
            raise
        if state is not None:
            over(after, state, result, None, stage, failed, meter, timed)
        return result

    return call


def asgi(
    application: Application,
    open_connection: Callable[[Scope], Traffic[Any] | None],
    switch: Switch,
    failed: Failed,
) -> Application:
    """An ASGI application that does what `application` does, its messages seen on both sides.

    `open_connection` returns the traffic of a new connection, or None to let it pass unseen.
    """

    meter = switch.meter

    async def application_call(scope: Scope, receive: Receive, send: Send) -> None:
        traffic = None
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                traffic = open_connection(scope)
            except Exception as fault:
                failed("sink", fault)
                begun = -begun
            if timed:
                meter.end(begun, open_connection, timed)
        if traffic is None:
            await application(scope, receive, send)
            return
        try:
            await application(
                scope,
                _receiving(receive, traffic, switch, failed) if traffic.hears else receive,
                _sending(send, traffic, switch, failed),
            )
        finally:
            try:
                traffic.closed()
            except Exception as fault:
                failed("sink", fault)

    return application_call


def _sending(send: Send, traffic: Traffic[Any], switch: Switch, failed: Failed) -> Send:
    meter = switch.meter

    async def send_message(message: Message) -> None:
        state, timed = None, 0
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                state = traffic.outbound(message)
            except Exception as fault:
                if refused(fault):
                    raise
                failed("sink", fault)
                begun = -begun
            if timed:
                meter.end(begun, getattr(traffic, "outbound", None), timed)
        try:
            await send(message)
        except BaseException as error:
            if state is not None:
                delivered(traffic, state, error, failed, meter, timed)
            raise
        if state is not None:
            delivered(traffic, state, None, failed, meter, timed)

    return send_message


def _receiving(receive: Receive, traffic: Traffic[Any], switch: Switch, failed: Failed) -> Receive:
    meter = switch.meter

    async def receive_message() -> Message:
        message = await receive()
        if switch.on:
            meter.left -= 1
            timed = 0 if meter.left > 0 else meter.every
            begun = meter.begin() if timed else 0
            try:
                traffic.inbound(message)
            except Exception as fault:
                failed("sink", fault)
                begun = -begun
            if timed:
                meter.end(begun, getattr(traffic, "inbound", None), timed)
        return message

    return receive_message


Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Rewrite = Callable[[tuple[Any, ...], dict[str, Any]], Arguments]


def rewriting(
    function: FunctionType, rewrite: Rewrite, switch: Switch, failed: Failed
) -> FunctionType:
    """A server's function, called with what `rewrite` makes of its arguments.

    For those few that get the application as an argument and keep it out of reach.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        if switch.on:
            try:
                args, kwargs = rewrite(args, kwargs)
            except Exception as fault:
                failed("sink", fault)
        return function(*args, **kwargs)

    wrapper: Any = functools.wraps(function)(call)
    return cast("FunctionType", wrapper)


def asked(
    declared: Callable[..., Any], failed: Callable[[BaseException], None]
) -> Callable[..., Any]:
    """A function the settings name, for the agent to call: after an error its answer is None.

    What a signal's handler raises while it runs is not its error and goes on.
    """

    def ask(*args: Any) -> Any:
        try:
            return declared(*args)
        except (Exception, CancelledError) as fault:
            failed(fault)
            return None

    return ask
