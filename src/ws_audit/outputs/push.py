# SPDX-License-Identifier: Apache-2.0
"""Incidents to a webhook and to OTLP as log events, within a second, at least once.

Why it exists: a scrape may come too late for a process that dies. What the process could
not push itself is pushed by the next one that starts on the same trace directory, unless
somebody has acknowledged it by then.

It must never run on the call path, let a slow receiver hold up anything else, or follow a
webhook to another address.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from ws_audit.process.forks import imports

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.incidents import Incident
    from ws_audit.tally import Tally

JOURNAL: Final = "pushed.jsonl"
_SURE_NS: Final = 1_000_000_000  # an answer that took longer says nothing of clocks


class Channel(Protocol):
    """One receiver of incidents; `send` returns whether it has taken this one."""

    name: str

    @property
    def ahead_s(self) -> float | None:
        """How far the receiver's clock is ahead of ours, if its last answer told."""

    def send(self, incident: dict[str, Any]) -> bool: ...
    def forget(self) -> None: ...


class Webhook:
    """POSTs an incident as JSON; any 2xx answer means taken."""

    name = "webhook"
    TIMEOUT: Final = 5.0

    def __init__(self, url: str) -> None:
        self._url = url
        self.ahead_s: float | None = None
        self.error = ""  # why the last one was not taken

    def send(self, incident: dict[str, Any]) -> bool:
        """True on 2xx. Redirects are refused: incidents go where the operator said."""
        with imports:
            from urllib import error, request

        class Stay(request.HTTPRedirectHandler):
            def redirect_request(self, *args: Any, **kwargs: Any) -> None:
                return None

        opener = request.build_opener(Stay())
        call = request.Request(  # noqa: S310  (the settings admit http and https only)
            self._url,
            json.dumps(incident).encode(),
            {"Content-Type": "application/json", "User-Agent": "ws-audit"},
        )
        self.ahead_s = None
        asked_ns = time.time_ns()
        try:
            with opener.open(call, timeout=self.TIMEOUT) as answer:
                self.error = f"HTTP {answer.status}"
                taken: bool = 200 <= answer.status < 300
                self.ahead_s = _ahead(answer.headers.get("Date"), asked_ns)
                return taken
        except error.HTTPError as answer:
            self.error = f"HTTP {answer.code}"
        except (error.URLError, OSError, ValueError) as fault:
            cause = getattr(fault, "reason", fault)  # of its texts only the system's: no URL
            self.error = getattr(cause, "strerror", "") or type(cause).__name__
        return False

    def forget(self) -> None:
        """After a fork: nothing is kept open between two calls."""


def _ahead(date: str | None, asked_ns: int) -> float | None:
    """How far the clock of who answered is ahead; None if that cannot be told within a second.

    The header has whole seconds, so what it says was so half a second ago.
    """
    answered_ns = time.time_ns()
    if date is None or not 0 <= answered_ns - asked_ns < _SURE_NS:
        return None
    with imports:
        from email.utils import parsedate_to_datetime
    try:
        theirs = parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return round(theirs - (asked_ns + answered_ns) / 2e9, 1)


