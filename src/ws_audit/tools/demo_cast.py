# SPDX-License-Identifier: Apache-2.0
"""The users of a demonstration, and what the agent calls them.

Why it exists: the review names people by pseudonym only. The demo invented its users and the key,
so it alone can put the names beside the hashes.

It must never use the agent's own hashing: the definition is the contract, and this checks it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from hashlib import blake2b

NAMES = ("ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "ivo", "june", "kai", "lea")


@dataclass(frozen=True)
class Cast:
    """The users of a demonstration, and the key under which the agent names them."""

    tokens: dict[str, str]  # token -> user id, as the service wants it
    hash_key: str

    @classmethod
    def of(cls, count: int) -> Cast:
        names = (NAMES[n % len(NAMES)] + (str(n) if n >= len(NAMES) else "") for n in range(count))
        users = [f"{name}-{secrets.token_hex(4)}" for name in names]

        return cls({secrets.token_hex(16): user for user in users}, secrets.token_hex(32))

    def hash_of(self, user: str) -> str:
        """The user's pseudonym, computed here from its definition and not by the agent's code."""
        text = json.dumps([None, user], separators=(",", ":"), ensure_ascii=False)

        return blake2b(text.encode(), digest_size=16, key=self.hash_key.encode()).hexdigest()

    def users_by_hash(self) -> dict[str, str]:
        return {self.hash_of(user): user for user in self.tokens.values()}
