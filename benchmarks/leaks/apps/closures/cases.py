# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at the helpdesk, and what only looks like it."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

USERS_BY = "name"

DEFECTS = [
    Defect(
        "history_default_argument",
        "shared_state",
        "the assistant's history is a mutable default: everybody's summary has everything",
        "mem0ai/mem0#5301 (mutable default arguments)",
        "content",
        (
            Swap(
                "app.py",
                "def make_answerer(name, send, history=None):\n",
                "def make_answerer(name, send, history=[]):  # noqa: B006\n",
            ),
            Swap("app.py", "    history = [] if history is None else history\n\n", "\n"),
        ),
        clients.recaps,
    ),
    Defect(
        "last_login_gets_answers",
        "shared_state",
        "the send function of answers is kept once for the process; each login replaces it",
        "xorbitsai/xagent#1282 (process-wide request overwritten by each request)",
        "routing",
        (
            Swap(
                "app.py",
                "    history = [] if history is None else history\n",
                '    history = [] if history is None else history\n    upstream["send"] = send\n',
            ),
            Swap(
                "app.py",
                '        await send({"kind": "answer", "for": name, "text": text})\n',
                '        await upstream["send"]({"kind": "answer", "for": name, "text": text})\n',
            ),
        ),
        clients.second_login,
    ),
    Defect(
        "session_none_for_all",
        "ownership",
        "sessions are kept under what the client sent; old clients send none and share one",
        "gradio-app/gradio#2132 (every browser shared session None)",
        "identity",
        (Swap("app.py", "    key = name, session\n", "    key = session\n"),),
        clients.drafts,
    ),
    Defect(
        "ticket_read_by_number",
        "ownership",
        "a ticket is read by its number, whoever asks",
        "aegra CVE-2026-44504 (thread_id ownership not checked)",
        "identity",
        (
            Swap(
                "app.py",
                '        if ticket is None or (name != ticket["customer"]'
                ' and name not in teams[ticket["team"]]):\n',
                "        if ticket is None:\n",
            ),
        ),
        clients.private_tickets,
    ),
    Defect(
        "export_in_thread",
        "emitter",
        "exports have moved to a thread, which has no current name: the push goes to everybody",
        "miguelgrinberg/Flask-SocketIO#1289 (emit from a thread broadcasts)",
        "routing",
        (
            Swap("app.py", "import json\n", "import json\nimport threading\n"),
            Swap(
                "app.py",
                "                later(export())\n",
                "                start = partial(asyncio.run_coroutine_threadsafe, export())\n"
                "                loop = asyncio.get_running_loop()\n"
                "                threading.Thread(target=start, args=(loop,)).start()\n",
            ),
        ),
        clients.exports,
    ),
]

BENIGN = [
    Benign(
        "name_and_number",
        "login name beside id",
        "users are known by name; messages to them have their number, uuid and address as well",
        "GitLab, Mattermost: user_id and username in one event",
        clients.names_and_numbers,
    ),
    Benign(
        "system_notices",
        "system notices",
        "maintenance is announced to everybody, with user_id 0 and from system",
        "Rocket.Chat and Discourse: messages of the system user",
        clients.notices,
    ),
    Benign(
        "binary_strokes",
        "binary messages",
        "whiteboard strokes in bytes, with the drawer's name in front, to all in the room",
        "Excalidraw, y-websocket: binary updates",
        clients.whiteboard,
    ),
    Benign(
        "team_inbox",
        "shared team inbox",
        "a team's members all get a customer's ticket, read it and take it over",
        "Chatwoot, Zammad: inbox and group assignment",
        clients.team_inbox,
    ),
]
