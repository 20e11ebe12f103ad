# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review SOURCE --policy FILE` and `--not-a-leak INCIDENT`: what a policy would change.

Why it exists: a false alarm ends with a line of configuration. What that line does must be seen
before it is deployed, on what has really happened.

It must never change anything, never show a zero where it cannot tell, and never take a mistake in
the file for a policy that excuses nothing.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ws_audit.configuration.settings import read as read_settings
from ws_audit.model import CONFIRMED
from ws_audit.principals.identity import Hasher
from ws_audit.review.rejudging import excuse
from ws_audit.review.rejudging.replay import CHANGES, NEW, STAYS, VANISHES, Replayer
from ws_audit.review.telling import report

from . import actions, review

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.configuration.policy_tables import PolicyTable
    from ws_audit.incidents import Incident
    from ws_audit.review.rejudging.excuse import Answer, Proposal
    from ws_audit.review.rejudging.replay import Change, Replay
    from ws_audit.review.segments.read import Review
    from ws_audit.review.segments.rows import Rows

    Again = Callable[[Review, Rows, int], tuple[str, Review, int]]

_COMMAND: Final = "replay"
_SHOWN: Final = 20
_SAYS: Final = {
    VANISHES: "would be none",
    CHANGES: "would be another",
    NEW: "would be new",
    STAYS: "stays as it is",
}


