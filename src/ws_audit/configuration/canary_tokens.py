# SPDX-License-Identifier: Apache-2.0
"""The file of canary tokens: JSON, user -> token.

Why it exists: a file that is half understood would be a check half made, so it is taken as a
whole or refused with what was expected.

It must never show what stands in it: the tokens are secrets, and the users people's accounts.
Like settings.py it is loaded early, inside the application.
"""

from __future__ import annotations

import re
from typing import Final

EXPECTED: Final = (
    "a JSON file {user: token} of at most 1000 users; tokens of 12 to 200 letters, digits and"
    " ._~:-, none part of another"
)
_BYTES: Final = 1 << 18
_MOST: Final = 1_000
# What JSON and URLs leave as it is: a token that is escaped on its way would not be found.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~:-]{12,200}")


def read(path: str) -> dict[str, str]:
    """The tokens by user. Raises OSError, or ValueError for a file that is something else."""
    import json

    with open(path, "rb") as file:
        text = file.read(_BYTES + 1)
    found = json.loads(text) if len(text) <= _BYTES else None
    if type(found) is not dict or not 0 < len(found) <= _MOST:
        raise ValueError
    for user, token in found.items():
        if not user.strip() or type(token) is not str or not _TOKEN.fullmatch(token):
            raise ValueError
    # One search for all: what is looked for must be one user's.
    joined = "\n".join(found.values())
    if any(joined.count(token) != 1 for token in found.values()):
        raise ValueError
    return found
