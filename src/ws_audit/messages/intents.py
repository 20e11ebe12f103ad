# SPDX-License-Identifier: Apache-2.0
"""One logical event: opened at the outermost manager hook, joined by its deliveries, settled.

Why it exists: real managers pass one event through up to five patched methods, child tasks
and queues. The intent is what they have in common; a delivery that joins it is judged with
everything the caller said.

It must never be inherited for ever: a writer task started inside the first send must not
carry that intent's evidence into other people's messages.
"""

from __future__ import annotations

import sys
from _thread import RLock
from asyncio import _get_running_loop, tasks
from collections import deque
from contextvars import ContextVar
from itertools import count
from random import Random
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Final

from ws_audit.model import (
    CANCELLED,
    ERROR,
    NONE,
    OK,
    RECORD_VERSION,
    REFUSED,
    UNDELIVERED,
    Call,
    Evidence,
)

from . import behalf
from .contents import Contents
from .sites import Site, caller, site_text
from .tables import PendingPayloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.model import Principal, Resource
    from ws_audit.tally import Tally

    from .behalf import Behalf

_WAIT_NS: Final = PendingPayloads.SECONDS * 1_000_000_000

_ids = count(1)
# Our own generator: the application may seed the global one. Reseeded after a fork.
_random = Random()  # noqa: S311  (ids, not secrets)
getrandbits = _random.getrandbits
_salt = [getrandbits(64), getrandbits(64)]
_64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Intent:
    """The state of one logical event while it is under way; becomes a `Call` record.

    Made on every send: what rarely changes is a class attribute until it does.
    """

    duration_ns = 0
    deliveries = 0
    by_payload = False  # a delivery came by its payload: more may, from other queues
    by_content = False  # by what is in it
    ended = False
    settled = False
    event = NONE
    named = ""  # the event's own name, where that may be no label
    refused = False  # a delivery of it, in mode block
    payloads: list[int] | None = None  # ids of the objects that are pending for it
    joined: set[int] | None = None  # other tasks whose delivery came by our variable
    parent: tuple[int, int, bool] = (0, 0, False)
    behalf: Behalf | None = None  # for whom the calling task runs
    dissents = 0  # deliveries that something spoke against; see addressing
    dissenter: Principal | None = None  # whose connection the last of these went to

    def __init__(self, kind: str, manager: str, function: str, site: Site) -> None:
        self.intent_id = next(_ids)
        self.kind = kind
        self.manager = manager
        self.function = function
        self.site = site
        self.task = task_id()
        self.started_ns = time_ns()
        self.started = perf_counter_ns()


class Frame:
    """One hook call inside an intent: what it adds holds for the deliveries made inside it."""

    soft: Evidence | None = None  # payload evidence that a room argument takes away
    # Arguments that policies name a room or resource by: (parameter, its value); "": the room's.
    named: tuple[tuple[str, object], ...] = ()
    room = False
    place = False  # the call names what several people may take part in, and nobody
    ended = False
    again = False  # a framework goes on with an event whose call may be over
    rested = False  # a generator, or a coroutine that came later
    over: Frame | None = None  # then: what was current when it went on
    # Who stood in parameters no rule knows, (path, who): seen now and then, see facts.
    offered: tuple[tuple[str, Principal], ...] = ()
    resources: tuple[Resource, ...] = ()  # what the message is about, as the call has it

    def __init__(self, intent: Intent, above: Frame | None) -> None:
        self.intent = intent
        self.above = above
        self.evidence: list[Evidence] = []
        if above is not None:
            if above.room:
                self.room = True
            if above.again:
                self.again = True

    @property
    def root(self) -> Frame:
        """The outermost hook call of this one's intent."""
        # Not kept: a frame that refers to itself is work for the garbage collector.
        frame = self
        while frame.above is not None:
            frame = frame.above
        return frame

    def inside(self, other: Frame) -> bool:
        """Whether this call was made inside `other`."""
        frame = self.above
        while frame is not None:
            if frame is other:
                return True
            frame = frame.above
        return False


# Our own variable: never read for who somebody is, only for which intent a delivery serves.
_current: ContextVar[Frame | None] = ContextVar("ws_audit_intent", default=None)
# Set around a framework's serialising send whose payload object is pending.
_carried: ContextVar[Frame | None] = ContextVar("ws_audit_carried", default=None)


if sys.version_info >= (3, 12):

    def task_id() -> int:
        """Identity of the running asyncio task, 0 outside of one."""
        try:
            return id(tasks.current_task())
        except RuntimeError:
            return 0

else:
    # There `current_task` is written in Python and takes four times as long.
    _tasks = vars(tasks)["_current_tasks"]

    def task_id() -> int:
        """Identity of the running asyncio task, 0 outside of one."""
        loop = _get_running_loop()
        return 0 if loop is None else id(_tasks.get(loop))


