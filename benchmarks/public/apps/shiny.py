# SPDX-License-Identifier: Apache-2.0
"""Shiny for Python, its first template, over WebSocket; the proxy in front names the user."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.public.stage import Visit

DISTRIBUTION = "shiny"
WHAT = "the bundled template `basic-app`, the user in the header of Posit's servers (WebSocket)"
INCLUDE = "shiny.*"
ENVIRONMENT: dict[str, str] = {}
SCRIPT = """
import pathlib, runpy, shiny
template = pathlib.Path(shiny.__file__).parent / "templates/app/01-basic-app/app-core.py"
app = runpy.run_path(str(template))["app"]
"""
WHO = """
import json

def who(scope):
    said = dict(scope["headers"]).get(b"shiny-server-credentials")
    return json.loads(said)["user"] if said else None
"""
DECLARED = """
include = ["shiny.*"]
[identity]
accessor = "declared:who"
[[manager]]
class = "shiny.session._session:AppSession"
send = ["_send_message"]
payload = "message"
instance_user = "_user"
"""


def command(folder: Path, port: int) -> list[str]:
    """How it is started."""
    (folder / "basic.py").write_text(SCRIPT)
    return ["-m", "shiny", "run", "basic.py", "--port", str(port)]


async def visit(visit: Visit) -> None:
    """One user: open a session as the browser does, and move the slider."""
    credentials = json.dumps({"user": visit.user, "groups": []})
    url = visit.url.replace("http", "ws") + "/websocket/"
    async with connect(
        url, additional_headers={"shiny-server-credentials": credentials}, proxy=None
    ) as socket:
        number = 0

        async def until(wanted: str) -> None:
            while True:
                text = await asyncio.wait_for(socket.recv(), 10)
                assert isinstance(text, str)
                # Every session says so much when any other has changed: a matter of timing.
                visit.took(text, compared='"values": {}, ' not in text)
                if wanted in text:
                    return

        await until('"config"')
        data: dict[str, object] = {
            "n:shiny.number": number,
            ".clientdata_output_txt_hidden": False,
            ".clientdata_pixelratio": 1,
            ".clientdata_url_protocol": "http:",
            ".clientdata_url_hostname": "127.0.0.1",
            ".clientdata_url_port": "",
            ".clientdata_url_pathname": "/",
            ".clientdata_url_search": "",
            ".clientdata_url_hash_initial": "",
            ".clientdata_url_hash": "",
            ".clientdata_singletons": "",
        }
        await socket.send(json.dumps({"method": "init", "data": data}))
        await until("n*2 is 0")
        for number in range(1, visit.rounds + 1):
            await socket.send(json.dumps({"method": "update", "data": {"n:shiny.number": number}}))
            await until(f"n*2 is {2 * number}")
