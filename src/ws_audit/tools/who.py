# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review who USER`: what is on record of a person whom you know by an id.

Why it exists: records name people by keyed hashes. Whoever has the key and a good reason must be
able to find one person, and others must be able to see that it was done.

It must never write the id anywhere, never make a key, and never tell what it could not journal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import journal
from ws_audit.configuration.settings import read as read_settings
from ws_audit.outputs.store import KEY_FILE
from ws_audit.principals.identity import Hasher, principal
from ws_audit.review import source
from ws_audit.review.custody import mentions
from ws_audit.review.segments import gather
from ws_audit.review.telling import report

from .actions import LONGEST_NAME, by_option, configured, sources_option, text, why_option, wrong
from .review import progress

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from ws_audit.model import Principal

_COMMAND: Final = "who"
_SHORTEST_KEY: Final = 32  # characters of a key file; the agent takes no shorter one
_EXPECTED: Final = (
    "expected the key that the agents use: WS_AUDIT_HASH_KEY in this command's environment as in "
    "theirs, or without it the file hash.key in the trace directory"
)
_ROLES: Final = {
    mentions.OWNER: "whose data it was",
    mentions.RECIPIENT: "whose connection it was",
}


class _Key(NamedTuple):
    """A hash key, and where it is from."""

    hasher: Hasher
    where: str


class _KeyError(Exception):
    """A key that cannot be had, or is not the one; the text says why."""


def main(words: list[str]) -> int:
    """Look up the person that `words` name; the exit code."""
    options = _parser().parse_args(words)
    asked = options.source or [configured(_COMMAND)]
    if None in asked:
        return 2
    if any(it.partition("://")[1] for it in asked):
        return wrong(
            _COMMAND,
            "--source is a database; expected the trace directory: a look-up is written into its "
            "journal",
        )
    directories = gather.directories(asked)
    people = _people(_user(options.user), options.tenant)
    if not people:
        return 2
    for directory in directories:
        if not directory.is_dir():
            return wrong(_COMMAND, f"{directory}: no directory; expected a trace directory")
    try:
        keys = _keys(directories)
        used = mentions.keys(directories)
        known = _compare(keys, used)
    except _KeyError as error:
        return wrong(_COMMAND, f"{error}")

    hashes = [(key.hasher(who), who.tenant is not None) for key in keys for who in people]
    now_ns, note = time.time_ns(), options.note or ""
    for directory in directories:
        try:
            journal.asked(directory, [it for it, _ in hashes], options.by, note, now_ns)
        except OSError as error:
            return wrong(
                _COMMAND,
                f"{journal.path(directory)}: {error.strerror or error}; a look-up is written into "
                "the journal of the trace directory, so nothing is told",
            )
    try:
        review = source.examine([str(it) for it in directories], source.Options(), progress())
    except OSError as error:
        return wrong(_COMMAND, f"{error.filename}: {error.strerror or error}")

    roles = mentions.of([it for it, _ in hashes], review.incidents)
    document = {
        "schema": 1,
        "hashes": [{"hash": it, "tenant": tenant} for it, tenant in hashes],
        "keys": [{"from": key.where, "id": key.hasher.id} for key in keys],
        "processes": known,
        **roles,
        "problems": review.problems,
    }
    if options.format == "json":
        print(json.dumps(document, indent=1))
    else:
        print(_told(document, with_tenant=options.tenant is not None))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review who",
        description="Compute a person's keyed hash as the agents do, and tell what is on record of"
        " them. The look-up is written into the journal of the trace directory: who asked, when,"
        " and for which hash.",
        epilog="Exit code: 0 looked up, whether something is on record or not; 2 bad input, no key"
        " or the wrong one, or no journal: then nothing is told.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "user",
        metavar="USER",
        help="the id as the application has it; - reads it from standard input, which keeps it out"
        " of the shell's history",
    )
    by_option(parser, "who asks; it stands in the journal")
    why_option(parser)
    parser.add_argument(
        "--tenant",
        type=text(LONGEST_NAME),
        metavar="ID",
        help="the tenant of the person, where identity.tenant is set",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: %(default)s"
    )
    sources_option(parser)
    return parser


def _user(word: str) -> str:
    """The id: the word, or the first line of standard input."""
    return sys.stdin.readline().rstrip("\r\n") if word == "-" else word