class Intents:
    """Opens, joins and settles the intents of the process."""

    def __init__(
        self,
        tally: Tally,
        record: Callable[[Call], None],
        waits: Callable[[], None],
    ) -> None:
        self.pending = PendingPayloads()
        self._contents = Contents(self.pending)
        self._tally = tally
        self._record = record
        self._waits = waits  # told that an intent waits: somebody must call expire()
        self._waiting: deque[tuple[int, Intent, list[Evidence]]] = deque()
        # An intent may be settled by its call, a delivery on another thread, or the drain.
        self._settling = RLock()
        # Set when an OpenTelemetry provider exists: () -> (trace id, span id, sampled).
        self.parent: Callable[[], tuple[int, int, bool]] | None = None
        self.blocking = False  # a delivery is no outcome yet when it joins: see judged()

    # -- the call -----------------------------------------------------------------------

    def enter(self, kind: str, manager: str, function: str, depth: int) -> Frame:
        """A hook call begins: a new intent if it is the outermost, else a frame inside it.

        `depth` is how many frames up the hook's caller stands.
        """
        above = _current.get()
        if above is not None and above.intent.ended and (above.ended or not above.again):
            above = None  # a task that outlived the call: whatever it sends now is its own
        if above is not None:
            frame = Frame(above.intent, above)
        else:
            intent = Intent(kind, manager, function, caller(depth + 1))
            if self.parent is not None:
                intent.parent = self.parent()
            serving = behalf.current()
            if serving is not None:
                intent.behalf = serving
            frame = Frame(intent, None)
        _current.set(frame)
        return frame

    def expect(self, frame: Frame, payload: object) -> None:
        """A payload object passed this hook: its delivery may come later, from a queue."""
        intent = frame.intent
        if self.pending.add(payload, frame, intent.started_ns):
            if intent.payloads is None:
                intent.payloads = [id(payload)]
            else:
                intent.payloads.append(id(payload))

    def pause(self, frame: Frame, value: object) -> None:
        """The hook call rests: what its caller does meanwhile is no part of it.

        Save that a value it yields is its payload, whoever delivers it.
        """
        self._uncover(frame)
        if value is not None:
            self.expect(frame, value)

    @staticmethod
    def resume(frame: Frame) -> None:
        """The hook call goes on, maybe in another task."""
        frame.rested = True
        frame.over = _current.get()
        _current.set(frame)

    @staticmethod
    def _uncover(frame: Frame) -> None:
        now = _current.get()
        if now is frame or (now is not None and now.inside(frame)):
            _current.set(frame.over if frame.rested else frame.above)
        # Else the coroutine is closed from elsewhere, by the collector in some other task.

    @staticmethod
    def again(known: Frame) -> Frame:
        """What a framework does from here to `leave` belongs to a call seen before."""
        frame = Frame(known.intent, known)
        frame.again = frame.rested = True
        frame.over = _current.get()
        known.intent.by_payload = True
        _current.set(frame)
        return frame

    @staticmethod
    def current() -> Frame | None:
        """The hook call under way in this context, if its intent is."""
        frame = _current.get()
        return None if frame is None or (frame.intent.ended and not frame.again) else frame

    def leave(self, frame: Frame, error: BaseException | None) -> None:
        """The hook call came back. At the outermost one the intent is settled if it can be."""
        self._uncover(frame)
        frame.ended = True
        intent = frame.intent
        if frame.above is not None:
            return
        intent.duration_ns = perf_counter_ns() - intent.started
        intent.ended = True
        if intent.refused:
            outcome = REFUSED  # whatever the application made of it
        elif error is not None:
            outcome = outcome_of(error)
        elif intent.deliveries:
            outcome = OK
        else:
            if len(self._waiting) >= PendingPayloads.ENTRIES:
                _, oldest, evidence = self._waiting.popleft()
                self._settle(oldest, evidence, UNDELIVERED)
            self._waiting.append((intent.started_ns + _WAIT_NS, intent, frame.evidence))
            self._waits()
            return
        self._settle(intent, frame.evidence, outcome)
        if intent.payloads is not None and not intent.by_payload:
            for payload in intent.payloads:
                self.pending.remove(payload, intent)

    # -- the delivery ---------------------------------------------------------------------

    def join(self, content: object, carrier: object = None) -> Frame | None:
        """The hook call a delivery belongs to: by its payload object, else by our variable.

        `carrier` is what the payload is wrapped in, if that may be the object that was passed.
        """
        frame = None
        if len(self.pending):
            frame = self.pending.find(content)
            if frame is None and carrier is not None:
                frame = self.pending.find(carrier)
        if frame is None:
            frame = _carried.get()
        inherited, task = _current.get(), 0
        if inherited is not None:
            task = task_id()
            inherited = self._by_variable(inherited, task)
        if frame is None:
            frame = inherited
            if frame is None:
                return None
        elif inherited is None or inherited.intent is not frame.intent or task != frame.intent.task:
            # Not if the call itself wrote it: then nobody waits, and it may be a constant
            # that others send as well.
            frame.intent.by_payload = True
        if inherited is not None and inherited is not frame and not inherited.ended:
            # One object for several people: the call under way says for whom this one is.
            frame = inherited if inherited.inside(frame) else frame
        return self._joins(frame)

    def alike(
        self,
        content: object,
        connection: Evidence | None,
        opened_ns: int,
        joined: Frame | None,
        owner: Principal | None = None,
    ) -> Frame | None:
        """The hook call of a delivery by what it says, if `joined` is silent; see contents."""
        frame = self._contents.find(content, connection, opened_ns, task_id(), joined, owner)
        if frame is None:
            return joined
        frame.intent.by_payload = frame.intent.by_content = True
        return self._joins(frame)

    def _joins(self, frame: Frame) -> Frame:
        intent = frame.intent
        intent.deliveries += 1
        if intent.ended and not intent.settled and not self.blocking:
            self._settle(intent, frame.root.evidence, OK)
        return frame

    def judged(self, frame: Frame) -> None:
        """In mode block: a delivery that joined is refused, or is about to go out."""
        intent = frame.intent
        if intent.ended and not intent.settled:
            self._settle(intent, frame.root.evidence, REFUSED if intent.refused else OK)

    @staticmethod
    def _by_variable(frame: Frame, task: int) -> Frame | None:
        """What the variable says of a delivery; of an ended call only to a task's first one."""
        intent = frame.intent
        if not frame.ended:
            if task != intent.task:
                if intent.joined is None:
                    intent.joined = {task}
                else:
                    intent.joined.add(task)
            return frame
        above = frame.above
        while above is not None and above.ended:
            above = above.above
        # What this task does next, or starts, is no part of that call any more.
        _current.set(above)
        return above if intent.joined is not None and task in intent.joined else frame

    # -- what a violation needs of it ----------------------------------------------------------

    def site(self, intent: Intent) -> str:
        """module:function:line of the outermost hook's caller."""
        return site_text(intent.site, intent.function)

    def ids(self, intent: Intent | None) -> tuple[int, int]:
        """(trace id, span id) a violation hangs below: its send's, or what is current."""
        if intent is None:
            parent = self.parent() if self.parent is not None else (0, 0, False)
            return parent[0] or getrandbits(128) or 1, parent[1]
        return send_ids(intent.intent_id, intent.parent[0])

    @staticmethod
    def new_span_id() -> int:
        """A random span id, never 0."""
        return getrandbits(64) or 1

    # -- settling ---------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        """Settle as undelivered what waited its 10 s (called by the drain)."""
        self.pending.expire(now_ns)
        self._contents.expire(now_ns)
        while self._waiting:
            try:
                waiting = self._waiting.popleft()
            except IndexError:  # a caller has made room meanwhile
                break
            until, intent, evidence = waiting
            if until > now_ns and not intent.settled:
                self._waiting.appendleft(waiting)
                break
            self._settle(intent, evidence, UNDELIVERED)

    def _settle(self, intent: Intent, evidence: list[Evidence], outcome: str) -> None:
        with self._settling:
            if intent.settled:
                return
            intent.settled = True
        self._tally.add(("sent", intent.manager, intent.event, outcome))
        parent = intent.parent
        self._record(
            tuple.__new__(
                Call,
                (
                    RECORD_VERSION,
                    intent.intent_id,
                    intent.started_ns,
                    intent.duration_ns,
                    intent.kind,
                    intent.manager,
                    intent.function,
                    intent.event,
                    site_text(intent.site, intent.function),
                    outcome,
                    intent.deliveries,
                    tuple(evidence),
                    parent[0],
                    parent[1],
                    parent[2],
                ),
            )
        )

    def forget(self) -> None:
        """After a fork: what the parent was about to deliver is the parent's."""
        self.pending.clear()
        self._contents.forget()
        self._waiting.clear()
        self._settling = RLock()
        _random.seed()
        _salt[:] = (getrandbits(64), getrandbits(64))
        _current.set(None)