def main(words: list[str]) -> int:
    """Show the difference alone, also as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="ws-audit review replay", allow_abbrev=False)
    review.configure(parser)
    parser.description = "Judge what is stored again, under other policies. Nothing is changed."
    parser.epilog = (
        "Exit code: that of the review as it would be (--policy); 0 if the first proposal excuses"
        " all of the incident, 1 if not or if there is none (--not-a-leak); 2 bad input."
    )
    parser.set_defaults(difference=True)
    options = parser.parse_args(words)
    if not (options.policy or options.not_a_leak):
        parser.error("one of --policy FILE and --not-a-leak INCIDENT is needed")
    return review.main(options)


def prepared(options: argparse.Namespace) -> Again | None:
    """What is to be done with all that is stored; None if that can't be done, which is said.

    It gives what to show, the review whose incidents decide the exit code, and the code if they
    do not.
    """
    why_not = _unfit(options)
    if why_not:
        actions.wrong(_COMMAND, why_not)
        return None
    key = _key(options.sources)
    hasher = None if key is None else Hasher(key)
    if options.not_a_leak:
        return lambda found, rows, _: _not_a_leak(Replayer(found, rows, hasher), options)
    tables = _tables(options.policy)
    if tables is None:
        return None
    return lambda found, rows, now_ns: _under(
        Replayer(found, rows, hasher).under(tables), tables, now_ns, options
    )


def _unfit(options: argparse.Namespace) -> str:
    """What of the options cannot be had together."""
    if options.policy and options.not_a_leak:
        return "expected one of --policy and --not-a-leak: the proposal is tried anyway"
    if options.html or options.follow:
        return "expected neither --html nor --follow: they show what was, and what is"
    narrowed = ("since", "user", "rule", "service", "incident", "severity")
    if any(getattr(options, name) for name in narrowed):
        return "everything is judged again: expected no filter"
    if options.not_a_leak and options.format == "json" and not options.difference:
        return "a proposal is no review: expected ws-audit review replay ... --format json"
    return ""


def _tables(path: str) -> tuple[PolicyTable, ...] | None:
    """The policies of a configuration file; None if something in it is wrong, which is said."""
    if not Path(path).exists():
        actions.wrong(_COMMAND, f"{report.plain(path)}: no such file")
        return None
    named = {} if Path(path).name == "pyproject.toml" else {"WS_AUDIT_CONFIG": path}
    folder = Path.cwd() if named else Path(path).parent
    settings, problems, origins = read_settings(named, str(folder.resolve()))
    for problem in problems:
        actions.wrong(_COMMAND, problem)
    if problems:
        return None
    others = sorted(origins.keys() - {"policy", "control_file"})
    if others:
        actions.wrong(
            _COMMAND,
            f"{report.plain(path)}: only its policies are tried; what {', '.join(others)} would"
            " change cannot be told from what is stored",
        )
    return settings.policy


def _key(sources: list[str]) -> str | None:
    """The key of the hashes, as the agent comes by it; None if it is not here, or not one."""
    given = os.environ.get("WS_AUDIT_HASH_KEY", "")
    if given:
        return given
    try:
        keys = {(Path(source) / "hash.key").read_bytes().strip().decode() for source in sources}
    except (OSError, ValueError):
        return None
    return keys.pop() if len(keys) == 1 else None


def _under(
    replay: Replay, tables: tuple[PolicyTable, ...], now_ns: int, options: argparse.Namespace
) -> tuple[str, Review, int]:
    after = replay.after
    document = after.document(now_ns)
    if options.format == "json":
        told = _difference(replay, tables) if options.difference else document
        return json.dumps(told, indent=1) + "\n", after, 0
    lines = _difference_text(replay, tables, options.policy)
    if not options.difference:
        text = report.text(document, after.acks, after.stored.reasons)
        lines += ["", "The review as it would be:", "", text.rstrip("\n")]
    return "\n".join(lines) + "\n", after, 0


# -- the difference --------------------------------------------------------------------------------


def _difference_text(replay: Replay, tables: tuple[PolicyTable, ...], path: str) -> list[str]:
    what = f"{len(tables)} {'policy' if len(tables) == 1 else 'policies'}"
    lines = [f"Judged again with the {what} of {report.plain(path)}. Nothing is changed by that."]
    by_number = {table.number: table for table in tables}
    for change in sorted(replay.changes, key=lambda it: list(_SAYS).index(it.what)):
        lines += _change_text(change, by_number)
    if not replay.changes:
        lines.append("  no incidents, then or now")
    lines += [f"  cannot be told: {note}" for note in replay.notes]
    return lines


def _change_text(change: Change, by_number: dict[int, PolicyTable]) -> list[str]:
    known = change.before or change.after
    if known is None:
        return []
    severity = known.severity
    if change.before and change.after and change.before.severity != change.after.severity:
        severity = f"{change.before.severity} -> {change.after.severity}"
    left = ""
    if change.what == CHANGES and change.before and change.after:
        left = f"; {change.after.attempted:,} deliveries, {_pairs(change.after)} would be left"
    size = f"{_count(known.attempted, 'delivery')}, {_pairs(known)}"
    name = f"{known.id}  {severity}  {report.plain(known.rule)}"
    lines = [f"  {_SAYS[change.what]}: {name}  {size}{left}"]
    for numbers, count in change.excused.most_common():
        names = " and ".join(_policy(by_number[it]) for it in numbers if it in by_number)
        lines.append(f"    {count:,} excused by {names or 'it'}")
    if change.moved:
        lines.append(f"    {change.moved:,} would be of another rule")
    if change.cleared:
        lines.append(f"    {change.cleared:,} had only a membership against them that is not there")
    lines += [f"    {count:,} cannot be told: {why}" for why, count in change.untold.most_common()]
    return lines


def _policy(table: PolicyTable) -> str:
    return f"[[policy]] {table.number} ({table.kind}: {report.plain(table.reason)})"


def _pairs(incident: Incident) -> str:
    return _count(len(incident.pairs), "pair")


def _count(number: int, noun: str) -> str:
    plural = "deliveries" if noun == "delivery" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _difference(replay: Replay, tables: tuple[PolicyTable, ...]) -> dict[str, Any]:
    return {
        "schema": 1,
        "policies": [{"number": it.number, "kind": it.kind, "reason": it.reason} for it in tables],
        "incidents": [_change(it) for it in replay.changes],
        "notes": replay.notes,
    }


def _change(change: Change) -> dict[str, Any]:
    known = change.before or change.after
    return {
        "id": known.id if known else "",
        "rule": known.rule if known else "",
        "what": change.what,
        "before": _sums(change.before),
        "after": _sums(change.after),
        "excused": [
            {"policies": list(numbers), "deliveries": count}
            for numbers, count in change.excused.most_common()
        ],
        "moved": change.moved,
        "cleared": change.cleared,
        "untold": [
            {"reason": why, "deliveries": count} for why, count in change.untold.most_common()
        ],
    }


def _sums(incident: Incident | None) -> dict[str, Any] | None:
    if incident is None:
        return None
    return {
        "severity": incident.severity,
        "events": incident.events,
        "attempted": incident.attempted,
        "pairs": len(incident.pairs),
    }


# -- the proposal ----------------------------------------------------------------------------------


def _not_a_leak(replayer: Replayer, options: argparse.Namespace) -> tuple[str, Review, int]:
    nothing = replayer.review._replace(incidents=[])  # the exit code is about the proposal
    incidents = replayer.review.incidents
    incident = next((it for it in incidents if it.id == options.not_a_leak), None)
    if incident is None:
        there = actions.listed("incidents", incidents)
        where = ", ".join(options.sources)
        what = f"{where} has no incident {options.not_a_leak!r}\n{there}"
        return "", nothing, actions.wrong(_COMMAND, what)
    found = excuse.propose(replayer, incident)
    if options.format == "json":
        told = json.dumps(_answer(found, incident), indent=1)
    else:
        told = "\n".join(_answer_text(found, incident))
    return f"{told}\n", nothing, int(not (found.proposals and found.proposals[0].whole))


def _answer_text(found: Answer, incident: Incident) -> list[str]:
    """The proposal as TOML that can be pasted: everything else in it is a comment."""
    rule, amount = report.plain(incident.rule), _count(incident.attempted, "delivery")
    lines = [
        f"# Incident {incident.id}: {incident.severity}, {rule}, {amount}, {_pairs(incident)}."
    ]
    for what, values in found.shown.items():
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        names = ", ".join(report.plain(value) for value in values[:_SHOWN])
        lines.append(f"# {what}: {names}{more}")
    if found.refusal:
        return [*lines, f"# No policy is proposed: {found.refusal}."]
    if incident.severity == CONFIRMED:
        lines.append("# CAREFUL: independent statements agree whose it was, and it was not theirs.")
    lines.append("# Nothing is changed by this. Who knows that it is no leak may declare:")
    for number, proposal in enumerate(found.proposals):
        if number:
            lines += ["", "# Or instead:"]
        text = excuse.toml(proposal.table, incident.id).rstrip("\n").split("\n")
        lines += ["", *_effect(proposal), *(f"# {it}" if number else it for it in text)]
    if incident.rule != "argument_vs_connection":
        lines += [
            "",
            "# If they share a room or a document, a room or share policy with a function of yours",
            "# says so more narrowly: no record knows its answers.",
        ]
    return lines


def _effect(proposal: Proposal) -> list[str]:
    share = "all" if proposal.whole else f"{proposal.excused:,} of the"
    lines = [f"# Judged again with it: {share} {proposal.total:,} deliveries would be excused."]
    if proposal.untold:
        lines.append(f"# {proposal.untold:,} of them cannot be told.")
    if proposal.others:
        lines.append(
            f"# LOOK: it would also excuse {proposal.beside:,} deliveries of"
            f" {_count(len(proposal.others), 'other incident')}:"
        )
    else:
        lines.append("# It would excuse no delivery of another incident that is stored.")
    for change in proposal.others[:_SHOWN]:
        other = change.before
        if other is not None:
            lines.append(
                f"#   {other.id}  {other.severity}  {report.plain(other.rule)}:"
                f" {change.excused.total():,} of {other.attempted:,} deliveries"
            )
    if len(proposal.others) > _SHOWN:
        lines.append(f"#   and {len(proposal.others) - _SHOWN} more incidents")
    if proposal.unsure:
        lines.append(f"# Of {proposal.unsure:,} deliveries of other incidents it cannot be told.")
    return lines


def _answer(found: Answer, incident: Incident) -> dict[str, Any]:
    return {
        "schema": 1,
        "incident": incident.id,
        "refusal": found.refusal,
        "shown": found.shown,
        "proposals": [
            {
                "toml": excuse.toml(it.table, incident.id),
                "kind": it.table.kind,
                "total": it.total,
                "excused": it.excused,
                "untold": it.untold,
                "beside": it.beside,
                "unsure": it.unsure,
                "others": [_change(change) for change in it.others],
                "notes": it.replay.notes,
            }
            for it in found.proposals
        ],
    }
