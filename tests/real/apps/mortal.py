# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example in a process that dies inside its first leaking send: the frame is with the kernel,
and the call has not come back.

python mortal.py PORT
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from agent_chat.app import app


async def main() -> None:
    config = uvicorn.Config(app, "127.0.0.1", int(sys.argv[1]), log_level="warning")
    config.load()
    audited = config.loaded_app  # with the agent around it; what follows stands below both
    users = json.loads(os.environ["AGENT_CHAT_USERS"])

    async def mortal(scope: dict[str, Any], receive: Any, send: Any) -> None:
        (token,) = parse_qs(scope.get("query_string", b"").decode()).get("token", [""])

        async def deadly(message: dict[str, Any]) -> None:
            await send(message)
            if message["type"] != "websocket.send":
                return
            if json.loads(message["text"])["user_id"] != users[token]:
                os.kill(os.getpid(), signal.SIGKILL)

        await audited(scope, receive, deadly)

    config.loaded_app = mortal
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
