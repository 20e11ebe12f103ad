# SPDX-License-Identifier: Apache-2.0
"""Gradio's ChatInterface, over server-sent events; users log in at its own page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.public.stage import Visit

DISTRIBUTION = "gradio"
WHAT = "`ChatInterface` around an echo that streams, users log in at its page (server-sent events)"
INCLUDE = "gradio.*"
ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False"}
SCRIPT = """
import sys
import gradio as gr

def answer(message, history):
    words = message.split()
    for number in range(1, len(words) + 1):
        yield " ".join(words[:number])

gr.ChatInterface(answer, api_name="chat").launch(
    server_name="127.0.0.1",
    server_port=int(sys.argv[1]),
    auth=lambda user, password: password == "of " + user,
    ssr_mode=False,
    quiet=True,
)
"""
# As the application itself does it: the token in the cookie, looked up.
WHO = """
from http.cookies import SimpleCookie

def who(scope):
    app = scope.get("app")
    header = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    cookie = SimpleCookie(header).get(f"access-token-unsecure-{getattr(app, 'cookie_id', None)}")
    return app.tokens.get(cookie.value) if cookie else None
"""
DECLARED = """
[identity]
accessor = "declared:who"
"""


def command(folder: Path, port: int) -> list[str]:
    """How it is started."""
    (folder / "echo.py").write_text(SCRIPT)
    return ["echo.py", str(port)]


async def visit(visit: Visit) -> None:
    """One user: log in, ask, and read the answer as it is streamed."""
    async with httpx.AsyncClient(base_url=visit.url, trust_env=False, timeout=15) as http:
        form = {"username": visit.user, "password": f"of {visit.user}"}
        (await http.post("/login", data=form)).raise_for_status()
        functions = (await http.get("/config")).json()["dependencies"]
        (chat,) = (one for one in functions if one["api_name"] == "chat")
        for number in range(visit.rounds):
            text = f"question {number} of {visit.user} please"
            asked = {
                # What the server keeps for the session is left open.
                "data": [text, *[None] * (len(chat["inputs"]) - 1)],
                "fn_index": chat["id"],
                "session_hash": f"{visit.user}{number}",
            }
            (await http.post("/gradio_api/queue/join", json=asked)).raise_for_status()
            session = {"session_hash": asked["session_hash"]}
            async with http.stream("GET", "/gradio_api/queue/data", params=session) as stream:
                stream.raise_for_status()
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        # How long the queue is, is a matter of the others' timing.
                        visit.took(line, compared='"estimation"' not in line)
