# SPDX-License-Identifier: Apache-2.0
"""The chat service with one more mistake, made once for each POST to /slip.

    AGENT_CHAT_USERS='{"secret-token": "ada"}' uvicorn examples.stack.chat:app

A leak in production is rarely a flood. This is the smallest one there is: one frame of one run
goes to one other user as well. /metrics is the service's own page.
"""

from prometheus_client import make_asgi_app

from examples.agent_chat import app as chat
from examples.agent_chat.connections import ConnectionManager, RouteTable
from examples.agent_chat.factory import EmitterFactory, ReporterFactory
from examples.agent_chat.outbox import OutboxRegistry
from examples.agent_chat.runs import Message
from examples.agent_chat.services import Services


class SlippingConnectionManager(ConnectionManager):
    """Delivers to a user's own tabs, and once after each `slip()` to a stranger's as well."""

    def __init__(self, routes: RouteTable) -> None:
        super().__init__(routes)
        self._slips = 0

    def slip(self) -> None:
        self._slips += 1

    async def send_to_user(self, user_id: str, message: Message) -> int:
        sockets = self.routes.sockets_of(user_id)

        if self._slips:
            strangers = [each for each in self.routes.all_sockets() if each not in sockets]
            self._slips -= bool(strangers)
            sockets += strangers[:1]

        return await self._deliver(sockets, message)


manager = SlippingConnectionManager(RouteTable())
outboxes = OutboxRegistry()
chat.services = Services(manager, outboxes, EmitterFactory(manager, outboxes), ReporterFactory())

app = chat.app
app.mount("/metrics", make_asgi_app())


@app.post("/slip")
async def slip() -> dict[str, str]:
    manager.slip()

    return {"status": "the next prompt goes to somebody else as well"}
