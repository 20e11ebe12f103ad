# SPDX-License-Identifier: Apache-2.0
"""An attribute of one instance in front of the class's method, as python-socketio's admin UI
puts it there: seen while it calls what was hooked, a plain call after the hooks are gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent

if TYPE_CHECKING:
    from collections.abc import Iterator


class ShadowedHub:
    def __init__(self) -> None:
        self.sockets: dict[str, Socket] = {}
        self.log: list[str] = []

    async def send_to_user(self, user_id: str, message: str) -> str:
        await self.sockets[user_id].send_text(message)
        return "sent"

    def instrument(self) -> None:
        """Keep the bound method and put another in its place, on this instance only."""
        kept = self.send_to_user

        async def logged(user_id: str, message: str) -> str:
            self.log.append(user_id)
            return await kept(user_id, message)

        self.send_to_user = logged  # type: ignore[method-assign]


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(ShadowedHub)
        yield made


async def _send(hub: ShadowedHub, socket: Socket) -> None:
    hub.sockets["bob"] = socket
    assert await hub.send_to_user("bob", "{}") == "sent"


def test_it_is_seen_through_and_counted_once(audited: Agent) -> None:
    hub = ShadowedHub()
    hub.instrument()
    audited.serve(lambda socket: _send(hub, socket), Socket("alice"))
    assert audited.verdicts() == ["argument_vs_connection:probable"]
    assert len(audited.calls()) == 1
    assert hub.log == ["bob"]


def test_it_survives_the_hooks_and_is_a_plain_call_then(audited: Agent) -> None:
    hub = ShadowedHub()
    hub.instrument()
    before: Any = ShadowedHub.__dict__["send_to_user"]
    audited.remove()
    assert ShadowedHub.__dict__["send_to_user"] is before.__wrapped__
    asyncio.run(_send(hub, _Plain()))
    assert hub.log == ["bob"]
    audited.runtime.intents.expire(2**63)
    assert audited.calls() == []
    assert audited.counted("sent") == {}


class _Plain(Socket):
    def __init__(self) -> None:
        super().__init__("alice")

    async def send_text(self, text: str) -> None:
        self.arrived.append(text)
