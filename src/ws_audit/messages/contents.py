# SPDX-License-Identifier: Apache-2.0
"""Which call a message belongs to by what it says: for queues whose items become new text.

Why it exists: a hub puts `{"id": n, **message}` into a queue, its dispatcher makes JSON of that
and a writer sends the text. No object and no variable of the call gets that far; what the caller
said does.

It must never guess: what several calls said to different people joins none of them, and a
message is held against somebody else's call only if nobody else is likely to have said the same.
It must never keep a payload's text: hashes are the index, and the payload itself is the table's
of pending ones. It runs no application code.
"""

from __future__ import annotations

from _thread import RLock
from collections import deque
from itertools import islice
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.model import BROADCAST
from ws_audit.principals.identity import DIFFERENT, SAME, agree

from .likeness import marks_of, message_of, parts_of, places_in, texts_of, weight_of

if TYPE_CHECKING:
    from ws_audit.model import Evidence, Principal

    from .intents import Frame
    from .tables import PendingPayloads

_LONG: Final = 24  # a text without a digit that is shorter may well be one of few
_CANDIDATES: Final = 8  # other people's calls that are looked at for one text
_NEWEST: Final = 4  # of one person's that said the same
_LOOKED_AT: Final = 1_024  # pending payloads that one message brings into the index
_INDEXED: Final = 256
_MANY: Final = ("",)  # said to more than one person
_MET: Final = 20_000
_WHOM: Final = ("argument", "instance")


class _Item(NamedTuple):
    """What stands in the index: which pending payload, and which part of it."""

    key: int
    serial: int
    part: str  # "": all of it
    decoded: object  # of a payload that is text


class _Fit(NamedTuple):
    """A call that may have said what a message says."""

    weight: int
    frame: Frame
    marks: tuple[str, ...]


