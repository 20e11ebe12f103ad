# SPDX-License-Identifier: Apache-2.0
"""The application: one WebSocket endpoint, from the client's token to the last event of its runs.

    AGENT_CHAT_USERS='{"secret-token": "ada"}' uvicorn agent_chat.app:app

Then connect to /ws?token=secret-token and send {"type": "user_message", "text": "..."}.
"""

import logging
import os

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect

from .auth import User, get_current_user
from .bridge import AgentWebSocketBridge
from .outbox import Outbox
from .services import build_services

logger = logging.getLogger(__name__)

if defects := os.environ.get("AGENT_CHAT_DEFECTS"):
    from .defects import build_defective_services

    services = build_defective_services(defects)
else:
    services = build_services()

app = FastAPI(title="Agent chat")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.websocket("/ws")
async def chat(
    websocket: WebSocket,
    current_user: User = Depends(get_current_user),  # noqa: B008 (FastAPI's own idiom)
) -> None:
    connection_id = await services.manager.connect(websocket, current_user.id)
    outbox = Outbox(websocket)
    reporter = services.reporters.reporter_for(websocket)
    bridge = AgentWebSocketBridge(current_user, outbox, reporter, services)

    try:
        await websocket.send_json(
            {
                "type": "welcome",
                "user_id": current_user.id,
                "data": {"text": f"Welcome, {current_user.name}."},
            }
        )

        async for message in websocket.iter_json():
            if isinstance(message, dict):
                bridge.handle_message(message)

    except WebSocketDisconnect:
        logger.debug("client gone")

    except ValueError:
        await websocket.close(code=1003, reason="not JSON")

    finally:
        # No longer reachable first: whatever ends below may still try to send.

        services.manager.disconnect(current_user.id, connection_id)

        if not services.manager.routes.is_connected(current_user.id):
            services.emitters.forget(current_user.id)

        outbox.close()
        await bridge.close()
