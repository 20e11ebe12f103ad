# SPDX-License-Identifier: Apache-2.0
"""Which mutable objects two users' instances both reach, and whether they change.

Why it exists: a class attribute that should have been the instance's, a mutable default, one
state object handed to two people: no message of it is wrong until somebody reads it.

It must never keep an application object (instances are held weakly, what they share is found
anew by its path at each look), run application code, or take longer than a slice. Whatever an
application shares on purpose is none of its business: docs/decisions.md says what that is.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import CONSTRUCT, HYGIENE, PROBABLE, STRONG, Call, Delivery, Evidence
from ws_audit.principals.identity import DIFFERENT, compare
from ws_audit.schema import EVENT_RULES

from .graph import CLASS, DEFAULT, Path, Reader, class_name, line_of, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.messages.tables import Instance, Instances

SLICE_NS: Final = 200_000
_AGAIN_NS: Final = (3_000_000_000, 30_000_000_000)  # what is attached later is found then
_WAITING: Final = 1_024
_TRIES: Final = 3
_INDEX: Final = 5_000
_WATCHES: Final = 128
_MEMBERS: Final = 8
_USERS: Final = 10_000
_TOLD: Final = 1_000
_ACTIVE: Final = 100


class Watch:
    """One shared object: by which way each user's instance reaches it, and what changed it."""

    __slots__ = ("changed", "key", "mark", "members", "others", "quiet", "severity", "users")

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key  # (class, path): what is told of it
        self.members: list[tuple[Instance, Path]] = []
        self.mark: tuple[int, int] | None = None  # its id and fingerprint at the last look
        self.changed = False  # in the second before the last look
        self.users: dict[str, None] = {}  # those who changed it while nobody else was active
        self.quiet = self.others = False  # nobody was active, and it did not change, or did
        self.severity = ""  # as told