def outcome_of(error: BaseException | None) -> str:
    """What came of a call or a delivery, by what it raised."""
    if error is None:
        return OK
    return CANCELLED if type(error).__name__ == "CancelledError" else ERROR


def send_ids(intent_id: int, parent_trace_id: int) -> tuple[int, int]:
    """(trace id, span id) of an intent's span: the same for everybody who names it, at any time.

    A violation may hang below a send that is recorded already, or never exported; the call
    itself has better things to do than to draw numbers few will ask for.
    """
    span_id = _mixed(_salt[0] + intent_id & _64) or 1
    trace_id = parent_trace_id or span_id << 64 | _mixed(_salt[1] + intent_id & _64)
    return trace_id, span_id


def _mixed(number: int) -> int:
    """64 bits that look random, different for different numbers (the finalizer of splitmix64)."""
    number = (number ^ number >> 30) * 0xBF58_476D_1CE4_E5B9 & _64
    number = (number ^ number >> 27) * 0x94D0_49BB_1331_11EB & _64
    return number ^ number >> 31


def carry(frame: Frame) -> object:
    """Let deliveries of this task join `frame` until `drop`; see starlette's send_json.

    None, and nothing to drop, where the variable says the same: the call itself sends.
    """
    if frame is _current.get() and not frame.ended and frame.intent.task == task_id():
        return None
    return _carried.set(frame)


def drop() -> None:
    """End of `carry`."""
    _carried.set(None)
