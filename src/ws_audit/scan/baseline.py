# SPDX-License-Identifier: Apache-2.0
"""What was found before, so that only what is new fails.

Why it exists: a code base that is being put together cannot be clean on the first day. It can have
no second sender more than yesterday.

It must never hide a finding that has grown, nor read what is no baseline for an empty one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .findings import Finding
    from .survey import Survey

SCHEMA: Final = 1


class BaselineError(Exception):
    """The file is no baseline; the text says why."""


class Baseline(NamedTuple):
    """What was found before."""

    sites: dict[str, int]  # fingerprint -> places
    usual: str  # what the others were compared with, so that they still are


NOTHING: Final = Baseline({}, "")


def load(path: str) -> Baseline:
    """Read a baseline."""
    with open(path, "rb") as file:
        text = file.read()
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise BaselineError(f"schema {document['schema']!r}, expected {SCHEMA}")
        sites = {one["fingerprint"]: int(one["sites"]) for one in document["findings"]}
        return Baseline(sites, str(document["usual"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaselineError("expected what --write-baseline writes") from error


def dump(found: Survey) -> str:
    """A baseline of what was found, to be committed."""
    known: list[dict[str, Any]] = [
        {
            "fingerprint": one.fingerprint,
            "rule": one.rule,
            "path": one.path,
            "subject": one.subject,
            "sites": one.sites,
        }
        for one in found.findings
    ]
    usual = next((str(one.target) for one in found.implementations if one.canonical), "")
    return json.dumps({"schema": SCHEMA, "usual": usual, "findings": known}, indent=1) + "\n"


def new(found: Iterable[Finding], known: Baseline) -> list[Finding]:
    """The findings that are not in a baseline, or stand in more places than it has."""
    return [one for one in found if one.sites > known.sites.get(one.fingerprint, 0)]


def gone(found: Iterable[Finding], known: Baseline) -> int:
    """How many of a baseline's findings are there no more."""
    return len(known.sites.keys() - {one.fingerprint for one in found})
