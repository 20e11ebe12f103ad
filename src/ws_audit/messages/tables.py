# SPDX-License-Identifier: Apache-2.0
"""Bounded tables: payloads waiting to be delivered, and the instances alive.

Why it exists: a payload put into a queue is the only thread between the call that named its
recipient and the frame that leaves later. And a per-user object says whom it was built for.

They must never grow without bound, never keep an application object alive longer than
stated, and never guess: what is ambiguous joins nothing.
"""

from __future__ import annotations

import weakref
from collections import deque
from itertools import count
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.principals.identity import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.model import Evidence

    from .intents import Frame, Intent

_TURNS: Final = 20  # entries that are passed over, because they were looked at since

# Types that take no weak reference: their identity is safe only while we hold them.
_HELD: Final = (dict, list, str, bytes, tuple)


# (the object or a weak reference to it, the hook call it passed or None when it is pending
# for two intents and joins neither, when it expires, its size, its number, what an object that
# is not ours to keep held when it came)
_Pending = tuple[object, "Frame | None", int, int, int, "dict[Any, Any] | None"]


class Waiting(NamedTuple):
    """A pending payload as others see it: the call it passed, until when, and what is in it."""

    frame: Frame | None
    until: int
    serial: int
    content: object


class PendingPayloads:
    """Payload object -> the hook call it passed; at most 10 s, 10,000 entries, 16 MiB."""

    SECONDS: Final = 10
    ENTRIES: Final = 10_000
    BYTES: Final = 16 * 1024 * 1024
    # A shorter text that is no JSON is likely a constant, "ping" say, that others send as well.
    SHORT: Final = 32

    def __init__(self) -> None:
        self._entries: dict[int, _Pending] = {}  # in order of insertion, so of expiry
        self._bytes = 0
        self._serials = count(1)
        # What has come since somebody looked: keys, of which some may be gone again.
        self.fresh: deque[int] = deque(maxlen=self.ENTRIES)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, payload: object, frame: Frame, now_ns: int) -> bool:
        """Expect `payload` to be delivered for the intent of `frame`; False if it can't be kept.

        A payload that passes several hooks of one intent stands for the innermost; one that
        passes hooks of the same intent side by side (a fan-out) for the intent as a whole.
        """
        key = id(payload)
        entry = self._entries.get(key)
        if entry is not None:
            if _is(entry[0], payload):
                self._entries[key] = (entry[0], _both(entry[1], frame), *entry[2:])
                return True
            self._drop(key)
        keep: object = payload
        size = 0
        state: dict[Any, Any] | None = None
        if type(payload) in _HELD:
            if isinstance(payload, (str, bytes)) and self._common(payload):
                return False
            size = getsizeof(payload)
            if size > self.BYTES:
                return False
        else:
            state = holds(payload)
            size = 0 if state is None else getsizeof(state)
            try:
                keep = weakref.ref(payload)
            except TypeError:
                if state is None:
                    return False
                keep = None  # known by what it holds, not by what it is
        self._bytes += size
        until = now_ns + self.SECONDS * 1_000_000_000
        self._entries[key] = (keep, frame, until, size, next(self._serials), state)
        self.fresh.append(key)
        while len(self._entries) > self.ENTRIES or self._bytes > self.BYTES:
            if not self._drop_oldest():
                break
        return True

    def find(self, payload: object) -> Frame | None:
        """Where the one intent saw the object that is pending for it."""
        entry = self._entries.get(id(payload))
        return entry[1] if entry is not None and _is(entry[0], payload) else None

    def entry(self, key: int) -> Waiting | None:
        """What is pending under the id of a payload."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        return Waiting(entry[1], entry[2], entry[4], entry[0] if entry[5] is None else entry[5])

    def remove(self, payload_id: int, intent: Intent) -> None:
        """Nothing more is expected of this payload (its event was delivered inside the call)."""
        entry = self._entries.get(payload_id)
        if entry is not None and entry[1] is not None and entry[1].intent is intent:
            self._drop(payload_id)

    def expire(self, now_ns: int) -> None:
        """Drop what is older than 10 s."""
        while self._entries:
            try:
                entry = self._entries[next(iter(self._entries))]
            except (RuntimeError, StopIteration, KeyError):  # another thread was at it: next time
                break
            if entry[2] > now_ns or not self._drop_oldest():
                break

    def clear(self) -> None:
        """Forget everything (after a fork)."""
        self._entries.clear()
        self._bytes = 0
        self.fresh.clear()

    def _common(self, text: str | bytes) -> bool:
        return len(text) < self.SHORT and text[:1] not in ("{", "[", b"{", b"[")

    def _drop_oldest(self) -> bool:
        try:
            self._drop(next(iter(self._entries)))
        except (RuntimeError, StopIteration):
            return False
        return True

    def _drop(self, key: int) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[3]


def _is(keep: object, payload: object) -> bool:
    return keep is payload or (type(keep) is weakref.ref and keep() is payload)


def _both(known: Frame | None, frame: Frame) -> Frame | None:
    """What a payload stands for that has passed both hook calls."""
    if known is None or known is frame or frame.inside(known):
        return None if known is None else frame
    return known.root if known.intent is frame.intent else None


NEW, KNOWN, UNFOLLOWED = "new", "known", "unfollowed"


class Instance:
    """What is known of one live manager instance.

    `manager` is its class's label and `owner` whom it was built for. `made` counts up with
    every constructor that returned, 0 for an instance only seen later; `handed` is the last
    user a factory gave it to.
    """

    __slots__ = ("handed", "made", "manager", "owner", "ref", "shared")

    def __init__(self, manager: str, owner: Evidence | None, ref: Any = None) -> None:
        self.manager = manager
        self.owner = owner
        self.ref = ref
        self.made = 0
        self.handed: Evidence | None = None
        self.shared = False  # handed out for two users: said once


class Instances:
    """Live instances of patched classes, weakly, with their owners."""

    ENTRIES: Final = 200_000

    def __init__(self, gone: Callable[[str], None]) -> None:
        self._known: dict[int, Instance] = {}
        self._inherited: dict[int, Instance] = {}  # of the parent's, not seen here yet
        self._gone = gone
        self.made = 0  # instances whose constructor has returned; a lost update does no harm
        # Those of one user, to be looked at in the drain: the newest, if it does not keep up.
        self.owned: deque[Instance] = deque(maxlen=1_024)

    def find(self, instance: object) -> Instance | None:
        """The entry of this very object."""
        known = self._known.get(id(instance))
        if known is not None and known.ref is not None and known.ref() is not instance:
            return None
        return known

    def add(self, instance: object, manager: str, owner: Evidence | None) -> tuple[str, Instance]:
        """Remember an instance: NEW, KNOWN, or UNFOLLOWED where it takes no weak reference."""
        key = id(instance)
        known = self.find(instance)
        if known is not None:
            if known.owner is None and owner is not None and not known.shared:
                known.owner = owner
                self.owned.append(known)
            return KNOWN, known
        inherited = self._inherited.pop(key, None)
        if inherited is not None and inherited.ref() is instance:
            return self._first(key, inherited, instance)
        entry = Instance(manager, owner)
        if len(self._known) >= self.ENTRIES:
            return UNFOLLOWED, entry
        try:

            def forget(_: object, key: int = key, manager: str = manager) -> None:
                # Runs inside the garbage collector: only atomic steps, and nobody to raise to.
                try:
                    if self._known.pop(key, None) is not None:
                        self._gone(manager)
                    else:
                        self._inherited.pop(key, None)
                except Exception:
                    pass

            entry.ref = weakref.ref(instance, forget)
        except TypeError:
            return UNFOLLOWED, entry  # __slots__ without __weakref__: counted, not followed
        return self._first(key, entry, instance)

    def _first(self, key: int, entry: Instance, instance: object) -> tuple[str, Instance]:
        # Threads may see one instance for the first time at once: it is new to one of them.
        first = self._known.setdefault(key, entry)
        if first is not entry and first.ref() is instance:
            return KNOWN, first
        self._known[key] = entry
        if entry.owner is not None:
            self.owned.append(entry)
        return NEW, entry

    def live(self) -> list[object]:
        """The instances followed, as they are now."""
        entries = [*self._known.values(), *self._inherited.values()]
        found = [entry.ref() for entry in entries if entry.ref is not None]
        return [instance for instance in found if instance is not None]

    def entries(self) -> list[Instance]:
        """What is known of each instance followed; some of them may just have gone."""
        return list(self._known.values())

    def some(self, number: int) -> list[object]:
        """At most so many of them, the oldest first: module-level ones are among these."""
        found = (entry.ref() for entry in list(self._known.values())[:number] if entry.ref)
        return [instance for instance in found if instance is not None]

    def forget(self) -> None:
        """After a fork: the child counts an instance when it sees it, and knows its owner then."""
        self._inherited = {**self._inherited, **self._known}
        self._known = {}
        self.owned.clear()


def push_out(table: dict[tuple[str, str], Any], gone: dict[int, None], most: int) -> str:
    """Make room: of the oldest, the first that was not looked at since its last turn; its id."""
    try:
        for _ in range(_TURNS):
            key = next(iter(table))
            entry = table.pop(key)
            if not entry.used:
                break
            entry.used = False
            table[key] = entry
        else:
            key = next(iter(table))
            table.pop(key)
    except (RuntimeError, StopIteration, KeyError):  # another thread is at it
        return ""
    remember(gone, key, most)
    return key[1]


def remember(gone: dict[int, None], key: tuple[str, str], most: int) -> None:
    gone[hash(key)] = None
    if len(gone) > most:
        try:
            gone.pop(next(iter(gone)), None)
        except (RuntimeError, StopIteration):
            pass
