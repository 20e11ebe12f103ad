# SPDX-License-Identifier: Apache-2.0
"""What was found before, so that only what is new fails.

Why it exists: a code base that is being put together cannot be clean on the first day. It can have
no second sender more than yesterday.

It must never hide a finding that has grown, nor read what is no baseline for an empty one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .findings import Finding

SCHEMA: Final = 1


class BaselineError(Exception):
    """The file is no baseline; the text says why."""


def load(path: str) -> dict[str, int]:
    """Fingerprint -> places, of a baseline's findings."""
    with open(path, "rb") as file:
        text = file.read()
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise BaselineError(f"schema {document['schema']!r}, expected {SCHEMA}")
        return {one["fingerprint"]: int(one["sites"]) for one in document["findings"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaselineError("expected what --write-baseline writes") from error


def dump(found: Iterable[Finding]) -> str:
    """A baseline of these findings, to be committed."""
    known: list[dict[str, Any]] = [
        {
            "fingerprint": one.fingerprint,
            "rule": one.rule,
            "path": one.path,
            "subject": one.subject,
            "sites": one.sites,
        }
        for one in found
    ]
    return json.dumps({"schema": SCHEMA, "findings": known}, indent=1) + "\n"


def new(found: Iterable[Finding], known: dict[str, int]) -> list[Finding]:
    """The findings that are not in a baseline, or stand in more places than it has."""
    return [one for one in found if one.sites > known.get(one.fingerprint, 0)]