def _people(user: str, tenant: str | None) -> list[Principal]:
    """Whom the agent would take that for: with the tenant, and without; none if it is nobody."""
    # Whatever kind of identifier it is: the hash is of the text alone.
    who = principal(user)
    if who is None:
        wrong(
            _COMMAND,
            "USER: the agent takes this for nobody, since it is empty, too long, or a word such as"
            " guest or none; expected an id of a user",
        )
        return []
    if tenant is None:
        return [who]
    holder = principal(tenant)
    if holder is None:
        wrong(_COMMAND, "--tenant: the agent takes this for no tenant; expected the id of one")
        return []
    # Connections have the tenant; what messages and callers say mostly has not.
    return [who._replace(tenant=holder.user), who]


def _keys(directories: tuple[Path, ...]) -> list[_Key]:
    """The keys of these directories, each once. Raises _KeyError."""
    settings, problems, _ = read_settings(os.environ, os.getcwd())
    if problems:
        raise _KeyError("\n".join(problems))
    if settings.hash_key:
        return [_Key(Hasher(settings.hash_key), "WS_AUDIT_HASH_KEY")]
    found: dict[str, _Key] = {}
    for directory in directories:
        path = directory / KEY_FILE
        key = _read(path)
        found.setdefault(key, _Key(Hasher(key), str(path)))
    return list(found.values())


def _read(path: Path) -> str:
    """The key in a file, which is only read. Raises _KeyError."""
    try:
        if not path.is_file():
            raise _KeyError(f"{path}: there is no key; {_EXPECTED}")
        with path.open("rb") as file:
            key = file.read(4096).strip().decode()
    except OSError as error:
        raise _KeyError(f"{path}: {error.strerror or error}; {_EXPECTED}") from error
    except UnicodeDecodeError:
        raise _KeyError(f"{path}: no text; {_EXPECTED}") from None
    if len(key) < _SHORTEST_KEY:
        raise _KeyError(
            f"{path}: {len(key)} characters, at least {_SHORTEST_KEY} make a key; {_EXPECTED}"
        )
    return key


def _compare(keys: list[_Key], used: Counter[str]) -> dict[str, int]:
    """How many processes on record used one of these keys. _KeyError if others alone were."""
    ids = {key.hasher.id for key in keys}
    same = sum(count for its, count in used.items() if its in ids)
    untold = used[""]
    other = used.total() - same - untold
    if other and not same and not untold:
        where = ", ".join(key.where for key in keys)
        seen = ", ".join(sorted(used))
        raise _KeyError(
            f"{where}: the key is {', '.join(sorted(ids))} by its id, and all "
            f"processes on record used another ({seen}): nobody would be found; {_EXPECTED}"
        )
    return {"same": same, "other": other, "untold": untold}


def _told(document: dict[str, Any], *, with_tenant: bool) -> str:
    """The answer as text."""
    lines = []
    for it in document["hashes"]:
        what = "with that tenant" if it["tenant"] else "without a tenant"
        lines.append(f"hash  {it['hash']}" + (f"  {what}" if with_tenant else ""))
    lines += [f"key   {report.plain(it['from'])}, id {it['id']}" for it in document["keys"]]
    processes = document["processes"]
    lines.append(
        f"      used by {processes['same']} of {sum(processes.values())} processes on record"
    )
    if processes["other"]:
        lines.append(f"      {processes['other']} used another key: not found here what they wrote")
    if processes["untold"]:
        lines.append(f"      {processes['untold']} have not told which: a wrong key finds nothing")
    for role, meaning in _ROLES.items():
        lines += ["", *_role(f"as {role} ({meaning})", document[role])]
    if not any(document[role]["incidents"] for role in _ROLES):
        sure = "" if processes["same"] else " WITH THIS KEY, WHICH MAY BE THE WRONG ONE"
        lines += ["", f"NOT IN ANY INCIDENT ON RECORD{sure}"]
    if document["problems"]:
        lines += ["", "What could not be read, or is missing:"]
        lines += [f"  - {report.plain(problem)}" for problem in document["problems"]]
    return "\n".join(lines)


def _role(title: str, told: dict[str, Any]) -> list[str]:
    if not told["incidents"]:
        return [f"{title}: nothing"]
    events, others, many = told["events"], told["others"], len(told["incidents"])
    lines = [
        (
            f"{title}: {events:,} event{'' if events == 1 else 's'}, "
            f"{others:,} other {'person' if others == 1 else 'people'}, "
            f"{many} incident{'' if many == 1 else 's'}"
        ),
        f"  first {told['first_seen']}",
        f"  last  {told['last_seen']}",
    ]
    for it in told["incidents"]:
        state = ", acknowledged" if it["acknowledged"] else ""
        lines.append(
            f"  {it['id']}  {it['severity']}{state}  {report.plain(it['rule'])}  "
            f"{it['events']:,} event{'' if it['events'] == 1 else 's'}  last {it['last_seen']}"
        )
    return lines