class Push:
    """Brings incidents to the channels, each by a worker of its own.

    A collector that does not answer must not hold up the webhook. What a channel has taken is
    remembered in a journal.
    """

    LAST_SECONDS: Final = 3.0

    def __init__(
        self,
        channels: list[Channel],
        directory: str,
        tally: Tally,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        journal = os.path.join(directory, JOURNAL) if directory else ""
        self._lanes = [_Lane(channel, journal, tally, failed) for channel in channels]

    def __call__(self, incident: Incident) -> None:
        """An incident has reached a milestone: push it as it stands when its turn comes."""
        for lane in self._lanes:
            lane.add(incident)

    def resume(self) -> None:
        """After stop(): what waits leaves again."""
        for lane in self._lanes:
            lane.resume()

    def catch_up(self, incidents: list[Incident]) -> None:
        """Push those of them that nobody has pushed: no earlier process, and not we."""
        for lane in self._lanes:
            lane.catch_up(incidents)

    @property
    def cpu_ns(self) -> int:
        """CPU time of the workers so far."""
        return sum(lane.cpu_ns for lane in self._lanes)

    def down(self) -> list[str]:
        """The channels that did not take what they were offered last."""
        return [lane.name for lane in self._lanes if lane.down]

    def flush(self, seconds: float) -> bool:
        """Wait until everything has been taken; False if it was not in time."""
        deadline = time.monotonic() + seconds
        for lane in self._lanes:
            lane.wake()
        return all(lane.empty(deadline) for lane in self._lanes)

    def stop(self, seconds: float = LAST_SECONDS) -> None:
        """One last round; what is not taken then is the next start's."""
        deadline = time.monotonic() + seconds
        for lane in self._lanes:
            lane.end()
        for lane in self._lanes:
            lane.join(deadline)

    def forget(self) -> None:
        """After a fork: the parent pushes what is its own."""
        for lane in self._lanes:
            lane.forget()


class _Lane:
    """One channel's worker, and what waits for it."""

    RETRY: Final = (0.2, 1.0, 5.0, 15.0, 60.0)
    MAX_WAITING: Final = 1_000

    def __init__(
        self,
        channel: Channel,
        journal: str,
        tally: Tally,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._channel = channel
        self._journal = journal
        self._tally = tally
        self._failed = failed
        self._waiting: dict[str, Incident] = {}
        self._sending = False
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._attempts = 0
        self.name = channel.name
        self.down = False
        self.cpu_ns = 0

    def add(self, incident: Incident) -> None:
        with self._lock:
            if incident.id not in self._waiting and len(self._waiting) >= self.MAX_WAITING:
                self._tally.add(("dropped", "push"))
            else:
                self._waiting[incident.id] = incident
            self._attempts = 0
            self._start()
        self._wake.set()

    def resume(self) -> None:
        self._stopping = False
        with self._lock:
            if self._waiting:
                self._start()

    def catch_up(self, incidents: list[Incident]) -> None:
        sent = self._sent()
        with self._lock:
            for incident in incidents:
                if incident.id not in sent:
                    self._waiting.setdefault(incident.id, incident)
            if self._waiting:
                self._start()
        self._wake.set()

    def _start(self) -> None:
        if self._thread is None and not self._stopping:
            thread = threading.Thread(target=self._run, name="ws-audit-push", daemon=True)
            try:
                thread.start()
            except RuntimeError as fault:  # no more threads: the next incident tries again
                self._failed("push", fault)
            else:
                self._thread = thread

    def _run(self) -> None:
        while not self._stopping:
            if self._waiting and not self._round():
                pause = self.RETRY[min(self._attempts, len(self.RETRY) - 1)]
                self._attempts += 1
                self._wake.wait(pause)
            elif not self._waiting:
                self._wake.wait()
            self._wake.clear()
        self._round()

    def _sent(self) -> set[str]:
        found: set[str] = set()
        try:
            with open(self._journal, encoding="utf-8") as lines:
                for line in lines:
                    try:
                        entry = json.loads(line)
                        if entry["channel"] == self._channel.name:
                            found.add(entry["incident"])
                    except (ValueError, KeyError, TypeError):
                        continue  # a torn line: pushed once more, never once too few
        except OSError:
            pass
        return found

    def _round(self) -> bool:
        """Offer everything waiting once; whether all was taken."""
        before = time.thread_time_ns()
        complete = True
        offered = bool(self._waiting)
        for name in list(self._waiting):
            with self._lock:
                # Taken out first: a milestone reached meanwhile puts it in once more.
                self._sending = True
                incident = self._waiting.pop(name)
            told = incident.as_dict(time.time_ns())
            try:
                taken = self._channel.send(told)
            except Exception as fault:
                self._failed("push", fault)
                taken = False
            if taken:
                self._note(told)
            else:
                complete = False
            with self._lock:
                if not taken:
                    self._waiting.setdefault(name, incident)
                self._sending = False
        if offered:
            self.down = not complete
        self.cpu_ns += time.thread_time_ns() - before
        return complete

    def _note(self, incident: dict[str, Any]) -> None:
        if not self._journal:
            return
        entry = {
            "channel": self._channel.name,
            "incident": incident["id"],
            "attempted": incident["attempted"],
        }
        if self._channel.ahead_s is not None:
            # What the review has to tell hosts' clocks by that share no disk.
            entry["host"], entry["ahead_s"] = os.uname().nodename, self._channel.ahead_s
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self._journal, flags, 0o600)
            try:
                os.write(descriptor, json.dumps(entry).encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError:
            self._tally.add(("dropped", "store"))

    def wake(self) -> None:
        self._wake.set()

    def empty(self, deadline: float) -> bool:
        while (self._waiting or self._sending) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not (self._waiting or self._sending)

    def end(self) -> None:
        self._stopping = True
        self._wake.set()

    def join(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            self._thread = None

    def forget(self) -> None:
        self._waiting = {}
        self._sending = False
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread = None
        self._attempts = 0
        self.down = False
        self.cpu_ns = 0
        self._channel.forget()