class Search:
    """An output of the drain (it learns who is active), and steps for when there is time."""

    def __init__(
        self,
        instances: Instances,
        reader: Reader,
        report: Callable[[Evidence, Evidence, str, str, str], None],
    ) -> None:
        self._instances = instances
        self._reader = reader
        self._report = report  # one owner, the other, severity, the manager's label, the site
        self.forget()

    def forget(self) -> None:
        """After a fork: the instances are found again when the child sees them."""
        self._waiting: deque[tuple[Instance, int]] = deque(maxlen=_WAITING)  # and which try it is
        self._again: list[tuple[int, deque[tuple[int, Instance]]]] = [
            (later, deque(maxlen=_WAITING)) for later in _AGAIN_NS
        ]
        self._index: OrderedDict[int, tuple[Instance, Path]] = OrderedDict()
        self._watches: OrderedDict[int, Watch] = OrderedDict()
        self._due: deque[int] = deque()
        self._active: set[str] = set()
        # Who was active in the second that ended with the last tick, and in the one before.
        self._before: set[str] = set()
        self._earlier: set[str] = set()
        self._told: dict[tuple[str, str], str] = {}
        self._reader.users.clear()

    # -- who is active ---------------------------------------------------------------------------

    def fold(self, record: Any) -> None:
        """Whoever a message was for, or from, was active in this second."""
        if not self._watches or len(self._active) >= _ACTIVE:
            return
        if type(record) is Delivery and record.verdict.rule in EVENT_RULES:
            return  # an event of ours, this search's own among them: nobody did anything
        if type(record) is Call or type(record) is Delivery:
            self._active.update(item.principal.user for item in record.evidence)

    def tick(self, now_ns: int) -> None:
        """A second is over: everything that is watched is looked at once more."""
        self._earlier, self._before, self._active = self._before, self._active, set()
        self._due = deque(self._watches)
        for _, again in self._again:
            while again and again[0][0] <= now_ns:
                self._waiting.append((again.popleft()[1], 1))

    # -- in slices --------------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._due or self._waiting or self._instances.owned)

    def step(self) -> None:
        """Work for a slice at most: of this thread's time, whatever else the machine does."""
        deadline = time.thread_time_ns() + SLICE_NS
        self._take()
        if not self._due:
            if self._waiting:
                self._walk(*self._waiting.popleft(), deadline)
            return
        while self._due and time.thread_time_ns() < deadline:
            key = self._due.popleft()
            watch = self._watches.get(key)
            if watch is not None and not self._look(watch):
                del self._watches[key]

    def _take(self) -> None:
        """Instances that were made since: to be looked at now and, in case, twice more."""
        now = time.time_ns()
        for _ in range(32):
            try:
                entry = self._instances.owned.popleft()
            except IndexError:
                return
            self._waiting.append((entry, 1))
            for later, again in self._again:
                again.append((now + later, entry))
            if entry.owner is not None and len(self._reader.users) < _USERS:
                self._reader.users.add(entry.owner.principal.user)

    def _walk(self, entry: Instance, number: int, deadline: int) -> None:
        root = _root(entry)
        if root is None:
            return
        found, complete = self._reader.walk(root, deadline)
        if not complete and number < _TRIES:  # the garbage collector may have taken the time
            self._waiting.append((entry, number + 1))
        for path, key in found:
            watch = self._watches.get(key)
            if watch is not None:
                if self._shared(watch.members[0], (entry, path)):
                    self._join(watch, entry, path)
                    continue
                del self._watches[key]  # gone, and its number given to another object
            other = self._index.pop(key, None)
            mine = (entry, path)
            if other is not None and _differ(other[0], entry) and self._shared(other, mine):
                self._watch(key, other, mine)
            self._index[key] = (entry, path)
        while len(self._index) > _INDEX:
            self._index.popitem(last=False)

    def _shared(self, one: tuple[Instance, Path], two: tuple[Instance, Path]) -> bool:
        """Whether two instances do reach one object, and not by way of a common service."""
        first, second = self._ways(one), self._ways(two)
        if not first or not second or first[-1] is not second[-1]:
            return False
        return not self._reader.by_design(first, second)

    def _ways(self, member: tuple[Instance, Path]) -> list[object]:
        root = _root(member[0])
        return [] if root is None else self._reader.follow(root, member[1])

    def _watch(self, key: int, one: tuple[Instance, Path], two: tuple[Instance, Path]) -> None:
        watch = Watch(_named(one))
        watch.severity = self._told.get(watch.key, "")
        if watch.severity == PROBABLE:
            return
        watch.members = [one, two]
        self._watches[key] = watch
        self._look(watch)
        while len(self._watches) > _WATCHES:
            self._watches.popitem(last=False)

    @staticmethod
    def _join(watch: Watch, entry: Instance, path: Path) -> None:
        known = any(one is entry for one, _ in watch.members)
        if not known and len(watch.members) < _MEMBERS:
            watch.members.append((entry, path))

    # -- looking ------------------------------------------------------------------------------

    def _look(self, watch: Watch) -> bool:
        """Whether it is shared still; tells of it when it has changed since the last look."""
        members, found = [], None
        for member in watch.members:
            way = self._ways(member)
            if way and (found is None or way[-1] is found):
                found = way[-1]
                members.append(member)
        if found is None or not any(_differ(members[0][0], one) for one, _ in members):
            return False
        watch.members = members
        mark = (id(found), self._reader.fingerprint(found))
        del found
        before, watch.mark = watch.mark, mark
        if before is None or before[0] != mark[0]:
            watch.changed = False
            return True
        self._attribute(watch, mark != before)
        if mark != before and not watch.severity:
            other = next(one for one, _ in members if _differ(members[0][0], one))
            self._tell(watch, HYGIENE, members[0], (other, members[0][1]))
        return not self._by_both(watch)  # else there is nothing more to say of it

    def _attribute(self, watch: Watch, changed: bool) -> None:
        """Who was the only one active around the change before this look's.

        A record may be a moment late, so a change is judged one look later, by both seconds.
        """
        active = self._earlier | self._before
        if watch.changed:
            if len(active) == 1:
                watch.users[next(iter(active))] = None
            elif not active:
                watch.others = True  # something else changes it
        elif not active and not changed:
            watch.quiet = True
        watch.changed = changed

    def _by_both(self, watch: Watch) -> bool:
        """Two users changed it, each while alone; and when nobody did anything it kept still.

        Only of what the language shares by accident: an object that was handed to two
        instances may have been meant for both.
        """
        if not watch.quiet or watch.others or watch.members[0][1][-1].sort not in (CLASS, DEFAULT):
            return False
        found = [one for one in watch.members if _user(one[0]) in watch.users]
        for other in found[1:]:
            if _differ(found[0][0], other[0]):
                self._tell(watch, PROBABLE, found[0], other)
                return True
        return False

    def _tell(
        self, watch: Watch, severity: str, one: tuple[Instance, Path], two: tuple[Instance, Path]
    ) -> None:
        first, second = one[0].owner, two[0].owner
        watch.severity = severity
        if first is None or second is None or self._told.get(watch.key) in (severity, PROBABLE):
            return
        if len(self._told) < _TOLD or watch.key in self._told:
            self._told[watch.key] = severity
        cls, path = watch.key
        site = f"{cls}.{path}:{line_of(type(_root(one[0])), cls)}"
        self._report(
            _evidence(first, path), _evidence(second, path), severity, one[0].manager, site
        )


def _root(entry: Instance) -> Any:
    return None if entry.ref is None or entry.owner is None else entry.ref()


def _named(member: tuple[Instance, Path]) -> tuple[str, str]:
    """The class whose attribute it is, and the path from there: all that is told of it."""
    entry, path = member
    for number in range(len(path) - 1, -1, -1):
        step = path[number]
        if step.sort in (CLASS, DEFAULT):
            cls = step.within.rpartition(".")[0] if step.sort == DEFAULT else step.within
            return cls, told(path[number:])
    return class_name(type(_root(entry))), told(path)


def _user(entry: Instance) -> str:
    return "" if entry.owner is None else entry.owner.principal.user


def _differ(one: Instance, other: Instance) -> bool:
    first, second = one.owner, other.owner
    if first is None or second is None:
        return False
    return compare(first.principal, second.principal) == DIFFERENT


def _evidence(owner: Evidence, path: str) -> Evidence:
    return Evidence("instance", owner.principal, CONSTRUCT, path, STRONG)
