# SPDX-License-Identifier: Apache-2.0
"""The appendix: how it was measured, what words mean, who did what when, and what was read.

Why it exists: whoever is handed the page was not there, and has to vouch for what it says.

It must never draw a legal conclusion: facts and times only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit import __version__
from ws_audit.model import SEVERITIES

from . import words
from .banner import severity
from .markup import Html, code, counted, facts, join, moment, more, number, stored, table, tag

if TYPE_CHECKING:
    from ws_audit.review.telling.story import Story

HOURS_72: Final = 72 * 3600 * 1_000_000_000
_NOBODY: Final = "nobody has acknowledged an incident"
_NOT_KNOWN: Final = "not known: a database has no journal"
MOST: Final = 500  # entries of the journal, files
MAX_PEOPLE: Final = 3000


def appendix(story: Story) -> Html:
    """The section."""
    return tag(
        "section",
        tag("h2", "Appendix"),
        tag("h3", "Facts for a notification", id="facts"),
        _facts(story),
        tag("h3", "Journal", id="journal"),
        _journal(story),
        tag("h3", "Method"),
        *[tag("p", it.replace("\n", " ")) for it in words.METHOD.split("\n\n")],
        tag("h3", "How sure"),
        facts(*[(it, join(severity(it), " ", words.SURE[it])) for it in SEVERITIES]),
        tag("h3", "What a hash is", id="hashes"),
        tag("p", words.HASHES),
        _people(story) if story.people else None,
        tag("h3", "What was read"),
        tag("p", "Source: ", code(story.source)),
        _files(story) if story.files else None,
        tag("p", f"{story.sends_left_out:,} stored sends were passed over.")
        if story.sends_left_out
        else None,
        tag(
            "p",
            f"Written by ws-audit {__version__} as of ",
            moment(story.now_ns),
            " UTC.",
            class_="dim",
        ),
        id="appendix",
    )


def _facts(story: Story) -> Html:
    """What a notification asks for, as far as records tell it."""
    leaks = [it for it in story.incidents if it.leaks]
    if not leaks:
        return tag("p", "No delivery to a wrong person is on record.")
    certain = [it for it in leaks if it.json["severity"] == "confirmed"]
    noticed = min(story.journal, default=None)
    possible = story.possible
    return join(
        facts(
            (
                "Nature",
                tag("span", "Messages of one person were sent to connections of another."),
            ),
            (
                "People whose data it was",
                join(number(story.confirmed.owners), " confirmed"),
            ),
            (
                "Messages delivered",
                join(number(story.confirmed.events), " in confirmed pairs"),
            ),
            (
                "Beyond that, possible",
                join(
                    counted(possible.owners, "person", "people"),
                    ", ",
                    counted(possible.events, "message"),
                ),
            ),
            ("First violation", moment(min(it.first_ns for it in leaks))),
            ("Last violation", moment(max(it.last_ns for it in leaks))),
            (
                "First confirmed on record",
                moment(min(it.first_ns for it in certain)) if certain else tag("span", "none"),
            ),
            (
                "First acknowledged",
                join(moment(noticed.time_ns), " by ", stored(noticed.by))
                if noticed
                else tag("span", _NOT_KNOWN if "://" in story.source else _NOBODY),
            ),
            *([("72 hours after that", moment(noticed.time_ns + HOURS_72))] if noticed else []),
        ),
        tag(
            "p",
            "These are times and counts, no legal assessment. When somebody became aware, and "
            "whether anybody must be told, is for people to decide.",
            class_="dim",
        ),
    )


def _journal(story: Story) -> Html:
    journal = story.journal
    if "://" in story.source:
        return tag(
            "p",
            "A database has none: who has acknowledged an incident is in the trace directory's, "
            "and its review tells.",
        )
    if not journal:
        return tag("p", "Empty: nobody has acknowledged an incident (ws-audit review ack).")
    return table(
        "Acknowledgements",
        ["When (UTC)", "Incident", "By", "Note", "Known then: first (UTC)", "last (UTC)"],
        [
            [
                moment(it.time_ns, "acknowledged"),
                code(it.incident),
                stored(it.by),
                stored(it.note, "-"),
                moment(it.first_ns),
                moment(it.last_ns),
            ]
            for it in journal[:MOST]
        ],
        class_="journal",
    )


def _people(story: Story) -> Html:
    sums = {hash_: [0, 0] for hash_ in story.people}
    for pair in story.pairs:
        for hash_, side in ((pair.owner, 0), (pair.recipient, 1)):
            if hash_:
                sums[hash_][side] += pair.events
    ranked = sorted(sums, key=lambda hash_: (-sum(sums[hash_]), hash_))
    left = len(ranked) - MAX_PEOPLE
    rows = [
        [code(hash_), code(story.people[hash_]), *map(number, sums[hash_])]
        for hash_ in ranked[:MAX_PEOPLE]
    ]
    return more(
        counted(len(ranked), "person in full", "people in full"),
        table(
            "People: messages delivered",
            ["Hash", "Here", "Of this person, to others", "Of others, to this person"],
            rows,
            class_="people",
            numeric=(2, 3),
        ),
        *([tag("p", f"{left:,} more are not on this page.")] if left > 0 else []),
    )


def _files(story: Story) -> Html:
    rows = [[code(it.name), number(it.size), number(it.lines)] for it in story.files[:MOST]]
    left = len(story.files) - len(rows)
    return more(
        counted(len(story.files), "file"),
        table("Files read", ["Name", "Bytes", "Lines"], rows, numeric=(1, 2)),
        *([tag("p", f"{left:,} more.")] if left else []),
    )
