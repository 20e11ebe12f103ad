# SPDX-License-Identifier: Apache-2.0
"""What a review is narrowed to: a time, people, rules, services, incidents, a severity.

Why it exists: after an alert most of a month's records are beside the point, but which incident
a record belongs to depends on all of them. So everything is folded first, and this says what of
the incidents is shown then. Line reader, columns and ClickHouse all ask it.

It must never give an incident another id than the whole review has for it, and never let what
is not there look like what is clean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import journal
from ws_audit.incidents import timestamp
from ws_audit.model import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ws_audit.incidents import Incident
    from ws_audit.model import Finding

SHORTEST: Final = 6  # digits of a hash that may stand for the whole
_HASH: Final = re.compile(rf"[0-9a-f]{{{SHORTEST},32}}")
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LISTED: Final = 20  # of what there is instead


class SelectionError(Exception):
    """A selection of what is not there, or may be several; the text says which."""


class AbsentError(SelectionError):
    """It is not there: not now, at least."""


class Selection(NamedTuple):
    """What is asked for; an empty field asks for everything.

    `since_ns` are Unix nanoseconds: what goes on at that moment counts whole. `users` are keyed
    hashes or their beginnings, of whose data or whose connection it was. `severity` is this one
    and worse, of an incident as it is shown: the same question as `--fail-on`.
    """

    since_ns: int = 0
    users: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    severity: str = ""

    def covers(self, service: str, last_ns: int) -> bool:
        """Whether what a process of that service recorded, which ended then, counts."""
        return last_ns >= self.since_ns and (not self.services or service in self.services)

    def window(self, first_ns: int, last_ns: int) -> tuple[int, int]:
        """What of the time from first to last was asked for; (0, 0) if nothing."""
        if last_ns < max(self.since_ns, 1):
            return 0, 0
        return max(first_ns, self.since_ns), last_ns

    def takes(self, finding: Finding) -> bool:
        """Whether a finding counts, by all that can be told of one alone."""
        return (
            self.covers(finding.service, finding.last_ns)
            and (not self.rules or finding.rule in self.rules)
            and (
                not self.users
                or finding.recipient.startswith(self.users)
                or finding.owner.startswith(self.users)
            )
        )

    def narrow(self, incidents: Iterable[Incident]) -> list[Incident]:
        """Of the incidents of everything those that are left, each with what is left of it."""
        if self == EVERYTHING:
            return list(incidents)
        severities = SEVERITIES[: SEVERITIES.index(self.severity) + 1 if self.severity else None]
        found = []
        for incident in incidents:
            if self.incidents and incident.id not in self.incidents:
                continue
            left = [it for it in incident.findings or () if self.takes(it)]
            if left:
                narrowed = incident.only(left)
                if narrowed.severity in severities:
                    found.append(narrowed)
        return found

    def settled(
        self,
        incidents: Iterable[Incident],
        services: Collection[str] | None,
        *,
        patient: bool = False,
    ) -> Selection:
        """The same with whole hashes, held against the incidents and services there are.

        `services` is None where that is not known. Raises AbsentError if something is not there,
        SelectionError if a beginning is that of several hashes. `patient`: what is not there may
        come.
        """
        all_of_them = list(incidents)
        ids = [it.id for it in all_of_them]
        for incident in self.incidents:
            if incident not in ids and not patient:
                raise AbsentError(f"there is no incident {incident!r}; {_listed(ids)}")
        if services is not None and not patient:
            known = {*services, *(it.service for it in all_of_them)}
            for service in self.services:
                if service not in known:
                    raise AbsentError(
                        f"no record of a service {service!r}; {_listed(sorted(known))}"
                    )
        people = {person for it in all_of_them for pair in it.pairs for person in pair}
        whole = tuple(_whole(user, people, patient=patient) for user in self.users)
        return self._replace(users=whole)

    def told(self) -> str:
        """Say in words what is asked for; "" for everything."""
        several = (
            ("user", self.users),
            ("rule", self.rules),
            ("service", self.services),
            ("incident", self.incidents),
        )
        phrases = [f"since {timestamp(self.since_ns)}"] if self.since_ns else []
        phrases += [f"{what} {' or '.join(names)}" for what, names in several if names]
        if self.severity:
            worse = " or worse" if self.severity != SEVERITIES[0] else ""
            phrases.append(f"severity {self.severity}{worse}")
        return ", ".join(phrases)


EVERYTHING: Final = Selection()


def since(text: str, now_ns: int) -> int:
    """Read RFC 3339, or a span before now. Raises ValueError, which says what it is not."""
    match = _SPAN.fullmatch(text)
    if match:
        return max(now_ns - int(match[1]) * _SECONDS[match[2]] * 1_000_000_000, 0)
    try:
        return max(journal.nanoseconds(text), 0)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; expected RFC 3339 such as 2026-11-23T10:00:00Z, or a span "
            "such as 90s, 30m, 2h or 7d"
        ) from None


def user(text: str) -> str:
    """Read a keyed hash or the beginning of one. Raises ValueError, which says what it is not."""
    if not _HASH.fullmatch(text.lower()):
        raise ValueError(
            f"{text!r} is no user; expected the hash that the review shows, or its first "
            f"{SHORTEST} digits or more (0-9, a-f); ws-audit review who computes it"
        )
    return text.lower()


def _whole(beginning: str, people: Collection[str], *, patient: bool) -> str:
    """The hash that begins like that."""
    if beginning in people:
        return beginning
    found = sorted(it for it in people if it.startswith(beginning))
    if not found and patient:
        return beginning
    if not found:
        raise AbsentError(
            f"no violation is about user {beginning}: neither their data nor their connection"
        )
    if len(found) > 1:
        raise SelectionError(f"user {beginning} may be several; {_listed(found)}")
    return found[0]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"there are: {', '.join(names[:_LISTED]) or 'none'}{more}"
