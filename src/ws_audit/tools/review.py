# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review SOURCE`: who saw whose data, from a trace directory or a ClickHouse.

Why it exists: it is what the alert tells you to run.

It must never write anything to standard output but the review, and never exit 0 when it could
not look.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ws_audit import journal
from ws_audit.incidents import timestamp
from ws_audit.model import PROBABLE, SEVERITIES
from ws_audit.review import selection as selections
from ws_audit.review import source
from ws_audit.review.segments import keep
from ws_audit.review.selection import Selection, SelectionError
from ws_audit.review.source import Options, SourceError
from ws_audit.review.telling import report
from ws_audit.schema import PERMITTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.review.segments.read import Review

    from .follow import Following
    from .replay import Again

_PATIENCE_S: Final = 2.0  # what takes longer shows its progress
_SLOW_S: Final = 10.0  # what takes longer could do with the columns


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `review` takes."""
    parser.description = "Tell from a trace directory who saw whose data, since when, and where."
    parser.epilog = (
        "Exit code: 0 clean, 1 findings at or above --fail-on that nobody has acknowledged, 2 bad"
        " input. To acknowledge one: ws-audit review ack INCIDENT --by NAME --note TEXT. To seal"
        " its evidence: ws-audit review export INCIDENT DIR --by NAME; to check that: ws-audit"
        " review verify DIR. What happened on one connection: ws-audit review events --help."
    )
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="the trace directory (WS_AUDIT_TRACE_DIR), several of them (one for each host), "
        "or clickhouse://HOST:PORT/DATABASE (CLICKHOUSE_USER, CLICKHOUSE_PASSWORD)",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: %(default)s"
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="also write the review, with its evidence, as one page that needs nothing else",
    )
    parser.add_argument(
        "--now",
        type=_time,
        metavar="RFC3339",
        help="the time as of which an incident is ongoing; default: the time it is",
    )
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        default=PROBABLE,
        help="exit 1 from this severity on; default: %(default)s",
    )

    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with a line for each change until Ctrl-C (with --format json: an incident a "
        "line, those there are and each that changes)",
    )
    parser.set_defaults(difference=False)
    again = parser.add_argument_group(
        "under another policy", "What is stored is judged again; nothing is changed."
    )
    again.add_argument(
        "--policy",
        metavar="FILE",
        help="show the review as it would have been with the [[policy]] tables of this"
        " configuration, and the difference",
    )
    again.add_argument(
        "--not-a-leak",
        metavar="INCIDENT",
        help="propose the policy that would excuse an incident, with what else it would excuse",
    )

    narrowed = parser.add_argument_group(
        "what to show",
        "Of everything. Incidents keep their ids. An option given twice asks for either.",
    )
    narrowed.add_argument(
        "--since",
        type=_since,
        metavar="TIME",
        help="RFC 3339, or a span before --now such as 90s, 30m, 2h or 7d",
    )
    narrowed.add_argument(
        "--user",
        action="append",
        type=_user,
        default=[],
        metavar="HASH",
        help="whose data or whose connection it was: the hash as it is shown, or its first "
        f"{selections.SHORTEST} digits or more",
    )
    narrowed.add_argument(
        "--rule",
        action="append",
        choices=list(PERMITTED),
        default=[],
        metavar="RULE",
        help="violations of this rule, such as canary",
    )
    narrowed.add_argument(
        "--service", action="append", default=[], metavar="NAME", help="and its coverage alone"
    )
    narrowed.add_argument(
        "--incident", action="append", default=[], metavar="ID", help="its whole id"
    )
    narrowed.add_argument(
        "--severity", choices=SEVERITIES, default="", help="this one and what is worse"
    )

    database = parser.add_argument_group("ClickHouse")
    database.add_argument(
        "--table",
        default=Options().table,
        help="the table the collector's exporter writes; default: %(default)s",
    )
    database.add_argument("--cluster", default="", help="ask every shard of this cluster")
    database.add_argument(
        "--timeout",
        type=float,
        default=Options().timeout,
        metavar="SECONDS",
        help="for each question; default: %(default)g",
    )


def main(options: argparse.Namespace) -> int:
    """Write the review of `options.sources` and return the exit code."""
    otherwise = bool(options.policy or options.not_a_leak)
    again = _again(options) if otherwise else None
    if _misused(options) or (otherwise and again is None):
        return 2
    now_ns = time.time_ns() if options.now is None else options.now
    how = Options(options.table, options.cluster, options.timeout)
    begun = time.monotonic()
    try:
        if otherwise and any("://" in it for it in options.sources):
            raise SourceError("--policy and --not-a-leak need the trace directory: expected it")
        keeper = keep.Keeper() if options.html or otherwise else None
        asked = selected(options, now_ns)
        if options.follow:
            following = _following(options, asked)
        else:
            found = source.examine(options.sources, how, progress(), keeper, asked)
    except (SourceError, SelectionError) as error:
        named = ", ".join(map(_without_secrets, options.sources))
        # Both may quote what is stored, or what a server answered.
        print(report.plain(f"ws-audit review: {named}: {error}"), file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        named = str(getattr(error, "filename", None) or ", ".join(options.sources))
        print(
            report.plain(f"ws-audit review: {named}: {why}; expected a trace directory, ")
            + "as WS_AUDIT_TRACE_DIR or trace_dir names it",
            file=sys.stderr,
        )
        return 2

    if options.follow:
        return following.go_on()
    if time.monotonic() - begun > _SLOW_S and not source.cached():
        print(
            "ws-audit review: pip install ws-audit[review] reads this in a fraction of the time",
            file=sys.stderr,
        )

    if again is not None and keeper is not None:
        told, found, code = again(found, keeper.all(), now_ns)
        write(told)
        return code or int(failing(found.document(now_ns), options.fail_on))

    review = found.document(now_ns)
    if keeper is not None and not _page(found, review, keeper, now_ns, options):
        return 2
    if options.format == "json":
        warn(found)
        write(json.dumps(review, indent=1) + "\n")
    else:
        reasons = found.stored.reasons
        write(report.text(review, found.acks, reasons, found.only, color=colorful()))
    return int(failing(review, options.fail_on))


def _misused(options: argparse.Namespace) -> bool:
    """Whether it is asked for what goes not with --follow; then that is said."""
    for option, what in (
        ("html", "is written when all is told"),
        ("now", "names another time"),
    ):
        if options.follow and getattr(options, option) is not None:
            print(
                f"ws-audit review: --follow shows what is new until somebody ends it, and "
                f"--{option} {what}: expected one of them",
                file=sys.stderr,
            )
            return True
    return False


def _again(options: argparse.Namespace) -> Again | None:
    from .replay import prepared

    return prepared(options)


def _following(options: argparse.Namespace, asked: Selection) -> Following:
    from .follow import Following

    return Following(options, asked)


def warn(found: Review) -> None:
    """Say what a review is narrowed to where its JSON has no room for it."""
    if found.only:
        print(f"ws-audit review: ONLY {report.plain(found.only)}", file=sys.stderr)


def selected(options: argparse.Namespace, now_ns: int) -> Selection:
    """What the options narrow the review to. Raises SelectionError."""
    since_ns = selections.since(options.since, now_ns) if options.since else 0
    if since_ns > now_ns:
        raise SelectionError(f"--since {options.since} is after {timestamp(now_ns)}, which is now")
    return Selection(
        since_ns,
        tuple(options.user),
        tuple(options.rule),
        tuple(options.service),
        tuple(options.incident),
        options.severity,
    )


def _page(
    found: Review,
    review: dict[str, Any],
    keeper: keep.Keeper,
    now_ns: int,
    options: argparse.Namespace,
) -> bool:
    """Write the page; say so and return False if that is not possible."""
    from ws_audit.review.telling import narrowed, story
    from ws_audit.review.telling.page import document

    rows = narrowed.rows(keeper.all(), found)
    since_ns, where = found.asked.since_ns, ", ".join(options.sources)
    told = story.tell(review, rows, now_ns, where, found.only, since_ns)
    try:
        document.write(told, options.html)
    except OSError as error:
        print(
            f"ws-audit review: --html {options.html}: {error.strerror or error}; expected a file "
            "in a directory that can be written",
            file=sys.stderr,
        )
        return False
    return True


def _without_secrets(address: str) -> str:
    """The address without what may be a password in it."""
    scheme, mark, rest = address.partition("://")
    place, _, _ = rest.rpartition("@")[2].partition("?")
    return f"{scheme}{mark}{place}"


def failing(review: dict[str, Any], fail_on: str) -> bool:
    """Whether there is something at or above `fail_on` that nobody has acknowledged."""
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return any(
        incident["severity"] in failing and not incident["acknowledged"]
        for incident in review["incidents"]
    )


def _time(text: str) -> int:
    """Read RFC 3339 into Unix nanoseconds. Raises ArgumentTypeError, which names the text."""
    try:
        return journal.nanoseconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; expected RFC 3339 such as 2026-11-23T10:00:00Z"
        ) from None


def _since(text: str) -> str:
    """Check a time or span. Raises ArgumentTypeError, which names the text."""
    try:
        selections.since(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _user(text: str) -> str:
    """Read a hash or its beginning. Raises ArgumentTypeError, which names the text."""
    try:
        return selections.user(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def progress() -> Callable[[int, int], None] | None:
    """Return what shows progress on a terminal once reading takes long; None elsewhere."""
    if not sys.stderr.isatty():
        return None
    begun = time.monotonic()

    def show(done: int, total: int) -> None:
        if time.monotonic() - begun > _PATIENCE_S:
            end = "\r\x1b[K" if done >= total else ""
            print(f"\rreading {done >> 20:,} of {total >> 20:,} MiB{end}", end="", file=sys.stderr)
            sys.stderr.flush()

    return show


def colorful() -> bool:
    """Whether standard output is a terminal whose owner wants colours."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write(text: str) -> bool:
    """Write to standard output; False if nobody reads it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough. The exit code still tells; only the flush at exit must not.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
