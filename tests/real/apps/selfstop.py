# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example served by a script that ends by itself, without a signal: `atexit` runs then.

python selfstop.py PORT
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvicorn
from agent_chat.app import app


async def main() -> None:
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", int(sys.argv[1]), log_level="warning"))

    @app.post("/stop")
    async def stop() -> None:
        server.should_exit = True

    await server.serve()
    print(f"served until {time.time()}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
