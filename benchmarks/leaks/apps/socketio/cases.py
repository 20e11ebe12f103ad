# SPDX-License-Identifier: Apache-2.0
"""The lobby: python-socketio rooms and namespaces under uvicorn, users by login name."""

from __future__ import annotations

from ...case import Benign, Defect, Swap
from . import clients

USERS_BY = "name"

DEFECTS = [
    Defect(
        "default_session_itself",
        "shared_state",
        "every socket's session is the module's default dictionary: all are who came last",
        "reflex-dev/reflex#1888, PR#4016",
        "routing",
        (Swap("app.py", "session = dict(DEFAULT_SESSION)", "session = DEFAULT_SESSION"),),
        clients.later_login,
    ),
    Defect(
        "sid_on_the_namespace",
        "shared_state",
        "the namespace, one object for all, keeps the sid it answers as an attribute",
        "gradio-app/gradio#3824, xorbitsai/xagent#1282",
        "identity",
        (
            Swap(
                "agent.py",
                "        session = await self.get_session(sid)\n        run = {\n",
                "        self.sid = sid\n"
                "        session = await self.get_session(sid)\n"
                "        run = {\n",
            ),
            Swap(
                "agent.py",
                "start_background_task(self.answer, sid, run)",
                "start_background_task(self.answer, run)",
            ),
            Swap("agent.py", "async def answer(self, sid, run):", "async def answer(self, run):"),
            Swap(
                "agent.py",
                'await self.say(sid, run, "agent_started")',
                'await self.say(run, "agent_started")',
            ),
            Swap(
                "agent.py",
                'await self.say(sid, run, "agent_thinking")',
                'await self.say(run, "agent_thinking")',
            ),
            Swap(
                "agent.py",
                'await self.say(sid, run, "agent_completed", text=text)',
                'await self.say(run, "agent_completed", text=text)',
            ),
            Swap(
                "agent.py",
                "async def say(self, sid, run, event, **more):",
                "async def say(self, run, event, **more):",
            ),
            Swap(
                "agent.py",
                '        run["events"].append((event, body))\n'
                "        await self.emit(event, body, to=sid)\n",
                '        run["events"].append((event, body))\n'
                "        await self.emit(event, body, to=self.sid)\n",
            ),
        ),
        clients.both_ask,
    ),
    Defect(
        "resume_not_checked",
        "ownership",
        "a run is resumed by whoever knows its id",
        "deer-flow #3472/#3473, open-webui CVE-2026-45349",
        "identity",
        (
            Swap(
                "agent.py",
                'if run is None or run["owner"] != principal(session):',
                "if run is None:",
            ),
        ),
        clients.resumed_by_another,
    ),
    Defect(
        "role_of_the_session",
        "ownership",
        "the role is the one at connect: who lost it goes on reading others' notes",
        "open-webui CVE-2026-44553 / GHSA-45m8-cpm2-3v65",
        "routing",
        (
            Swap(
                "app.py",
                'if staff and not users.is_staff(session["name"]):',
                'if staff and session["role"] not in users.STAFF:',
            ),
        ),
        clients.demoted,
    ),
    Defect(
        "one_cookie_jar",
        "content",
        "one client of the CRM for all: its cookie jar keeps the first user's session",
        "BerriAI/litellm PR#36149",
        "content",
        (
            Swap(
                "crm.py",
                "_clients = {}\n\n\ndef client_for(name):\n"
                "    if name not in _clients:\n"
                "        _clients[name] = CrmClient()\n"
                "    return _clients[name]\n",
                "_client = CrmClient()\n\n\ndef client_for(name):\n    return _client\n",
            ),
        ),
        clients.accounts,
    ),
    Defect(
        "batch_out_of_order",
        "content",
        "prompts are sorted by length, the answers given out in the order of arrival",
        "vllm-project/vllm#13408, #9910",
        "content",
        (
            Swap(
                "model.py",
                "    batch = sorted(_waiting, key=lambda item: len(item[0]))  # less padding\n"
                "    _waiting.clear()\n"
                "    answers = infer([prompt for prompt, _ in batch])\n",
                "    batch = _waiting[:]\n"
                "    _waiting.clear()\n"
                "    answers = infer(sorted((prompt for prompt, _ in batch), key=len))  # less padding\n",
            ),
        ),
        clients.both_ask,
    ),
    Defect(
        "reply_from_the_worker",
        "emitter",
        "the export worker uses reply(), which knows no socket there, and emits to all",
        "miguelgrinberg/Flask-SocketIO#1289, python-socketio#1074",
        "identity",
        (
            Swap(
                "app.py",
                'await sio.emit("export:done", done, to=job["sid"])',
                'await reply("export:done", done)',
            ),
        ),
        clients.exports,
    ),
    Defect(
        "notify_every_socket",
        "recipient",
        "notify(name, ...) goes through all participants of the namespace",
        "BG8CFB/TradingAgents-CN broadcast_to_user, AntaresSimulatorTeam/AntaREST#417",
        "routing",
        (
            Swap(
                "app.py",
                '    await sio.emit(event_name, data, room=f"user:{name}")\n',
                '    for sid, _ in list(sio.manager.get_participants("/", None)):\n'
                "        await sio.emit(event_name, data, to=sid)\n",
            ),
        ),
        clients.reminded,
    ),
]

BENIGN = [
    Benign(
        "receipts",
        "read receipts",
        "user in a receipt is who has read, not whom it is for",
        "Rocket.Chat and Matrix (m.receipt): read markers go to the room",
        clients.receipts,
    ),
    Benign(
        "game",
        "game turns",
        "the table is told whose turn it is; orders stay with their player",
        "board game servers over Socket.IO rooms (boardgame.io, Diplomacy servers)",
        clients.game,
    ),
    Benign(
        "comings_and_goings",
        "room join and leave notices",
        "who comes and who goes, by name, also when a window is closed",
        "the Socket.IO chat example ('user joined', 'user left')",
        clients.comings_and_goings,
    ),
    Benign(
        "group_call",
        "group call signalling",
        "offers, answers and candidates with from and to are passed on between people",
        "WebRTC mesh signalling over Socket.IO (PeerJS-like servers, simple-peer demos)",
        clients.group_call,
    ),
    Benign(
        "bot_in_room",
        "service accounts in rooms",
        "a bot that is nobody's connection answers in the room",
        "Rocket.Chat's and Mattermost's bot accounts",
        clients.bot_in_room,
    ),
    Benign(
        "clock",
        "server time and empty messages",
        "a background task sends the time, and events without any data, to a room",
        "dashboards' heartbeat tasks (python-socketio's background task example)",
        clients.clock,
    ),
]
