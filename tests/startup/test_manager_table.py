# SPDX-License-Identifier: Apache-2.0
"""A class no rule finds, named in a `[[manager]]` table, under a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

# Neither the class nor a method, a parameter or an attribute is called as anybody would call it.
# The payloads name nobody; whoever is given `alice` while serving bob is seen by the table alone.
PANEL = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

class Panel:
    def __init__(self, holder):
        self.holder = holder
        self.lines = {}

    async def enter(self, line, member_ref):
        await line.accept()
        self.lines[member_ref] = line

    async def hand_over(self, member_ref, body, tag=None):
        line = self.lines.get(member_ref) or self.lines["bob"]
        await line.send_json(body)

async def endpoint(websocket):
    panel = Panel(None)
    await panel.enter(websocket, "bob")
    await panel.hand_over("bob", {"text": "yours"})
    await panel.hand_over("alice", {"text": "hers"})
    await websocket.close()

app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
"""

TABLE = """
[[manager]]
class = "panel:Panel"
bind = ["enter"]
send = ["hand_over"]
recipient = "member_ref"
payload = "body"
"""

SCRIPT = """
from starlette.testclient import TestClient
from telling import metric, told
import panel

with TestClient(panel.app).websocket_connect("/ws") as session:
    told(got=[session.receive_json()["text"], session.receive_json()["text"]])

def verdicts(manager):
    return [
        metric("ws_audit_verdicts_total", manager=manager, verdict=verdict)
        for verdict in ("match", "violation", "unattributed")
    ]

told(table=verdicts("panel:Panel"), none=verdicts("none"))
"""


def test_what_a_table_says_is_judged(app: Environment) -> None:
    app.write(panel=PANEL)
    (app.directory / "ws.toml").write_text(TABLE)
    ended = app.audited(SCRIPT, WS_AUDIT_CONFIG="ws.toml")
    assert ended.told == {
        "got": ["yours", "hers"],
        "table": [1, 1, 0],
        "none": [0, 0, 0],
    }
    assert "1 manager class" in ended.err


def test_without_it_nobody_knows_whose_the_messages_are(app: Environment) -> None:
    app.write(panel=PANEL)
    told = app.audited(SCRIPT).told
    assert (told["table"], told["none"]) == ([None, None, None], [0, 0, 2])


def test_a_table_that_does_not_fit_is_told_once_and_the_application_runs(app: Environment) -> None:
    app.write(panel=PANEL)
    (app.directory / "ws.toml").write_text(TABLE.replace("hand_over", "handover"))
    ended = app.audited(SCRIPT, WS_AUDIT_CONFIG="ws.toml")
    assert ended.told["got"] == ["yours", "hers"]
    line = (
        "ws-audit: [[manager]] 1, panel:Panel: send = ['handover']: no such method;"
        " nearest: hand_over\n"
    )
    assert ended.err.count(line) == 1