class Contents:
    """Finds calls by content among the pending payloads, indexed when first needed."""

    ENTRIES: Final = 10_000

    def __init__(self, pending: PendingPayloads) -> None:
        self._pending = pending
        # Hash of a text -> by whom it is for -> the newest payloads that have it.
        self._index: dict[int, dict[str, deque[_Item]]] = {}
        self._order: deque[tuple[int, int, str, int]] = deque()  # (until, hash, for whom, serial)
        # Hash of a text -> all names of the one it was for lately, or _MANY.
        self._met: dict[int, tuple[str, ...]] = {}
        self._lock = RLock()  # several threads may each run an event loop

    def __len__(self) -> int:
        return len(self._order)

    def find(
        self,
        content: object,
        connection: Evidence | None,
        opened_ns: int,
        task: int,
        joined: Frame | None,
        owner: Principal | None = None,
    ) -> Frame | None:
        """The hook call whose payload a message contains, if that is plain.

        `connection` is whose it goes to and `opened_ns` since when that is open, `task` the one
        that sends. `joined` is the call it is known to belong to, if that says of nobody whose
        it is: it may be the last of a chain, whose first one did. `owner` is whom the message
        names itself: then a call for somebody must have named them as well, or the message was
        made elsewhere of the same words.
        """
        if (not self._order and not self._pending.fresh) or (joined is not None and _tells(joined)):
            return None
        message = message_of(content)
        if message is None:
            return None
        with self._lock:
            self._bring_in()
            if not self._order:
                return None
            fits = self._fits(message, connection)
        telling = [fit for fit in fits if _tells(fit.frame)]
        fits = telling if telling or joined is not None else fits
        if owner is not None:
            fits = [fit for fit in fits if _for_all(fit.frame) or owner in _owners(fit.frame)]
        if not fits:
            return None
        best = max(fit.weight for fit in fits)
        fits = [fit for fit in fits if fit.weight == best]
        return self._decide(fits, connection, opened_ns, task)

    def expire(self, now_ns: int) -> None:
        """Forget what is older than 10 s."""
        with self._lock:
            while self._order and self._order[0][0] <= now_ns:
                self._drop_oldest()

    def forget(self) -> None:
        """After a fork: what the parent was about to deliver is the parent's."""
        self._lock = RLock()
        self._index.clear()
        self._order.clear()
        self._met.clear()

    # -- the index ------------------------------------------------------------------------------

    def _bring_in(self) -> None:
        """Index what has become pending since the last look, the oldest first."""
        fresh = self._pending.fresh
        looked_at = indexed = 0
        while fresh and looked_at < _LOOKED_AT and indexed < _INDEXED:
            looked_at += 1
            key = fresh.popleft()
            entry = self._pending.entry(key)
            if entry is None or entry.frame is None:
                continue
            indexed += 1
            try:
                parts = list(parts_of(entry.content))
            except RuntimeError:  # another thread is changing it
                continue
            for part, decoded, marks in parts:
                item = _Item(key, entry.serial, part, decoded)
                self._put(item, marks, entry.frame, entry.until)

    def _put(self, item: _Item, marks: list[str], frame: Frame, until: int) -> None:
        # A call may name by an address whom the call around it was built for by an id.
        users = tuple(one.user for one in _addressed(frame)) or ("*",)
        user = users[0]
        # One that says nothing of whom it is for may be the next link of the same chain.
        for mark in marks if _tells(frame) else ():
            number = hash(mark)
            if set(self._met.setdefault(number, users)).isdisjoint(users):
                self._met[number] = _MANY
        while len(self._met) > _MET:
            del self._met[next(iter(self._met))]
        number = hash(max(marks, key=len))
        of_all = self._index.setdefault(number, {})
        known = of_all.pop(user, None)  # so that it is the newest
        if known is None:
            known = deque(maxlen=_NEWEST)
        known.append(item)
        of_all[user] = known
        self._order.append((until, number, user, item.serial))
        if len(self._order) > self.ENTRIES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, number, user, serial = self._order.popleft()
        of_all = self._index.get(number)
        items = None if of_all is None else of_all.get(user)
        if of_all is None or items is None:
            return
        while items and items[0].serial <= serial:
            items.popleft()
        if not items:
            del of_all[user]
            if not of_all:
                del self._index[number]

    # -- what fits -------------------------------------------------------------------------------

    def _fits(self, message: dict[Any, Any] | list[Any], connection: Evidence | None) -> list[_Fit]:
        """The calls that said what stands in a message."""
        names: list[str] = []
        if connection is not None:
            names = [who.user for who in (connection.principal, *connection.aliases)]
        fits: list[_Fit] = []
        places: list[dict[Any, Any]] = []
        now = 0
        for mark in dict.fromkeys(texts_of(message)):
            bucket = self._index.get(hash(mark))
            if bucket is None:
                continue
            if not now:
                places, now = places_in(message), time_ns()
            users = [name for name in names if name in bucket]
            others = (user for user in reversed(bucket) if user not in users)
            for user in (*islice(others, _CANDIDATES), *users):
                for item in bucket[user]:
                    fit = self._fit(item, places, now)
                    if fit is not None:
                        fits.append(fit)
        return fits

    def _fit(self, item: _Item, places: list[dict[Any, Any]], now_ns: int) -> _Fit | None:
        entry = self._pending.entry(item.key)
        if entry is None or entry.serial != item.serial or entry.until <= now_ns:
            return None
        frame = entry.frame
        # What joined otherwise is accounted for.
        if frame is None or (frame.intent.deliveries and not frame.intent.by_content):
            return None
        content = entry.content if item.decoded is None else item.decoded
        try:
            weight = weight_of(content, item.part, places)
            marks = tuple(marks_of(content, item.part)) if weight else ()
        except RuntimeError:  # another thread is changing it
            return None
        return _Fit(weight, frame, marks) if weight else None

    def _decide(
        self, fits: list[_Fit], connection: Evidence | None, opened_ns: int, task: int
    ) -> Frame | None:
        """The one that is meant: the recipient's own, else the only one there is."""
        if connection is not None:
            for fit in reversed(fits):
                who = _addressed(fit.frame)
                if who and all(agree(connection, one) == SAME for one in who):
                    return fit.frame
        frame, marks = fits[-1].frame, fits[-1].marks
        if any(_spoken_to(fit.frame) != _spoken_to(frame) for fit in fits):
            # A fan-out: the calls side by side in it stand for the whole.
            if any(fit.frame.intent is not frame.intent for fit in fits):
                return None
            frame = frame.root
        if connection is None or not any(
            agree(connection, one) == DIFFERENT for one in _addressed(frame)
        ):
            return frame
        # Who writes in the caller's own task answers with it, or quotes.
        if frame.intent.task == task or not self._surely(frame, marks, connection, opened_ns):
            return None
        return frame

    def _surely(
        self, frame: Frame, marks: tuple[str, ...], connection: Evidence, opened_ns: int
    ) -> bool:
        """Whether it is this call's message although it goes to somebody else."""
        intent = frame.intent
        if opened_ns > intent.started_ns:
            return False  # in no queue at that time: read from a store, or a list of the last ones
        serving = intent.behalf
        caller = None if serving is None else serving.who or serving.cell.held
        if caller is not None and agree(connection, caller.principal) == SAME:
            return False  # what somebody wrote comes back to them
        written = intent.site[1].co_consts
        return any(
            (len(mark) >= _LONG or any(map(str.isdigit, mark)))
            and mark not in written
            and self._met.get(hash(mark)) != _MANY
            for mark in marks
        )


def _addressed(frame: Frame) -> list[Principal]:
    """Whom a call and those around it name."""
    found = []
    step: Frame | None = frame
    while step is not None:
        found += [one.principal for one in step.evidence if one.name in _WHOM]
        step = step.above
    return found


def _tells(frame: Frame) -> bool:
    """Whether a call says for whom its message is, be it for all or a room."""
    return _for_all(frame) or bool(_addressed(frame))


def _for_all(frame: Frame) -> bool:
    return frame.room or frame.intent.kind == BROADCAST


def _owners(frame: Frame) -> list[Principal]:
    """Whose the message is by the words a call and those around it gave it."""
    found = []
    step: Frame | None = frame
    while step is not None:
        found += [one.principal for one in step.evidence if one.name == "payload"]
        if step.soft is not None:
            found.append(step.soft.principal)
        step = step.above
    return found


def _spoken_to(frame: Frame) -> tuple[str, frozenset[Principal]]:
    return frame.intent.kind, frozenset(_addressed(frame))
