# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review DIR --follow`: the review, and then each change as it is stored.

Why it exists: "is it still going on?" is asked again every minute of a bad night.

It must never be silent for long without saying whether anybody was watching, and never end with
another exit code than a review at that moment would have.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ws_audit import journal
from ws_audit.incidents import timestamp
from ws_audit.review.segments import gather, read
from ws_audit.review.segments.tail import ChangedError, Tail
from ws_audit.review.selection import AbsentError, SelectionError
from ws_audit.review.source import SourceError
from ws_audit.review.telling import news, report

from . import review as command

if TYPE_CHECKING:
    import argparse

    from ws_audit.review.segments.read import Review
    from ws_audit.review.selection import Selection

_TICK_S: Final = 1.0
_REST: Final = 4  # a look that takes long is followed by as many times its time of rest
_AGAIN_S: Final = 10.0  # what is ongoing may be over, though nothing was written
_NEVER: Final = float("-inf")
_QUIET_S: Final = 120.0  # a coverage record is due each minute


class Following:
    """The directories as they were looked at last, and what of it has been told."""

    def __init__(self, options: argparse.Namespace, asked: Selection) -> None:
        """Look at them for the first time. Raises what a review does that cannot be made."""
        if any("://" in source for source in options.sources):
            raise SourceError("--follow needs trace directories: expected them")
        self._options = options
        self._asked = asked
        self._where = gather.directories(options.sources)
        self._tail = Tail(self._where, command.progress(), asked)
        self._stamps: list[tuple[int, ...]] = []
        self._found: Review | None = None
        self._review: dict[str, Any] = {}
        self._made = self._told = _NEVER
        self._frames = 0
        self._watch = news.Watch()
        self._took = 0.0
        self._read = True  # somebody still reads what is written
        self._look()

    def go_on(self) -> int:
        """Show the review, and what changes until somebody interrupts that; the exit code."""
        try:
            self._begin()
            while self._read:
                time.sleep(max(_TICK_S, _REST * self._took))
                try:
                    self._look()
                except OSError as error:
                    where = getattr(error, "filename", None) or ", ".join(self._options.sources)
                    why = error.strerror or error
                    print(f"ws-audit review: {where}: {why}, but was there", file=sys.stderr)
                    return 2
                except SelectionError as error:
                    print(f"ws-audit review: {error}", file=sys.stderr)
                    return 2
                self._tell()
        except KeyboardInterrupt:
            self._tell(all_of_it=True)
        return int(command.failing(self._review, self._options.fail_on))

    def _look(self) -> None:
        """Take in what is new."""
        begun = time.monotonic()
        stamps = [journal.stamp(directory) for directory in self._where]
        try:
            stored = self._tail.read()
        except ChangedError:
            self._tail = Tail(self._where, None, self._asked)  # all of it is new the next time
            return
        if self._found is None or self._tail.news or stamps != self._stamps:
            said = gather.said(self._where)
            self._found = read.assemble(stored, said, None, self._asked, patient=True)
            self._stamps = stamps
            self._made = _NEVER
        if begun - self._made >= _AGAIN_S:
            self._review = self._found.document(time.time_ns())
            self._made = begun
        self._took = time.monotonic() - begun

    def _begin(self) -> None:
        """Show the review as it is."""
        found = self._found
        assert found is not None
        try:
            found.asked.settled(found.whole, found.stored.services)
        except AbsentError as error:
            print(f"ws-audit review: {error}; waiting for it", file=sys.stderr)
        if self._options.format == "json":
            command.warn(found)
            self._tell()
        else:
            reasons, color = found.stored.reasons, command.colorful()
            text = report.text(self._review, found.acks, reasons, found.only, color=color)
            self._read = command.write(f"{text}\n")
            self._watch.see(self._review, time.time_ns())
            if sys.stderr.isatty():
                print("ws-audit review: following; Ctrl-C ends it", file=sys.stderr)
        self._told = time.monotonic()
        self._frames = found.stored.coverage["frames"]

    def _tell(self, *, all_of_it: bool = False) -> None:
        """Tell what is new since it was told last."""
        assert self._found is not None
        now_ns = time.time_ns()
        found = self._watch.see(self._review, now_ns, all_of_it=all_of_it)
        if self._options.format == "json":
            lines = [json.dumps(it.incident) for it in found if it.kind != news.GONE]
        else:
            short = report.shortener([*self._review["incidents"], *(it.incident for it in found)])
            lines = [news.line(it, self._found.acks, short) for it in found]
            if not lines and time.monotonic() - self._told >= _QUIET_S:
                lines = [self._quiet()]
            lines = [f"{timestamp(now_ns)[:19]}Z {line}" for line in lines]
        if lines:
            self._told = time.monotonic()
            self._frames = self._found.stored.coverage["frames"]
            self._read = command.write("".join(f"{line}\n" for line in lines))

    def _quiet(self) -> str:
        """Say whether nothing new is good news."""
        assert self._found is not None
        minutes = f"{_QUIET_S / 60:g} minutes"
        frames = self._found.stored.coverage["frames"] - self._frames
        if frames > 0:
            return f"nothing new for {minutes}; {frames:,} frames recorded meanwhile"
        return f"nothing new for {minutes}, and no traffic recorded: this says nothing about leaks"
