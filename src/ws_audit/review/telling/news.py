# SPDX-License-Identifier: Apache-2.0
"""What is new between two looks at the same incidents, and how it is told in a line.

Why it exists: who looks on while a leak goes on wants to read what has changed, and only that.

It must never tell of an incident that has not changed, and never leave out one that has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.model import SEVERITIES

from . import report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_audit.incidents import Mark

    Incidents = dict[str, dict[str, Any]]  # by id, as the JSON has them

SHOWN_PAIRS: Final = 5  # new ones in a line
CALM_NS: Final = 5 * 1_000_000_000  # one that only grows is told again after this

NEW, MORE, ACK, OVER, GONE = "NEW", "MORE", "ACK", "OVER", "GONE"


class News(NamedTuple):
    """An incident as it is now, and as it was when it was told last; `before` None: it is new."""

    kind: str
    incident: dict[str, Any]
    before: dict[str, Any] | None


class Watch:
    """Remembers what has been told of each incident, and when."""

    def __init__(self) -> None:
        self._told: Incidents = {}
        self._when: dict[str, int] = {}

    def see(self, review: dict[str, Any], now_ns: int, *, all_of_it: bool = False) -> list[News]:
        """What is to be told of a review's JSON now; growth is held back a little.

        With `all_of_it` nothing is held back.
        """
        found = []
        for incident in reversed(review["incidents"]):  # the worst comes last, where it is read
            id_ = incident["id"]
            before = self._told.get(id_)
            if before == incident:
                continue
            kind = _kind(before, incident)
            calm = now_ns - self._when.get(id_, 0) >= CALM_NS
            if kind == MORE and not (calm or all_of_it or _worse(before, incident)):
                continue
            self._told[id_], self._when[id_] = incident, now_ns
            found.append(News(kind, incident, before))
        there = {it["id"] for it in review["incidents"]}
        gone = [it for it in self._told if it not in there]
        return found + [News(GONE, self._told.pop(id_), None) for id_ in gone]


def line(news: News, acks: Mapping[str, Mark], short: dict[str, str]) -> str:
    """Tell it. `acks` and `short` are those of the report."""
    it = news.incident
    head = f"{news.kind:4} [incident {report.plain(it['id'])}] {report.plain(it['rule'])}"
    head += f" {it['severity']}"
    if news.kind == GONE:
        return f"{head}: its records are not there any more"
    told = []
    if news.kind == ACK:
        ack = acks.get(it["id"])
        told.append(report.acknowledged(ack) if ack else "acknowledged")
    elif news.kind == OVER:
        told.append(f"not seen for 10 minutes, last {it['last_seen']}")
    more = it["attempted"] - (news.before or it)["attempted"]
    if news.kind in (NEW, MORE) or more:
        told += [f"{more:+,}"] if more else []
        told.append(report.amount([it]))
    known = {(pair["owner"], pair["recipient"]) for pair in (news.before or {}).get("pairs", ())}
    new = [pair for pair in it["pairs"] if (pair["owner"], pair["recipient"]) not in known]
    if new:
        listed = ", ".join(
            f"{report.person(pair['owner'], short)} -> {report.person(pair['recipient'], short)}"
            for pair in new[:SHOWN_PAIRS]
        )
        rest = f" and {len(new) - SHOWN_PAIRS:,} more" if len(new) > SHOWN_PAIRS else ""
        told.append(f"{'new ' if news.before else ''}{listed}{rest}")
    if news.before is None:
        told.append(f"code {report.names(it['sites'])}")
        told.append(f"service {report.names(it['services'])}")
        if it["acknowledged"]:
            told.append("acknowledged")
    return f"{head}: {'; '.join(told)}"


def _kind(before: dict[str, Any] | None, incident: dict[str, Any]) -> str:
    if before is None:
        return NEW
    if incident["acknowledged"] and not before["acknowledged"]:
        return ACK
    if before["ongoing"] and not incident["ongoing"]:
        return OVER
    return MORE


def _worse(before: dict[str, Any] | None, incident: dict[str, Any]) -> bool:
    rank = SEVERITIES.index
    return before is None or rank(incident["severity"]) < rank(before["severity"])
