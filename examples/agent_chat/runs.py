# SPDX-License-Identifier: Apache-2.0
"""One agent run: whose it is, what was asked, and the shape of every message about it."""

import uuid
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class AgentRun:
    """A question of one user, numbered by that user's connection."""

    user_id: str
    number: int
    prompt: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def message(self, event: str, **data: Any) -> Message:
        return {
            "type": event,
            "run_id": self.id,
            "user_id": self.user_id,
            "data": {"prompt": self.prompt, **data},
        }
