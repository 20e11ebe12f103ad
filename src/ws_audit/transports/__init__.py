# SPDX-License-Identifier: Apache-2.0
"""One file per server and framework: where connections begin, messages leave and users are known.

Each transport module has `install(module, patch)`, called once its framework's module has
executed. `HOOKS` names those modules; the ones in `SERVERS` mean that something is about to
serve, the others are only worth a patch in a process that does.
"""

from __future__ import annotations

from typing import Final

SERVERS: Final = {
    "daphne.server": "ws_audit.transports.daphne",
    "granian.asgi": "ws_audit.transports.granian",
    "gunicorn.workers.gasgi": "ws_audit.transports.gunicorn",
    "hypercorn.asyncio.run": "ws_audit.transports.hypercorn",
    "uvicorn.config": "ws_audit.transports.uvicorn",
    "starlette.testclient": "ws_audit.transports.testclient",
}
INSIDE: Final = {
    "granian.server.embed": "ws_audit.transports.granian",
    "granian.server.mp": "ws_audit.transports.granian",
    "granian.server.mt": "ws_audit.transports.granian",
    "hypercorn.asyncio": "ws_audit.transports.hypercorn",
    "uvicorn.server": "ws_audit.transports.uvicorn",
    "channels.consumer": "ws_audit.transports.channels",
    "channels.generic.websocket": "ws_audit.transports.channels",
    "channels.layers": "ws_audit.transports.channels",
    "engineio.async_socket": "ws_audit.transports.socketio",
    "socketio.async_manager": "ws_audit.transports.socketio_emits",
    "socketio.async_namespace": "ws_audit.transports.socketio_emits",
    "socketio.async_server": "ws_audit.transports.socketio",
    "sse_starlette.sse": "ws_audit.transports.sse_starlette",
    "starlette.websockets": "ws_audit.transports.starlette",
    "fastapi.dependencies.utils": "ws_audit.transports.fastapi",
    "fastapi.routing": "ws_audit.transports.fastapi",
}
HOOKS: Final = {**SERVERS, **INSIDE}
